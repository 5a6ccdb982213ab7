"""What people have from an earlier version, when answers are cleaned in another way: nothing twice, nothing lost."""

from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq
import pytest
from earlier_project import FILES, put_into
from generating import DUTCH, generate
from kto.record_ids import record_ids
from kto.vote.client import connect
from kto.vote.records import make_records, read_generations, upload_records
from kto.vote.task import make_task
from model_server import ModelServer
from rendering import REPOSITORY, read_yaml
from voting import Task, argilla, english, make_generations, task

__all__ = ["argilla", "english", "task"]

BREAD, BREAD_RECORD = "Hoe houd ik brood vers?", "81187ff073036cd30aec80abd2fc85ef"  # acme/two, with [THINK], voted on
WAFFLE, TYRE = "Hoe eet ik een stroopwafel?", "Hoe laat ik een band plakken?"


@pytest.fixture
def earlier(task: Task, monkeypatch: pytest.MonkeyPatch) -> Task:
    texts = read_yaml(REPOSITORY / "languages" / "nl.yaml")
    monkeypatch.setattr("kto.texts.load", lambda: texts)  # a part of what was asked
    dataset = task.config.annotation.dataset
    put_into(task.project)
    task.set(dataset=f'"{dataset}"')
    return task


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        server.reply = lambda body: f"{DUTCH} Ja."
        yield server


def by_id(task: Task) -> dict[str, dict[str, Any]]:
    return {record["external_id"]: record for record in task.records().values()}


def upload(task: Task) -> int:
    dataset = make_task(connect(task.config), task.config)
    return upload_records(dataset, read_generations(task.config))


def test_only_what_has_no_text_is_asked_for(earlier: Task, server: ModelServer) -> None:
    before = pq.read_table(FILES / "data" / "generations" / "train.parquet").to_pylist()
    for _ in range(2):
        assert generate(earlier.project, "--base-url", server.url).returncode == 0
        assert [(chat.model, chat.prompt) for chat in server.chats] == [("acme/two", TYRE)]
    after = {row["input"]: row for row in earlier.table("generations/train.parquet")}
    assert after[WAFFLE]["language_verdict"] == ["right", "right"]  # the second one thinks in English
    assert not any("THINK" in answer for row in after.values() for answer in row["generations"])
    assert after[TYRE]["generations"][1] == f"{DUTCH} Ja."
    for row in before:
        for name in ("answer_id", "asked_again", "raw_generation_responses"):
            same = slice(0, 1 if row["input"] == TYRE else 2)
            assert after[row["input"]][name][same] == row[name][same]


def test_a_record_that_people_have_is_no_second_record(earlier: Task, server: ModelServer) -> None:
    upload(earlier)
    before = by_id(earlier)
    earlier.vote("amina", before[BREAD_RECORD], "bad")
    before = by_id(earlier)
    assert generate(earlier.project, "--base-url", server.url).returncode == 0
    assert upload(earlier) == 1  # what was missing
    after = by_id(earlier)
    assert {record["fields"]["prompt"] for id, record in after.items() if id not in before} == {TYRE}
    assert before.keys() <= after.keys()
    [waffle] = [record for record in after.values() if record["fields"]["prompt"] == WAFFLE]
    assert waffle["metadata"]["model"] == ["acme/one", "acme/two"]  # what was taken for English is the very same
    assert all(after[id]["responses"] == record["responses"] for id, record in before.items())
    assert after[BREAD_RECORD]["metadata"]["model"] == ["acme/two"]
    assert upload(earlier) == 0


def test_votes_find_their_answer_in_an_argilla_made_anew(earlier: Task, server: ModelServer) -> None:
    assert generate(earlier.project, "--base-url", server.url).returncode == 0
    upload(earlier)
    answer = by_id(earlier)[BREAD_RECORD]["fields"]["answer"]
    assert "THINK" not in answer and answer


def test_who_gives_the_same_answer_joins_the_record_that_people_have() -> None:
    [row] = make_generations({"Q": ["Ja.", "Ja."]})
    row["record_ids"] = [record_ids("Q", "Ja.", raw) for raw in ("Ja.", "[THINK]Hm.[/THINK]Ja.")]
    new, earlier = row["record_ids"][1]
    for there in ({earlier}, {new, earlier}, {new}, set()):
        records = make_records([row], there)
        models = {record["external_id"]: record["metadata"]["model"] for record in records}
        joined = earlier if there == {earlier} else new
        both = {"acme/one", "acme/two"}
        expected = {new: {"acme/one"}, earlier: {"acme/two"}} if len(there) == 2 else {joined: both}
        assert {id: set(names) for id, names in models.items()} == expected
