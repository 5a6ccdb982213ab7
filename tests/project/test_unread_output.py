"""What commands do when nobody reads what they print: `| head -1`, a closed descriptor, a closed terminal."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generating import environment
from model_server import ModelServer
from rendering import TEMPLATE

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors and terminals are POSIX here")

ENVIRONMENT = environment({"PYTHONUNBUFFERED": ""})  # as people have it: errors come when a buffer is emptied


def unread(project: Path, *command: str, closed: tuple[int, ...] = ()) -> tuple[int, str]:
    """Run a command whose standard output leads to a pipe that nobody reads; return its status and standard error.

    closed: descriptors that are not even open.
    """
    read, write = os.pipe()
    os.close(read)
    close: Callable[[], None] = lambda: [os.close(each) for each in closed]  # type: ignore[assignment]  # noqa: E731
    pipes = {"stdin": subprocess.DEVNULL, "stdout": write, "stderr": subprocess.PIPE}
    command = (sys.executable, *command)
    with subprocess.Popen(
        command, cwd=project, env=ENVIRONMENT, preexec_fn=close, encoding="utf-8", **pipes
    ) as process:
        os.close(write)
        _, err = process.communicate(timeout=120)
    return process.returncode, err


def answers(project: Path) -> list[list[str | None]]:
    return [row["generations"] for row in pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()]


@pytest.mark.parametrize("closed", [(), (1,), (0, 1, 2)])
def test_the_table_is_written(project: Path, closed: tuple[int, ...]) -> None:
    with ModelServer() as server:
        status, err = unread(project, "generate.py", "--base-url", server.url, closed=closed)
        assert (status, err) == (0, "")
        assert len(answers(project)) == 5 and len(server.chats) == 10


def test_gaps_are_still_a_failure(project: Path) -> None:
    with ModelServer() as server:
        server.fail("How are you?", status=400)
        status, err = unread(project, "generate.py", "--base-url", server.url)
    assert status == 1 and "2 answers are missing" in err and err.count("\n") == 1
    assert len(answers(project)) == 5


def test_the_terminal_is_closed(project: Path) -> None:
    """As when a window is closed: SIGHUP for everybody in it, and nothing can be written any more."""
    import pty

    with ModelServer(latency=0.5) as server:
        process, terminal = pty.fork()
        if process == 0:
            os.chdir(project)
            command = [sys.executable, "generate.py", "--base-url", server.url]
            os.execve(sys.executable, command, ENVIRONMENT)
        deadline = time.monotonic() + 60
        while not server.chats:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.close(terminal)
        _, status = os.waitpid(process, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    assert len(answers(project)) == 5 and len(server.chats) == 10


@pytest.mark.parametrize("command", [["check.py"], ["check.py", "pages"], ["generate.py", "prompts", "--help"]])
def test_other_commands(project: Path, command: list[str]) -> None:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    read = subprocess.run([sys.executable, *command], cwd=project, env=ENVIRONMENT, encoding="utf-8", **pipes)
    assert unread(project, *command) == (read.returncode, read.stderr)


def test_every_command_goes_the_same_way() -> None:
    """All of them are run by `kto.command_line.run`, which is what the tests above are about."""
    commands = [*TEMPLATE.glob("*.py")]
    commands += [TEMPLATE / "kto/vote/outdated.py", TEMPLATE / "kto/vote/argilla_server/server.py"]
    assert len(commands) >= 7
    for path in commands:
        assert re.search(r'if __name__ == "__main__":\n    run\(main(, "[a-z]+")?\)\n', path.read_text("utf-8")), path
