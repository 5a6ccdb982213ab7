"""vote.py: it starts Argilla, or uses one that runs; and nothing of it stays behind."""

import contextlib
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from argilla_server import ROOT
from rendering import render
from vote_command import Vote
from voting import Task, argilla, english, task

__all__ = ["argilla", "english", "task"]

ANSWERS = {"How do I keep bread fresh?": ["In a paper bag.", "Freeze it."]}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for uv is a shell script")


@pytest.fixture
def alone(tmp_path: Path, english: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Task]:
    """A project without an Argilla."""
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    task = Task(render(tmp_path / "project"), "", "")
    task.set(annotators='["amina"]')
    yield task
    for client in task.people.values():
        client.close()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/v1/version").is_success
    except httpx.TransportError:
        return False


def gone(url: str) -> bool:
    """Return True as soon as nobody answers there, False if somebody still does after some seconds."""
    deadline = time.monotonic() + 20
    while answers(url) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not answers(url)


def argilla_of(vote: Vote) -> psutil.Process:
    """Return the process of Argilla that belongs to `vote.py`."""
    [process] = vote.until(
        lambda: [
            child
            for child in psutil.Process(vote.process.pid).children()
            if any(part.endswith("server.py") for part in child.cmdline())
        ]
    )
    return process


def ended(process: psutil.Process) -> None:
    """Fail if a process has not ended after a while; one that nobody waits for is over, too."""
    with contextlib.suppress(psutil.NoSuchProcess):
        deadline = time.monotonic() + 60
        while process.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline, process
            time.sleep(0.05)


def test_from_answers_to_votes_in_one_command(alone: Task, tmp_path: Path) -> None:
    alone.generate(ANSWERS)
    first = Vote(alone.project, tmp_path / "bin")
    port, url = f"--port={first.port}", first.url
    try:
        first.wait_for("Ctrl-C")
        assert "New answers in Argilla: 2\nNew people: 1\n" in first.output
        assert re.search(r"Log in as owner with the password \S{16}\n", first.output)
        assert first.output.count(url) == 2  # Argilla's page, and the lead's own link
        assert "amina" not in first.output and (alone.data / "private" / "annotators.csv").exists()
        assert f"ARGILLA_API_URL={url}\n" in (alone.project / ".env").read_text(encoding="utf-8")

        # More answers since: a second one uses the server that runs, and ends; its answers are cards at once.
        alone.generate({**ANSWERS, "More?": ["Yes.", "No."]})
        said = Vote(alone.project, tmp_path / "bin", "--port", str(first.port)).end()
        assert said.startswith("0: New answers in Argilla: 2\nNobody new.\n") and "Traceback" not in said
        assert said.endswith("/annotation-mode\n")
        assert first.process.poll() is None and answers(url)
        device = first.enter(first.own_secret)
        first.until(lambda: len(first.call("cards", {"count": 9, "have": []}, device).json()["cards"]) == 4)

        # With another home it is not that one, so it starts one of its own, for which the port is taken.
        other = Vote(alone.project, tmp_path / "bin", "--port", str(first.port), "--home", str(tmp_path / "home")).end()
        assert other.startswith("1: ") and "Choose another port" in other and "Traceback" not in other

        assert first.stop().startswith("0: ") and gone(url) and "Traceback" not in first.output
    finally:
        first.process.kill()
    assert gone(url)

    # And again: nothing appears twice, the password is not said again; a kill of vote.py ends the server, too.
    again = Vote(alone.project, tmp_path / "bin", port, forked=False).wait_for("New answers")
    assert "New answers in Argilla: 0\n" in again.output and "Log in as" not in again.output
    argilla = argilla_of(again)
    again.process.kill()
    assert gone(url)
    ended(argilla)


def test_the_server_ends_before_it_is_of_use(alone: Task, tmp_path: Path) -> None:
    """Killed while Argilla starts: there is nobody any more whom it could belong to."""
    alone.generate(ANSWERS)
    vote = Vote(alone.project, tmp_path / "bin", forked=False).wait_for("Argilla is starting")
    argilla = argilla_of(vote)
    vote.process.kill()
    assert vote.process.wait(10) == -signal.SIGKILL
    ended(argilla)


def test_what_is_missing_is_one_sentence(alone: Task, tmp_path: Path) -> None:
    done = alone.run("vote.py")
    assert done.returncode == 1 and done.stderr.endswith("Run generate.py first.\n") and done.stderr.count("\n") == 1
    alone.generate(ANSWERS)
    done = alone.run("vote.py", UV="", PATH=str(tmp_path))
    assert done.returncode == 1 and "Install it with: pip install uv\n" in done.stderr and done.stderr.count("\n") == 1
    said = Vote(alone.project, tmp_path / "bin", "--port", "many").end()
    assert said == "1: many is not a port. Choose a number up to 65535, for example 6900.\n"
    assert not (alone.project / ".argilla").exists() and not (alone.project / ".env").exists()


def test_an_argilla_elsewhere_is_used_and_not_started(alone: Task) -> None:
    alone.generate(ANSWERS)
    env = "ARGILLA_API_URL=http://argilla.invalid:9\nARGILLA_API_KEY=theirs\n"
    (alone.project / ".env").write_text(env, encoding="utf-8")
    done = alone.run("vote.py")
    assert done.returncode == 1 and "Argilla elsewhere (http://argilla.invalid:9)" in done.stdout
    assert done.stderr.startswith("Nothing answers at http://argilla.invalid:9 (") and done.stderr.count("\n") == 1
    assert not (alone.project / ".argilla").exists()


def test_commands_of_the_step(task: Task) -> None:
    said = task.run("vote.py", "--help").stdout
    assert all(word in said for word in ("--port", "--host", "--home", "--tunnel", "--url", "--argilla"))
    assert all(f"\n  {name} " in said for name in ("invite", "outdated", "practice", "space"))
    assert "attached" not in said
    done = task.run("vote.py", "space")
    assert done.returncode == 1 and done.stderr.startswith("No Space is named.")
    done = task.run("vote.py", "outdated")
    assert done.returncode == 1 and "Run vote.py first." in done.stderr
    old = task.run("-m", "kto.vote.outdated")
    assert (old.returncode, old.stderr) == (done.returncode, done.stderr)


def test_the_step_is_short() -> None:
    script = ROOT / "{{cookiecutter.project_slug}}" / "vote.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 110


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:6900", True),
        ("http://localhost:6900", True),
        ("http://0.0.0.0:6900", True),
        ("http://192.0.2.1:6900", False),  # of another machine: a copy of its database here is not the newest
        ("https://no-such-host.invalid", False),
        ("http://", False),
        ("", False),
        ("http://[1:2", False),
    ],
)
def test_which_addresses_are_this_machine(url: str, is_here: bool) -> None:
    from kto.vote import local

    assert local.is_this_machine(url) is is_here
