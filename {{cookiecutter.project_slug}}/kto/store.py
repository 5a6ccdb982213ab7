"""The answer store: every answer that a model gave, in one SQLite file. Nothing in it is changed or deleted."""

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from kto.errors import UserError

Message = dict[str, str]

WAIT = 60
"""Seconds to wait for others that write."""

_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    messages TEXT NOT NULL,
    arguments TEXT NOT NULL,
    answer TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    received_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ'))
) WITHOUT ROWID
"""


class Answer(NamedTuple):
    """What a model answered: its text as it came, and why it stopped ("stop", "length", …; "" if it did not say)."""

    text: str
    finish_reason: str


def answer_key(model: str, messages: Sequence[Message], arguments: Mapping[str, object], weights: str = "") -> str:
    """Return the name of an answer in the store: SHA-256, in hex, of everything that it depends on.

    That is the model's name, the messages, and the generation arguments; for a model in a folder also `weights`, a
    digest of its files. The server's address is not part of it: the same model elsewhere gives the same answers, and
    addresses change. So two different models must not share one name.
    """
    asked = [model, weights, [[each["role"], each["content"]] for each in messages], dict(arguments)]
    return hashlib.sha256(_json(asked).encode("utf-8")).hexdigest()


class Store:
    """Open the store, make it if there is none. Several processes may use it at the same time.

    Raises
    ------
    UserError
        The file cannot be opened, or is no answer store.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Every statement is a transaction of its own: what was put is there, also after a kill.
            self._db = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
            self._write_ahead()
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute(_TABLE)
            self._db.execute("SELECT key, model, messages, arguments, answer, finish_reason FROM answers LIMIT 0")
        except (OSError, sqlite3.Error) as error:
            raise UserError("bad_store", path=path, reason=error) from None

    def _write_ahead(self) -> None:
        # Of several that open a new file at once only one can change its mode, and here SQLite does not wait by itself.
        deadline = time.monotonic() + WAIT
        while True:
            try:
                self._db.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, key: str) -> Answer | None:
        """Return the answer with this key, None if there is none."""
        row = self._db.execute("SELECT answer, finish_reason FROM answers WHERE key = ?", [key]).fetchone()
        return row and Answer(*row)

    def put(
        self, key: str, model: str, messages: Sequence[Message], arguments: Mapping[str, object], answer: Answer
    ) -> Answer:
        """Commit an answer and return the one that is in the store now: if there was one already, it stays.

        Raises
        ------
        sqlite3.Error
            It could not be written, for example because the disk is full.
        """
        self._db.execute(
            "INSERT OR IGNORE INTO answers (key, model, messages, arguments, answer, finish_reason)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [key, model, _json(list(messages)), _json(dict(arguments)), *answer],
        )
        return self.get(key) or answer

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that have no answer, in the same order."""
        return [key for key in keys if self.get(key) is None]

    def __len__(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
