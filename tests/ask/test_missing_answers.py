"""Which answers are missing: those without a text, and cut ones once they may be longer; complete ones never again."""

import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from generating import figures, generate, use, write_prompts
from model_server import ModelServer, completion

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")

USAGE = {"prompt_tokens": 20, "completion_tokens": 1000}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def rows(project: Path) -> dict[str, dict[str, Any]]:
    read = pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()
    return {row["input"]: row for row in read}


def reasons(project: Path) -> dict[tuple[str, str], str]:
    path = project / "data" / "generations" / "gaps.jsonl"
    gaps = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    return {(gap["input"], gap["model"]): gap["reason"] for gap in gaps}


def stored(project: Path) -> list[tuple[str, str]]:
    """Return key and text of all answers in the store, in no order."""
    with sqlite3.connect(project / "data" / "answers.sqlite") as database:
        return database.execute("SELECT key, answer FROM answers").fetchall()


def without_store(project: Path) -> None:
    for file in (project / "data").glob("answers.sqlite*"):
        file.unlink()


def asked(server: ModelServer) -> Counter[str]:
    """Return how often each prompt was sent since the last call."""
    chats, server.chats = server.chats, []
    return Counter(chat.prompt for chat in chats)


EMPTY = {
    "null": completion(None),
    "nothing": completion(""),
    "space": completion(" \n"),
    "parts": completion([{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}]),
    "null, cut": completion(None, "length", reasoning_content="Hm."),
    "nothing, cut": completion("", "length"),
    "thought, cut": completion("<think>Hm.", "length"),
    "filtered": completion("", "content_filter"),
    "null, filtered": completion(None, "content_filter"),
}


def test_an_answer_without_a_text_is_missing(project: Path, server: ModelServer) -> None:
    use(project, "generation", models=["acme/one"], max_attempts=2)
    write_prompts(project, [*EMPTY, "good"])
    server.reply = lambda body: EMPTY.get(body["messages"][-1]["content"], "Good.")
    done = generate(project, "--base-url", server.url)
    once = {name: 1 if re.search("cut|filtered|good", name) else 2 for name in (*EMPTY, "good")}
    assert asked(server) == once and done.returncode == 1

    gone = {name: reason for (name, _), reason in reasons(project).items()}
    assert set(gone) == {name for name in EMPTY if "filtered" not in name}
    assert {name for name, reason in gone.items() if "max_tokens" in reason} == {name for name in gone if "cut" in name}
    assert len(set(gone.values())) == 2
    assert [rows(project)[name]["refused"] for name in ("filtered", "null, filtered")] == [[True]] * 2
    shown = figures(done.stdout)["acme/one"]
    assert (shown["Answers"], shown["Missing"], shown["Empty"], shown["Refused"]) == ("3", "7", "7", "2")
    before = stored(project)
    assert len(before) == sum(once.values())  # what was paid for is kept

    # What a run says beforehand is what it asks for; whoever refused, and whoever answered, is not asked again.
    assert "Asking for 7 answers" in generate(project, "--base-url", server.url, "--dry-run").stdout
    server.reply = lambda body: "Good."
    assert generate(project, "--base-url", server.url).returncode == 0
    assert asked(server) == dict.fromkeys(gone, 1)
    assert all(rows(project)[name]["generations"] == ["Good."] for name in gone)
    assert set(before) < set(stored(project)) and len(stored(project)) == len(before) + 7
    assert generate(project, "--base-url", server.url).returncode == 0 and not asked(server)


def test_an_empty_answer_among_others_is_asked_for_again_at_once(project: Path, server: ModelServer) -> None:
    given: Counter[tuple[str, str]] = Counter()

    def reply(body: dict) -> Any:
        name = (body["model"], body["messages"][-1]["content"])
        given[name] += 1
        return completion(None) if given[name] < 3 and name[1].startswith("How") else "Good."

    server.reply = reply
    done = generate(project, "--base-url", server.url)
    assert all(row["generations"] == ["Good."] * 2 for row in rows(project).values()) and done.returncode == 0
    assert sorted(given.values()) == [1] * 8 + [3] * 2


def test_who_only_thinks_is_not_paid_for_every_prompt(project: Path, server: ModelServer) -> None:
    write_prompts(project, [f"Prompt {number}" for number in range(60)])
    server.reply = lambda body: completion(None, "length") if body["model"] == "acme/one" else "Good."
    done = generate(project, "--base-url", server.url)
    assert done.returncode == 1 and 10 <= sum(chat.model == "acme/one" for chat in server.chats) <= 20
    assert [row["generations"] for row in rows(project).values()] == [[None, "Good."]] * 60
    assert len(reasons(project)) == 60 and all("max_tokens" in reason for reason in reasons(project).values())


PROMPTS = ["whole", "also whole", "cut", "empty"]


