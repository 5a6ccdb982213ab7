"""The Argilla server of this machine: run it for another command, or find its database."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from kto.errors import UserError
from kto.texts import ROOT
from kto.vote.client import Argilla, log_in

HOME = ".argilla"  # in the project: where the server keeps its database and its log-ins
_SERVER = ROOT / "kto" / "vote" / "argilla_server" / "server.py"
_GRACE = 15  # seconds that the server has to end by itself


@contextlib.contextmanager
def local_argilla(arguments: Sequence[str]) -> Iterator[tuple[Argilla, "subprocess.Popen[str]"]]:
    """Run `argilla_server/server.py` in its own environment while the block runs; a kill of this process ends it, too.

    Yields its API and its process. Raises `UserError` without uv, and `SystemExit` if the server does not start: it
    has said why.
    """
    uv = os.environ.get("UV") or shutil.which("uv")
    if uv is None:
        raise UserError("technical.no_uv")
    command = [uv, "run", "--no-project", "--script", str(_SERVER), "--attached", *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8")
    assert process.stdin and process.stdout
    try:
        ready = process.stdout.readline()
        if not ready:
            sys.exit(process.wait() or 1)
        yield log_in(**json.loads(ready)), process
    finally:
        process.stdin.close()  # the server ends when its input does
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


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


def has_key(home: Path, key: str) -> bool:
    """Tell whether this is the owner's key of the Argilla that keeps its data in `home`."""
    query = "SELECT 1 FROM users WHERE api_key = ? AND role = 'owner'"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(open_database(home)) as database:
        return database.execute(query, (key,)).fetchone() is not None
    return False


def is_in_use(home: Path) -> bool:
    """Tell whether a server runs that keeps its data in `home`: it holds the lock of `argilla_server/home.py`."""
    uri = (home / "lock").resolve().as_uri()
    try:
        with contextlib.closing(sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=0)) as lock:
            lock.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY
    return False
