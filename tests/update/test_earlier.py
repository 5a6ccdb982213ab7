"""A project of an earlier commit goes on with today's code: nothing is lost, and nothing is paid twice."""

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from earlier_project import FILES, put_into
from generating import run
from model_server import ModelServer
from rendering import TEMPLATE, render
from voting import Task, argilla, english, task

sys.path.insert(0, str(TEMPLATE))

from kto.settings import load as load_settings

__all__ = ["argilla", "english", "task"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = render(tmp_path_factory.mktemp("earlier"), language="nl", inference="openai-compatible")
    put_into(folder)
    return folder


def _answers(path: Path) -> dict[tuple[str, str], str | None]:
    return {
        (row["input"], model): raw
        for row in pq.read_table(path).to_pylist()
        for model, raw in zip(row["generation_model"], row["raw_generation_responses"], strict=True)
    }


def test_settings_load(project: Path, english: None) -> None:
    assert load_settings(project).annotation.annotators == ("amina", "bram", "carmen")


def test_no_good_answer_is_asked_again(project: Path) -> None:
    earlier = _answers(FILES / "data" / "generations" / "train.parquet")
    with ModelServer() as server:
        done = run(project, "generate.py", "--base-url", server.url)
        asked = {(chat.prompt, chat.model) for chat in server.chats}
    assert asked <= {key for key, raw in earlier.items() if not raw}, done.stdout
    now = _answers(project / "data" / "generations" / "train.parquet")
    assert {key: raw for key, raw in now.items() if earlier[key]} == {key: raw for key, raw in earlier.items() if raw}


def test_a_server_that_is_gone_takes_no_answer_away(project: Path) -> None:
    put_into(project)
    table = project / "data" / "generations" / "train.parquet"
    run(project, "generate.py", "--base-url", "http://127.0.0.1:9/v1")
    earlier = _answers(FILES / "data" / "generations" / "train.parquet")
    assert {key: raw for key, raw in _answers(table).items() if raw} == {
        key: raw for key, raw in earlier.items() if raw
    }


def test_every_vote_stays(task: Task) -> None:
    dataset = task.config.annotation.dataset
    put_into(task.project)
    task.set(dataset=json.dumps(dataset))
    earlier = pq.read_table(FILES / "data" / "votes" / "train.parquet").to_pylist()
    task.setup()  # an Argilla that knows none of the votes
    done = task.export()
    assert done.returncode == 0, done.stderr

    def key(vote: dict) -> tuple:
        return vote["annotator"], vote["record_id"], vote["vote"], vote["reasons"], vote["completion"]

    assert sorted(map(key, task.table("votes/train.parquet")), key=repr) == sorted(map(key, earlier), key=repr)
    (replaced,) = task.data.rglob("replaced.jsonl")
    assert replaced.read_text("utf-8").count("\n") == 2
    comments = (task.data / "private" / "votes" / "comments.csv").read_text("utf-8")
    assert "Zo maakte mijn oma het." in comments and "Er staat Engels voor" in comments


def test_every_row_stays(task: Task) -> None:
    """Where one vote is enough, as it was then: the same labels in the same splits."""
    dataset = task.config.annotation.dataset
    put_into(task.project)
    task.set(dataset=json.dumps(dataset), seed="1\nmin_votes = 1")
    task.setup()
    done = task.export()
    assert done.returncode == 0, done.stderr
    before, after = (
        {
            (name, row["prompt_id"], row["completion"][0]["content"]): (row["label"], row["n_votes"], row["agreement"])
            for name in ("train", "test")
            for row in pq.read_table(data / "kto" / f"{name}.parquet").to_pylist()
        }
        for data in (FILES / "data", task.data)
    )
    assert after == before and len(after) == 5
    rows = [*task.table("kto/train.parquet"), *task.table("kto/test.parquet")]
    assert {row["label_from"] for row in rows} == {"majority"} and {row["confidence"] for row in rows} == {None}
    public = task.table("votes/train.parquet")
    assert all(vote["for_agreement"] and vote["language"] is None and vote["aspects"] == [] for vote in public)
    card = (task.project / "dataset" / "README.md").read_text("utf-8")
    assert "for_agreement" not in card
