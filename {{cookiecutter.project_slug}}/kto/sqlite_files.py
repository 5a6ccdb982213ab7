"""SQLite on network drives and full disks: a journal that works there, and sentences for errors.

None of these sentences tells people to give up a file that has answers or votes in it.
"""

import contextlib
import errno
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from kto.errors import UserError

_ROOM = 1_000_000  # bytes; with less than that on a disk, an error of reading or writing is about room
_NO_SHARED_MEMORY = (sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_TEXTS = {
    **dict.fromkeys((sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL), "technical.store_drive"),
    **dict.fromkeys((sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED), "technical.store_busy"),
    **dict.fromkeys((sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY), "technical.store_closed"),
    **dict.fromkeys((sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH), "technical.store_closed"),
    sqlite3.SQLITE_CORRUPT: "technical.store_damaged",
}


def connect(path: Path, wait: float) -> sqlite3.Connection:
    """Open a database, with a write-ahead log where the drive can do that, else with a rollback journal.

    A write-ahead log needs memory that processes share, which network drives and some synchronised folders lack.
    Several processes may use either. `wait` is the busy timeout in seconds. Raises `sqlite3.Error` if the file cannot
    be used.
    """
    try:
        return _open(path, wait, _use_write_ahead_log)
    except sqlite3.OperationalError as error:
        if _code(error) in _NO_SHARED_MEMORY and not is_full(path, error):
            with contextlib.suppress(sqlite3.Error):
                return _open(path, wait, _use_rollback_journal)
        raise


def _open(path: Path, wait: float, prepare: Callable[[sqlite3.Connection, float], None]) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        prepare(database, wait)
        return database
    except BaseException:
        database.close()
        raise


def _use_write_ahead_log(database: sqlite3.Connection, wait: float) -> None:
    # Of several that open a new file at once only one can change its mode, and here SQLite does not wait by itself.
    deadline = time.monotonic() + wait
    while True:
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("BEGIN IMMEDIATE")  # uses the shared memory
            database.execute("ROLLBACK")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _use_rollback_journal(database: sqlite3.Connection, _: float) -> None:
    # With the file to itself SQLite needs no shared memory, so a write-ahead log beside it can be taken in.
    database.execute("PRAGMA locking_mode=EXCLUSIVE")
    [mode] = database.execute("PRAGMA journal_mode=DELETE").fetchone()
    database.execute("PRAGMA locking_mode=NORMAL")
    database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # gives the lock back
    if mode != "delete":
        raise sqlite3.OperationalError(mode)


def store_error(path: Path, error: Exception) -> UserError:
    """Return what to say when the database at `path` cannot be used."""
    text = _TEXTS.get(_code(error), "bad_store")  # no database at all
    if is_full(path, error):
        text = "technical.store_full"
    elif "disk I/O error" in str(error):
        text = "technical.store_drive"
    elif isinstance(error, OSError):
        text = "technical.store_closed"
    return UserError(text, path=path, reason=error)


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_full(path: Path, error: Exception) -> bool:
    """Tell whether the disk is full, for which SQLite often says "disk I/O error"."""
    if _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in _FULL:
        return True
    with contextlib.suppress(OSError):
        unclear = _code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
        return unclear and shutil.disk_usage(path.parent).free < _ROOM
    return False
