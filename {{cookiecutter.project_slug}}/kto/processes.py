"""A process that never outlives us, also when we are killed.

A killed program cannot tidy up. So a watcher stands between us and the command: this file, run as a script. It ends the
command and everything that the command started as soon as its standard input closes or its parent is gone.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

_POLL = 0.2  # seconds between two checks of the parent
_GRACE = 10.0  # seconds that the command has to end by itself
OWN_GROUP: Mapping[str, Any] = {
    "creationflags": getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # Windows
    "start_new_session": True,  # POSIX
}
"""Arguments of `Popen`: Ctrl-C in the terminal reaches us alone, and we decide in which order processes end."""


@contextlib.contextmanager
def running(
    command: Sequence[str], *, log: Path, cwd: Path, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` while the block runs, and end it with its children; what it prints goes to `log`.

    Yields the watcher, whose exit status is 0 only if that of the command is.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        watcher = subprocess.Popen(
            [sys.executable, "-I", __file__, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=env,
            **OWN_GROUP,
        )
    assert watcher.stdin is not None
    try:
        yield watcher
    finally:
        watcher.stdin.close()
        try:
            watcher.wait(_GRACE + 5)
        except subprocess.TimeoutExpired:
            watcher.kill()
            watcher.wait()
        if watcher.returncode and sys.platform != "win32":  # in case somebody killed the watcher
            with contextlib.suppress(ProcessLookupError):
                os.killpg(watcher.pid, signal.SIGKILL)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not blank, "" if there is none."""
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _watch(command: list[str]) -> int:
    """Run `command` until it or our parent ends; return its exit status."""
    end = threading.Event()
    parent = os.getppid()

    def wait_for_end_of_input() -> None:
        while os.read(0, 1024):
            pass
        end.set()

    threading.Thread(target=wait_for_end_of_input, daemon=True).start()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    # Siblings of ours may hold the other end of our input open, so the parent is checked, too (not on Windows, where
    # handles are not passed on and the id of the parent never changes).
    while not end.is_set() and os.getppid() == parent:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = child.wait(_POLL)
            if status:
                _end(child)  # whatever it left behind
            return status
    _end(child)
    return 1


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and everything that it started. On POSIX that is our whole group, so nothing runs after this."""
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(child.pid)], capture_output=True, check=False)
        return
    os.killpg(0, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(_watch(sys.argv[1:]))
