"""`vote.py ties` for a lead: in a terminal, as a page, and what Argilla knows of it afterwards."""

import contextlib
import json
import os
import re
import stat
import sys
from typing import Any

import pytest
from browser import browser
from playwright.sync_api import Browser
from undecided_votes import FREEZE, GARDENS, NO, PAPER, Community, community, id_of, lines, ties
from voting import Task, argilla, english, task
from voting_service import add_records

__all__ = ["argilla", "browser", "community", "english", "task"]

ASK, ASK_FLAGGED = "1 = good, 2 = bad, 3 = take it out", "1 = keep it, 2 = take it out"


@pytest.fixture
def waiting(community: Community) -> Community:
    """A flagged answer, a flagged tie, a tie, and a tie that a third person may decide."""
    community.all_vote({PAPER: "++", FREEZE: "+--+", GARDENS: "++--", NO: "+-"})
    community.vote("ben", PAPER, "good", "personal_data")
    community.vote("ann", FREEZE, "good", "unpublishable")
    return community


class Terminal:
    """`vote.py ties` at a terminal."""

    def __init__(self, community: Community) -> None:
        pexpect = pytest.importorskip("pexpect", reason="Windows has no such terminals")
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "TERM": "xterm", "PYTHONDONTWRITEBYTECODE": "1"}
        self.child = pexpect.spawn(
            sys.executable,
            ["vote.py", "ties"],
            cwd=str(community.local.project),
            env=env,
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 100),
            echo=False,
        )

    def answer(self, question: str, line: str) -> str:
        """Answer the question when it is asked; return what was shown before it."""
        self.child.expect_exact(question)
        shown = self.child.before
        self.child.expect_exact("q = stop: ")
        self.child.sendline(line)
        return shown.replace("\r\n", "\n")

    def end(self) -> tuple[int | None, str]:
        said = self.child.read()
        self.child.close()
        return self.child.exitstatus, said.replace("\r\n", "\n")


def decided(community: Community) -> dict[str, list[str]]:
    names = {id_of(community, answer): answer for answer in (PAPER, FREEZE, GARDENS, NO)}
    found: dict[str, list[str]] = {}
    for line in lines(community, "decisions.jsonl"):
        found.setdefault(names[line["id"]], []).append(line["decision"])
    for line in lines(community, "left_out.jsonl"):
        found.setdefault(names[line["id"]], []).append(line["reason"])
    return found


def test_one_after_the_other_in_a_terminal(waiting: Community) -> None:
    order = sorted((id_of(waiting, PAPER), id_of(waiting, FREEZE)))
    terminal = Terminal(waiting)
    shown = [terminal.answer(ASK_FLAGGED, "1")]
    is_tie_first = "Freeze it." in shown[0]
    if is_tie_first:
        terminal.answer(ASK, "perhaps")  # asked again
        terminal.answer(ASK, "2")
    shown.append(terminal.answer(ASK_FLAGGED, "2" if is_tie_first else "1"))
    if not is_tie_first:
        terminal.answer(ASK, "2")
    shown.append(terminal.answer(ASK, ""))
    shown.append(terminal.answer(ASK, "١"))  # the digit of another script
    status, said = terminal.end()
    assert status == 0 and "This is in prompts/decisions.jsonl" in said, said
    assert len(order) == 2 and [f"{number} of 4" in text for number, text in enumerate(shown, 1)] == [True] * 4
    assert "Somebody says: " in shown[0] and "Somebody says: " in shown[1] and "In gardens." in shown[2]
    assert "No." in shown[3] and "Somebody else will still be asked" in shown[3]
    found = decided(waiting)
    assert found[FREEZE] == ["keep", "bad"] and found[NO] == ["good"] and GARDENS not in found
    assert found[PAPER] == (["personal_data"] if is_tie_first else ["keep"])