@pytest.fixture
def short(project: Path, server: ModelServer) -> Path:
    """A project with an answer that was cut by `max_tokens`, and one that did not even begin."""
    use(project, "generation", max_tokens=1000)
    write_prompts(project, PROMPTS)

    def reply(body: dict) -> Any:
        name, most = body["messages"][-1]["content"], body["max_tokens"]
        if most >= 2000 or "whole" in name:
            return completion(f"{name} of {most}", usage=USAGE)
        return completion("" if name == "empty" else f"{name} at {most}", "length", usage=USAGE)

    server.reply = reply
    generate(project, "--base-url", server.url)
    assert asked(server) == dict.fromkeys(PROMPTS, 2)
    return project


def generations(project: Path) -> dict[str, str | None]:
    """Return what is in the table, which must be the same for both models."""
    read = {name: row["generations"] for name, row in rows(project).items()}
    assert all(one == other for one, other in read.values())
    return {name: one for name, (one, _) in read.items()}


def has_store(project: Path) -> None:
    pass


def has_store_of_earlier_version(project: Path) -> None:
    with sqlite3.connect(project / "data" / "answers.sqlite") as database:
        database.execute("DROP TABLE IF EXISTS requests")


def has_table_only(project: Path) -> None:
    """A clone: a table tells neither temperature nor limit."""
    without_store(project)


@pytest.mark.parametrize("has", [has_store, has_store_of_earlier_version, has_table_only])
def test_a_larger_limit_is_paid_for_where_it_helps_only(short: Path, server: ModelServer, has: Any) -> None:
    first = {"whole": "whole of 1000", "also whole": "also whole of 1000", "cut": "cut at 1000", "empty": None}
    assert generations(short) == first
    before = stored(short)
    has(short)
    use(short, "generation", max_tokens=1500)  # still too little
    dry = generate(short, "--base-url", server.url, "--dry-run")
    assert "Asking for 4 answers (models: 2)" in dry.stdout and not asked(server)
    assert generate(short, "--base-url", server.url).returncode == 1
    assert asked(server) == {"cut": 2, "empty": 2}
    assert generations(short) == first | {"cut": "cut at 1500"}

    assert generate(short, "--base-url", server.url).returncode == 1
    assert asked(server) == {"empty": 2}  # the cut one was asked for with this limit
    use(short, "generation", max_tokens=900)  # less does not help
    assert generate(short, "--base-url", server.url).returncode == 1
    assert asked(server) == {"empty": 2} and generations(short) == first | {"cut": "cut at 1500"}

    use(short, "generation", max_tokens=2000)
    whole = first | {"cut": "cut of 2000", "empty": "empty of 2000"}
    for expected in ({"cut": 2, "empty": 2}, {}):
        assert generate(short, "--base-url", server.url).returncode == 0
        assert asked(server) == expected and generations(short) == whole
    use(short, "generation", max_tokens=1000)
    assert generate(short, "--base-url", server.url).returncode == 0
    assert not asked(server) and generations(short) == whole  # whole answers count more than cut ones
    if has is not has_table_only:
        assert set(before) < set(stored(short))  # nothing was changed or deleted


@pytest.mark.parametrize("has", [has_store, has_table_only])
def test_a_clone_knows_its_answers_when_the_limit_is_another_at_once(
    short: Path, server: ModelServer, has: Any
) -> None:
    has(short)
    use(short, "generation", max_tokens=3000)
    assert generate(short, "--base-url", server.url).returncode == 0
    assert asked(server) == {"cut": 2, "empty": 2}
    assert generations(short)["whole"] == "whole of 1000"
    # Where it is known what was asked for, another temperature is still another request.
    use(short, "generation", temperature=0.1)
    assert generate(short, "--base-url", server.url).returncode == 0
    assert asked(server) == dict.fromkeys(PROMPTS if has is has_store else ["cut", "empty"], 2)


def test_a_clone_that_ran_once_knows_what_was_asked(short: Path, server: ModelServer) -> None:
    without_store(short)
    assert generate(short, "--base-url", server.url).returncode == 1
    assert asked(server) == {"empty": 2}
    use(short, "generation", temperature=0.1)
    assert generate(short, "--base-url", server.url).returncode == 1
    assert asked(server) == dict.fromkeys(PROMPTS, 2)


def test_a_cut_answer_stays_if_the_longer_one_does_not_come(short: Path, server: ModelServer) -> None:
    use(short, "generation", max_tokens=2000)
    server.fail("cut", status=400)
    server.fail("empty", status=400)
    assert generate(short, "--base-url", server.url).returncode == 1
    assert generations(short)["cut"] == "cut at 1000" and "400" in reasons(short)["cut", "acme/one"]
    server.heal()
    asked(server)
    assert generate(short, "--base-url", server.url).returncode == 0
    assert asked(server) == {"cut": 2, "empty": 2}
