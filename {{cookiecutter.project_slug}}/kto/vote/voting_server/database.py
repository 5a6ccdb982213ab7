"""Argilla's SQLite file, as the voting page writes it: one thread writes, and commits all that waits at once."""

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

Result = TypeVar("Result")

_TABLES = """
CREATE TABLE IF NOT EXISTS kto_links (
    hash TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT, voter_limit INTEGER, created_at TEXT NOT NULL, closed_at TEXT);
CREATE TABLE IF NOT EXISTS kto_voters (
    hash TEXT PRIMARY KEY, link TEXT NOT NULL, user_id CHAR(32), consent TEXT NOT NULL, consented_at TEXT NOT NULL,
    credit TEXT, withdrawn_at TEXT);
CREATE TABLE IF NOT EXISTS kto_lines (
    id TEXT PRIMARY KEY, record_id CHAR(32) NOT NULL, user_id CHAR(32) NOT NULL, line TEXT NOT NULL,
    state TEXT NOT NULL, response_updated_at TEXT, link TEXT NOT NULL, received_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS kto_lines_response ON kto_lines (record_id, user_id, received_at);
CREATE TABLE IF NOT EXISTS kto_leases (
    record_id CHAR(32) NOT NULL, user_id TEXT NOT NULL, expires_at REAL NOT NULL, PRIMARY KEY (record_id, user_id));
CREATE TABLE IF NOT EXISTS kto_cards (external_id TEXT PRIMARY KEY, prompt TEXT NOT NULL, answer TEXT NOT NULL);
"""
_WAIT = 30  # seconds that a statement waits for another process that writes


def connect(path: Path) -> sqlite3.Connection:
    """Open the database for this thread. An answered request is on the disk: the journal is synced at each commit."""
    connection = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    if connection.execute("PRAGMA synchronous").fetchone() != (2,):
        raise sqlite3.OperationalError("synchronous = FULL was not taken")
    return connection


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of the voting page, where there are none."""
    connection.executescript(_TABLES)


class Writer:
    """The one thread that writes. What waits while it commits goes into the next transaction together."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None]
        self._waiting = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="votes")
        with connect(path) as connection:
            make_tables(connection)
        self._thread.start()

    def run(self, write: Callable[[sqlite3.Connection], Result]) -> Result:
        """Run a function in a transaction, and return its result once that is committed.

        Raises
        ------
        sqlite3.Error
            Nothing of the function was written.
        """
        done: Future[Result] = Future()
        self._waiting.put((write, done))
        return done.result()

    def close(self) -> None:
        """Write what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        connection = connect(self._path)
        going = True
        while going:
            batch = [self._waiting.get()]
            while not self._waiting.empty():
                batch.append(self._waiting.get())
            going = None not in batch
            self._write(connection, [item for item in batch if item])
        connection.close()

    @staticmethod
    def _write(
        connection: sqlite3.Connection, batch: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]]
    ) -> None:
        done: list[tuple[Future[Any], Any]] = []
        try:
            connection.execute("BEGIN IMMEDIATE")
            for write, future in batch:
                connection.execute("SAVEPOINT one")
                try:
                    done.append((future, write(connection)))
                except Exception as error:  # of this request alone
                    connection.execute("ROLLBACK TO one")
                    future.set_exception(error)
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for future, result in done:
                future.set_result(result)
