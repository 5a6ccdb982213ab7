"""SQLite on the disks that people have: a journal that works there, and what to do when something does not.

No sentence of these sends a file away that has answers or votes in it.
"""

import contextlib
import errno
import shutil
import sqlite3
import time
from pathlib import Path

from kto.errors import UserError

_ROOM = 1_000_000  # bytes; with less than that on a disk, an error of reading or writing is about room
_NO_SHARED_MEMORY = (sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def connect(path: Path, wait: float) -> sqlite3.Connection:
    """Open a database, with a write-ahead log where the drive can do that, else with a rollback journal.

    A write-ahead log needs memory that processes share, which network drives and some synchronised folders lack.
    Several processes may use either.

    Parameters
    ----------
    wait
        Seconds to wait while others write.

    Raises
    ------
    sqlite3.Error
        The file cannot be used.
    """
    database = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        _write_ahead(database, wait)
        return database
    except sqlite3.OperationalError as error:
        database.close()
        if _code(error) not in _NO_SHARED_MEMORY or is_full(path, error):
            raise
        why = error
    except BaseException:
        database.close()
        raise
    database = sqlite3.connect(path, timeout=wait, isolation_level=None, check_same_thread=False)
    try:
        # Who has the file for himself needs no shared memory, so the log that may be there can be taken in.
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        [mode] = database.execute("PRAGMA journal_mode=DELETE").fetchone()
        database.execute("PRAGMA locking_mode=NORMAL")
        database.execute("SELECT count(*) FROM sqlite_master").fetchone()  # gives the lock back
        if mode == "delete":
            return database
    except sqlite3.Error:
        database.close()
        raise why from None
    database.close()
    raise why


def _write_ahead(database: sqlite3.Connection, wait: float) -> None:
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


def trouble(path: Path, error: Exception) -> UserError:
    """Return what to say when the database at `path` cannot be used."""
    code = _code(error)
    if is_full(path, error):
        return UserError("technical.store_full", path=path)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL) or "disk I/O error" in str(error):
        return UserError("technical.store_drive", path=path, reason=error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return UserError("technical.store_busy", path=path, reason=error)
    if code == sqlite3.SQLITE_CORRUPT:
        return UserError("technical.store_damaged", path=path, reason=error)
    closed = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH)
    if code in closed or isinstance(error, OSError):
        return UserError("technical.store_closed", path=path, reason=error)
    return UserError("bad_store", path=path, reason=error)  # it is something else


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def is_full(path: Path, error: Exception) -> bool:
    """Tell whether there is no room on the disk: SQLite often says "disk I/O error" then."""
    if _code(error) == sqlite3.SQLITE_FULL or getattr(error, "errno", None) in _FULL:
        return True
    with contextlib.suppress(OSError):
        return _code(error) in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and (
            shutil.disk_usage(path.parent).free < _ROOM
        )
    return False
