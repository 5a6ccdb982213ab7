"""The Argilla server of this machine: run it for another command, or find its database."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kto import processes
from kto.errors import UserError
from kto.texts import ROOT

HOME = ".argilla"  # in the project: where the server keeps its database and its log-ins
REVISION = "580a6553186f"
"""Name of the newest migration (alembic) of the argilla-server in `argilla_server/server.py`."""
_SERVER = ROOT / "kto" / "vote" / "argilla_server" / "server.py"
_GRACE = 15  # seconds that the server has to end by itself


class ArgillaEnded(Exception):
    """The server did not start, and has said why; `status` is its exit status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Child(NamedTuple):
    """A server that belongs to this process: its process, its address here, and its owner's key."""

    process: "subprocess.Popen[str]"
    url: str
    key: str


def find_uv() -> str:
    """Return the path of uv; raise `UserError` without it."""
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise UserError("technical.no_uv")
    return uv


@contextlib.contextmanager
def argilla_child(uv: str, arguments: Sequence[str]) -> Iterator[Child]:
    """Run `argilla_server/server.py` in its own environment while the block runs; a kill of this process ends it, too.

    Raises `ArgillaEnded` if it does not start.
    """
    command = [uv, "run", "--no-project", "--script", str(_SERVER), "--attached", *arguments]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", **processes.OWN_GROUP
    )
    assert process.stdin and process.stdout
    try:
        ready = process.stdout.readline()
        if not ready:
            raise ArgillaEnded(process.wait() or 1)
        yield Child(process, **json.loads(ready))
    finally:
        with contextlib.suppress(OSError):
            process.stdin.close()  # the server ends when its input does
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def is_current(home: Path) -> bool:
    """Tell whether the database in `home` has the tables of this Argilla, so that it will migrate nothing."""
    return first_row(home, "SELECT version_num FROM alembic_version") == (REVISION,)


def is_running(url: str) -> bool:
    """Tell whether something takes connections at an address."""
    try:
        parts = urlsplit(url)
        socket.create_connection((parts.hostname or "", parts.port or 80), timeout=5).close()
        return True
    except (OSError, ValueError):
        return False


def is_this_machine(url: str) -> bool:
    """Tell whether an address is one of this machine, in its network, too: a socket can be bound to no other."""
    try:
        host = urlsplit(url).hostname
        with socket.socket(socket.AF_INET6 if ":" in (host or "") else socket.AF_INET) as probe:
            probe.bind((host or "no host", 0))
        return True
    except (OSError, ValueError):
        return False


def open_database(home: Path) -> sqlite3.Connection:
    """Open the database in a server's `home` for reading; what a killed server left in its log (WAL) is read, too."""
    uri = (home / "argilla.db").resolve().as_uri()
    return sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=30)


def first_row(home: Path, query: str, *values: str) -> Any:
    """Return the first row that the database in `home` has for a query; None without one, or without a database."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(open_database(home)) as database:
        return database.execute(query, values).fetchone()
    return None


def has_key(home: Path, key: str) -> bool:
    """Tell whether this is the owner's key of the Argilla that keeps its data in `home`."""
    return first_row(home, "SELECT 1 FROM users WHERE api_key = ? AND role = 'owner'", key) is not None


def is_in_use(home: Path) -> bool:
    """Tell whether a server runs that keeps its data in `home`: it holds the lock of `argilla_server/home.py`."""
    uri = (home / "lock").resolve().as_uri()
    try:
        with contextlib.closing(sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=0)) as lock:
            lock.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
    return False
