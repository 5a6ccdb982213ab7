"""Argilla's SQLite file, as the voting page writes it: one thread writes, and commits all that waits at once."""

import contextlib
import datetime
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")
Write = Callable[[sqlite3.Connection], Any]

_TABLES = """
CREATE TABLE IF NOT EXISTS kto_links (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT, voter_limit INTEGER, created_at TEXT NOT NULL, closed_at TEXT,
    left_out_at TEXT);
CREATE TABLE IF NOT EXISTS kto_voters (
    hash TEXT PRIMARY KEY, link TEXT NOT NULL, user_id CHAR(32) NOT NULL, consent TEXT NOT NULL,
    consented_at TEXT NOT NULL, credit TEXT, withdrawn_at TEXT, closed_at TEXT, left_out_at TEXT);
CREATE INDEX IF NOT EXISTS kto_voters_link ON kto_voters (link, consented_at);
CREATE INDEX IF NOT EXISTS kto_voters_user ON kto_voters (user_id);
CREATE TABLE IF NOT EXISTS kto_lines (
    id TEXT PRIMARY KEY, record_id CHAR(32) NOT NULL, user_id CHAR(32) NOT NULL, line TEXT NOT NULL,
    state TEXT NOT NULL, response_updated_at TEXT, link TEXT NOT NULL, received_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS kto_lines_response ON kto_lines (record_id, user_id, received_at);
CREATE TABLE IF NOT EXISTS kto_leases (
    record_id CHAR(32) NOT NULL, user_id TEXT NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY (record_id, user_id));
CREATE TABLE IF NOT EXISTS kto_cards (external_id TEXT PRIMARY KEY, prompt TEXT NOT NULL, answer TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS kto_state (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_WAIT = 5  # seconds that a statement waits for another process that writes; then people are told to try again


def argilla_time(moment: datetime.datetime | None = None) -> str:
    """Return a moment in UTC (default: now) as Argilla writes it."""
    return (moment or datetime.datetime.now(datetime.UTC)).strftime("%Y-%m-%d %H:%M:%S.%f")


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of the voting page that are missing."""
    connection.executescript(_TABLES)


def connect(path: Path) -> sqlite3.Connection:
    """Open the database, which must exist. A transaction is on the disk once it is committed.

    Raises `sqlite3.Error` if there is no such file, it cannot be used, or does not take these settings.
    """
    uri = f"{path.resolve().as_uri()}?mode=rw"
    connection = sqlite3.connect(uri, uri=True, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: else the drive may hold back what was synced
        journal = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if (journal, connection.execute("PRAGMA synchronous").fetchone()[0]) != ("wal", 2):
            raise sqlite3.OperationalError(f"journal {journal}, not written through to the disk")
    except BaseException:
        connection.close()
        raise
    return connection


class Readers:
    """Connections for reading, one for each thread that reads just now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._open = True

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection; raise `sqlite3.Error` if there is none."""
        try:
            connection = self._free.get_nowait()
        except queue.Empty:
            connection = connect(self._path)
        try:
            yield connection
        finally:
            self._free.put(connection)
            if not self._open:
                self.close()

    def close(self) -> None:
        """Close all connections; one that is lent, when it comes back."""
        self._open = False
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait().close()


class Writer:
    """The one thread that writes. What waits while it commits goes into the next transaction together.

    `begin` is called first in each transaction. Raises `sqlite3.Error` if the database cannot be used, or is not one of
    Argilla.
    """

    def __init__(self, path: Path, begin: Write) -> None:
        self._begin = begin
        self._connection = connect(path)
        try:
            self._connection.execute("SELECT 1 FROM datasets LIMIT 1")  # fails in a file that is not Argilla's
            make_tables(self._connection)
        except BaseException:
            self._connection.close()
            raise
        self._waiting: queue.SimpleQueue[tuple[Write, Callable[[Any], Any], Future[Any]] | None] = queue.SimpleQueue()
        self._open = True
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="votes", daemon=True)
        self._thread.start()

    def run(
        self, write: Callable[[sqlite3.Connection], Result], after: Callable[[Result], Any] = lambda result: None
    ) -> Result:
        """Run a function in a transaction, and return its result once that is committed.

        `after` is called with the result in the writing thread, before the next transaction begins. After a
        `sqlite3.Error` nothing of the function was written.
        """
        done: Future[Result] = Future()
        with self._lock:
            if not self._open:
                raise sqlite3.OperationalError("closed")
            self._waiting.put((write, after, done))
        return done.result()

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if self._open:
                self._open = False
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            going = None not in batch
            self._write([item for item in batch if item])
        self._connection.close()

    def _write(self, batch: list[tuple[Write, Callable[[Any], Any], Future[Any]]]) -> None:
        if not batch:
            return
        connection = self._connection
        done: list[tuple[Callable[[Any], Any], Future[Any], Any]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._begin(connection)
            for write, after, future in batch:
                connection.execute("SAVEPOINT one")
                try:
                    done.append((after, future, write(connection)))
                except Exception as error:  # of this request alone, unless SQLite has ended the transaction
                    connection.execute("ROLLBACK TO one")
                    future.set_exception(error)
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except Exception as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for _, _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for after, future, result in done:
            try:
                after(result)
                future.set_result(result)
            except Exception as error:
                future.set_exception(error)
