"""docs/votes.md: its examples are lines of the format, and what it lists is what there is."""

import json
import re
import sys

import pytest
from argilla_server import ROOT, TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.questions import ASPECTS, COMMENT_MAX, REASONS
from kto.vote.voting_server import database, deck, service, votes
from kto.vote.voting_server.http_messages import BadRequest
from kto.vote.voting_server.service import Service

TEXT = (ROOT / "docs" / "votes.md").read_text(encoding="utf-8")


def test_the_examples_are_lines() -> None:
    first, second = re.findall(r"```json\n(.*)\n```", TEXT)
    line, undone = (votes.parse(json.loads(example)) for example in (first, second))
    assert (line.vote, line.reasons, line.comment, line.replaces) == ("bad", ("not_true",), "It is Canberra.", None)
    assert line.aspects == {"language": "natural"} and ASPECTS == ("language",) and "not_true" in REASONS["bad"]
    assert undone.vote is None and undone.replaces == line.id and undone.record == line.record
    fields = re.findall(r"(?m)^\| `(\w+)` \|", TEXT.split("## What becomes")[0])
    assert fields == list(json.loads(first))


def test_a_field_that_only_a_later_page_knows() -> None:
    example = json.loads(re.findall(r"```json\n(.*)\n```", TEXT)[0]) | {"second_question": "yes"}
    assert json.loads(votes.parse(example).text) == example
    with pytest.raises(votes.BadLine, match="version"):
        votes.parse({**example, "v": 2})


def test_the_limits() -> None:
    assert f"at most {COMMENT_MAX:,} characters" in TEXT
    assert f"at most {service.CARDS} are given" in TEXT and f"at most {service.LINES} |" in TEXT
    assert f"judged {service.PER_HOUR} answers within an hour" in TEXT
    assert f"reserved for {deck.LEASE // 60} minutes" in TEXT and f"silent for {deck.PATIENCE // 60} minutes" in TEXT


def test_the_calls_and_tables() -> None:
    calls = re.findall(r"(?m)^\| `(\w+)` \| [`{]", TEXT.split("## The API")[1].split("## Which")[0])
    assert calls == list(Service.api.fget(Service.__new__(Service)))  # type: ignore[attr-defined]
    tables = set(re.findall(r"kto_\w+", TEXT.split("## What is stored")[1]))
    assert tables - {"kto_"} == set(re.findall(r"TABLE IF NOT EXISTS (\w+)", database._TABLES))
    assert BadRequest(503, "starting").kind in TEXT
