"""`vote.py plan`: votes, evenings and rows for the project's own answers, before anybody votes."""

import contextlib
import json
import re
import sqlite3
import time
from pathlib import Path

import pytest
from rendering import read_yaml, render
from voting import Task, english

__all__ = ["english"]

ANSWERS = {
    f"Question {index:03}?": [f"{index:03} {'water ' * 50}a", f"{index:03} {'water ' * 50}b"] for index in range(45)
}
LENGTH = len("Question 000?") + 4 + 300 + 1


@pytest.fixture
def task(tmp_path: Path) -> Task:
    task = Task(render(tmp_path, language="en"), "", "")
    task.generate(ANSWERS)
    return task


def plan(task: Task, *words: str) -> str:
    done = task.run("vote.py", "plan", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def tables(said: str) -> list[list[list[str]]]:
    """Return the figures of each table, row by row."""
    found = []
    for part in re.split(r"\n─+\n", said)[1:]:
        rows = [re.split(r" {2,}", line) for line in part.partition("\n\n")[0].split("\n")]
        found.append([[cell.replace(",", "") for cell in row[1:]] for row in rows])
    return found


def add_votes(task: Task, *milliseconds: int | None) -> None:
    folder = task.project / ".argilla"
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / "argilla.db", isolation_level=None)) as database:
        database.execute("CREATE TABLE kto_lines (line TEXT)")
        for ms in milliseconds:
            database.execute("INSERT INTO kto_lines VALUES (?)", [json.dumps({"vote": "good", "ms": ms})])
        database.execute("INSERT INTO kto_lines VALUES (?)", [json.dumps({"vote": "skip", "ms": 10**6})])


def test_the_plan_of_a_project(task: Task) -> None:
    said = plan(task)
    assert said.startswith("Answers to vote on: 90\n")
    assert f"Seconds per card: {round(LENGTH / 863 * 60)}. This is a guess" in said and f"at most {LENGTH} " in said
    assert "People: 8, each 30 minutes" in said
    assert len(tables(said)) == 3
    assert '\n\nsettings.toml: min_submitted = 2 · third_vote = true · rule = "majority"\nNot in these tables: ' in said
    assert "10 % of the answers, to measure how well people agree, about 9 (" in said
    assert max(map(len, re.findall(r"(?m)^.*─.*$|^.* \d+ % +\d.*$", said))) <= 100
    for two, third, confidence, three, single in tables(said):
        assert (two[0], three[0]) == ("180", "270") and third[0] == confidence[0] == single[0] == single[2]
        assert third[2] == three[2] == "90" and int(two[2]) < 85
        evenings = float(two[1])
        assert evenings == pytest.approx(180 * LENGTH / 863 * 60 / (8 * 30 * 60), abs=0.06)
        assert all(re.fullmatch(r"\d+ %", row[3]) for row in (two, third, three, single))


def test_more_people_need_fewer_evenings(task: Task) -> None:
    task.set(annotators='["ann", "bob", "cat", "dan"]')
    four, eight = (tables(plan(task, *words)) for words in ([], ["--people", "8", "--minutes", "15"]))
    assert "People: 4," in plan(task)
    assert four[0][0][1] == eight[0][0][1]


def test_seconds_are_those_of_the_votes_or_of_the_settings(task: Task) -> None:
    add_votes(task, *[4000] * 15, *[9000] * 15, None, 10**7)
    assert "Seconds per card: 9, the median of 31 votes" in plan(task)
    settings = task.project / "settings.toml"
    text = settings.read_text("utf-8")
    assert "# seconds_per_card = 30 " in text
    settings.write_text(text.replace("# seconds_per_card = 30 ", "seconds_per_card = 12 "), "utf-8")
    said = plan(task)
    assert "Seconds per card: 12, from settings.toml" in said
    assert float(tables(said)[0][3][1]) == pytest.approx(270 * 12 / (8 * 30 * 60), abs=0.06)


def test_a_few_votes_do_not_count_yet(task: Task) -> None:
    add_votes(task, *[4000] * 19)
    assert "This is a guess" in plan(task)


@pytest.mark.parametrize("words", [["--people", "2"], ["--people", "x"], ["--minutes", "0"], ["--people", "1001"]])
def test_wrong_options(task: Task, words: list[str]) -> None:
    done = task.run("vote.py", "plan", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{words[0]} cannot be {words[1]}. --help shows what fits.\n"


def test_without_answers_it_says_what_to_do(task: Task) -> None:
    (task.data / "generations" / "train.parquet").unlink()
    done = task.run("vote.py", "plan")
    message = read_yaml(task.project / "kto" / "texts.yaml")["errors"]["no_generations"]
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(message.partition("{")[0])


def test_it_is_listed_in_help(task: Task) -> None:
    assert "\n  plan " in task.run("vote.py", "--help").stdout


def test_ten_thousand_answers_take_seconds(task: Task) -> None:
    task.generate({f"Question {index}?": [f"Answer {index} a", f"Answer {index} b"] for index in range(5000)})
    begin = time.monotonic()
    assert plan(task).startswith("Answers to vote on: 10,000\n")
    assert time.monotonic() - begin < 30, "10 on an idle machine"
