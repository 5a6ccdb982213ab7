"""vote.py: it starts Argilla, or uses one that runs; and nothing of it stays behind."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from argilla_server import ROOT, free_port, interpreter
from rendering import render
from voting import Task, argilla, english, task

__all__ = ["argilla", "english", "task"]

ANSWERS = {"How do I keep bread fresh?": ["In a paper bag.", "Freeze it."]}
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for uv is a shell script")


class Vote:
    """`vote.py` of a project, started as in a terminal; uv is a script that has the server's environment already."""

    def __init__(self, project: Path, tools: Path, *arguments: str, **env: str) -> None:
        tools.mkdir(exist_ok=True)
        uv = tools / "uv"
        uv.write_text(f'#!/bin/sh\nshift 3\nexec "{interpreter()}" "$@"\n', encoding="utf-8")
        uv.chmod(0o755)
        usual = {name: value for name, value in os.environ.items() if name not in ("UV", "PYTHONDONTWRITEBYTECODE")}
        self.log = project / f"vote-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-B", "vote.py", *arguments],
                cwd=project,
                env={**usual, "UV": str(uv), "HF_HUB_OFFLINE": "1", "HF_TOKEN": "", **env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait_for(self, text: str) -> "Vote":
        deadline = time.monotonic() + 120
        while text not in self.output:
            assert self.process.poll() is None and time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return self

    def end(self) -> str:
        """Wait until it has ended by itself and return what it said, with its status in front."""
        return f"{self.process.wait(120)}: {self.output}"


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


def test_from_answers_to_votes_in_one_command(alone: Task, tmp_path: Path) -> None:
    alone.generate(ANSWERS)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    first = Vote(alone.project, tmp_path / "bin", "--port", str(port))
    try:
        first.wait_for("/annotation-mode")
        assert "New answers in Argilla: 2\nNew people: 1\n" in first.output
        assert re.search(r"Log in as owner with the password \S{16}\n", first.output)
        assert first.output.count(url) == 2 and "Ctrl-C" in first.output
        assert "amina" not in first.output and (alone.data / "private" / "annotators.csv").exists()

        # More answers since: a second one uses the server that runs, and ends.
        alone.generate({**ANSWERS, "More?": ["Yes.", "No."]})
        second = Vote(alone.project, tmp_path / "bin", "--port", str(port))
        said = second.end()
        assert said.startswith("0: New answers in Argilla: 2\nNobody new.\n") and "Traceback" not in said
        assert first.process.poll() is None and answers(url)

        # With another home it is not that one, so it starts one of its own, for which the port is taken.
        other = Vote(alone.project, tmp_path / "bin", "--port", str(port), "--home", str(tmp_path / "home")).end()
        assert other.startswith("1: ") and "Choose another port" in other and "Traceback" not in other

        os.killpg(first.process.pid, signal.SIGINT)  # Ctrl-C reaches all of them
        assert first.end().startswith("0: ") and gone(url) and "Traceback" not in first.output
    finally:
        first.process.kill()
    assert gone(url)

    # And again: nothing appears twice, the password is not said again; a kill of vote.py ends the server, too.
    again = Vote(alone.project, tmp_path / "bin", "--port", str(port)).wait_for("/annotation-mode")
    assert "New answers in Argilla: 0\nNobody new.\n" in again.output and "Log in as" not in again.output
    again.process.kill()
    assert gone(url)


def test_the_server_ends_before_it_is_of_use(alone: Task, tmp_path: Path) -> None:
    """Killed while it starts: there is nobody any more whom the server could belong to."""
    alone.generate(ANSWERS)
    port = free_port()
    vote = Vote(alone.project, tmp_path / "bin", "--port", str(port)).wait_for("Argilla is starting")
    vote.process.kill()
    assert vote.process.wait(10) == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:  # the port is free when the process has ended
        taken = subprocess.run([sys.executable, "-c", f"import socket; socket.create_server(('127.0.0.1', {port}))"])
        if taken.returncode == 0:
            return
        time.sleep(0.2)
    pytest.fail(vote.output)


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
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Nothing answers at http://argilla.invalid:9 (") and done.stderr.count("\n") == 1
    assert not (alone.project / ".argilla").exists()


def test_commands_of_the_step(task: Task) -> None:
    said = task.run("vote.py", "--help").stdout
    assert all(word in said for word in ("--port", "--host", "--home", "outdated", "space"))
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