@pytest.mark.parametrize("how", ["ctrl-c", "q"])
def test_what_was_decided_stays_when_the_lead_stops(waiting: Community, how: str) -> None:
    terminal = Terminal(waiting)
    terminal.answer(ASK_FLAGGED, "2")
    if how == "q":
        terminal.answer(ASK_FLAGGED, "q")
    else:
        terminal.child.expect_exact("q = stop: ")
        terminal.child.sendintr()
    status, said = terminal.end()
    assert status == (0 if how == "q" else 130) and "Decided: 1." in said and "Traceback" not in said, said
    assert len(lines(waiting, "left_out.jsonl")) == 1 and lines(waiting, "decisions.jsonl") == []


def test_a_terminal_obeys_no_model(community: Community) -> None:
    answer = "In \x1b[2Jgardens.\x9b31m\x07\r\n\tAnd in tubs."
    with community.local.database() as database:
        add_records(database, {"Where \x1b]0;owned\x07do they grow?": [answer]})
    community.all_vote({answer: "+-"})
    shown = ties(community)
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f]", shown)
    assert "gardens." in shown and "\n And in tubs.\n" in shown


def test_the_page(waiting: Community, browser: Browser) -> None:
    said = ties(waiting, "--page")
    path = waiting.local.data / "private" / "ties.html"
    assert said == f"{path}\n"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with contextlib.closing(browser.new_page()) as page:
        page.goto(path.as_uri())
        assert page.locator("article").count() == 4
        assert page.locator("html").get_attribute("dir") == "ltr"
        whole = page.inner_text("main")
        assert "4 of 4" in whole and "Somebody says: Contains personal data" in whole and "Votes: 2 👍, 2 👎" in whole
        commands = [command.inner_text() for command in page.locator(".command").all()]
    assert [command.split()[-1] for command in commands[-6:]] == ["good", "bad", "out"] * 2
    assert sorted(command.split()[-1] for command in commands[:-6]) == ["bad", "good", "keep", "keep", "out", "out"]
    words = commands[-3].split()
    assert words[:4] == ["uv", "run", "vote.py", "ties"]
    ties(waiting, *words[4:])
    assert decided(waiting) == {NO: ["good"]}
    for answer in (PAPER, FREEZE, GARDENS):
        ties(waiting, id_of(waiting, answer), "out")
    assert ties(waiting, "--page") == "There is nothing to decide.\n" and not path.exists()


def test_argilla_knows_at_once_what_the_lead_has_looked_at(task: Task) -> None:
    task.set(test_fraction="0.0")
    task.generate({"Question?": ["one", "two"], "Another?": ["three", None]})
    task.setup()
    records = task.records()
    for name, thumb in (("amina", "good"), ("piet", "bad")):
        task.vote(name, records["Question?", "one"], thumb)
        task.vote(name, records["Question?", "two"], "good")
    metadata: dict[str, Any] = {answer: each["metadata"] for (_, answer), each in task.records().items()}
    assert not any("looked_at" in each for each in metadata.values())
    id = records["Question?", "one"]["external_id"]
    assert task.records()["Question?", "one"]["status"] == "pending", "somebody else is asked"
    done = task.run("vote.py", "ties", id[:10], "good")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert task.records()["Question?", "one"]["status"] == "completed"
    found = {answer: each["metadata"] for (_, answer), each in task.records().items()}
    assert found == metadata | {"one": metadata["one"] | {"looked_at": "good"}}
    assert task.export().stderr.startswith("Every row has the same label.")
    origins = {row["completion"][0]["content"]: row["label_from"] for row in task.table("kto/train.parquet")}
    assert origins == {"one": "lead", "two": "majority"}

    # The line goes, and with it the decision.
    (task.project / "prompts" / "decisions.jsonl").unlink()
    assert task.run("vote.py").returncode == 0
    assert {answer: each["metadata"] for (_, answer), each in task.records().items()} == metadata
    task.export()
    assert len(task.table("kto/train.parquet")) == 1


def test_no_argilla_no_mark(waiting: Community) -> None:
    """The server is stopped; what was decided is in the file, and the next vote.py tells Argilla."""
    said = ties(waiting, id_of(waiting, GARDENS), "bad")
    assert said.count("\n") == 1 and json.loads((waiting.local.project / "prompts" / "decisions.jsonl").read_text())
