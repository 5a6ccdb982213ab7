"""The answer store: every answer that a model gave, in one SQLite file. Nothing in it is changed or deleted."""

import contextlib
import hashlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from filelock import FileLock, Timeout

from kto import sqlite_files
from kto.ask.language import LanguageCheck
from kto.errors import UserError

Message = dict[str, str]

_WAIT = 60  # busy timeout in seconds while another process writes

_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,
    messages TEXT NOT NULL,
    arguments TEXT NOT NULL,
    answer TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    received_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ'))
);
CREATE TABLE IF NOT EXISTS judgements (
    key TEXT NOT NULL,
    gate TEXT NOT NULL,
    verdict TEXT NOT NULL,
    language TEXT NOT NULL,
    score REAL NOT NULL,
    PRIMARY KEY (key, gate)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (
    request BLOB NOT NULL,
    key TEXT NOT NULL,
    PRIMARY KEY (request, key)
) WITHOUT ROWID;
"""
# Columns of `answers` added later; new files, and older ones when opened, get them one by one.
_LATER = {
    "prompt_tokens": "INTEGER",
    "completion_tokens": "INTEGER",
    "seconds": "REAL",
    "refused": "INTEGER NOT NULL DEFAULT 0",
    "sent": "TEXT",
}
_ANSWER = "answer, finish_reason, prompt_tokens, completion_tokens, seconds, refused, sent"
_PUT = (
    f"INSERT INTO answers (key, model, messages, arguments, {_ANSWER}) VALUES (?{', ?' * 10})"
    " ON CONFLICT (key) DO NOTHING"
)
_PUT_CHECK = "INSERT OR REPLACE INTO judgements (key, gate, verdict, language, score) VALUES (?, ?, ?, ?, ?)"
_PUT_REQUEST = "INSERT OR IGNORE INTO requests (request, key) VALUES (?, ?)"
_PUT_ALL_REQUESTS = "INSERT OR IGNORE INTO requests (request, key) SELECT request_of(model, messages), key FROM answers"
_JOIN_CHECK = "LEFT JOIN judgements ON judgements.key = answers.key AND gate = ?"
_GET = f"SELECT {_ANSWER}, verdict, language, score FROM answers {_JOIN_CHECK} WHERE answers.key = ?"
_ALIKE = (
    f"SELECT answers.key, arguments, {_ANSWER}, verdict, language, score"
    f" FROM requests JOIN answers ON answers.key = requests.key {_JOIN_CHECK}"
    " WHERE request = ? ORDER BY received_at, answers.key"
)

_CUT = frozenset(("max_tokens", "model_length", "max_output_tokens", "max_length"))


def finish_reason(said: str) -> str:
    """Return why an answer stopped: "length" whatever a server calls it, other words as they came."""
    return "length" if said.lower() in _CUT else said


class Answer(NamedTuple):
    """What a model answered, as it came; tokens as the server counted them, None if it did not."""

    text: str
    finish_reason: str  # "stop", "length" (cut by `max_tokens`), …; "" if the server did not say
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float | None = None  # from the request to the whole answer, None if nobody measured
    refused: bool = False  # the server says that the model, or a filter, refused to answer
    sent: str | None = None  # see `kto.ask.request_fields.described`; None in stores of an earlier version


class StoredAnswer(NamedTuple):
    """An answer in the store, and the verdict of a language gate, None if it has not seen the answer."""

    answer: Answer
    check: LanguageCheck | None


class Candidate(NamedTuple):
    """An answer with its key and the arguments of its request; empty where they are not known any more."""

    key: str
    arguments: Mapping[str, object]
    stored: StoredAnswer


class NewAnswer(NamedTuple):
    """An answer to put into the store, and the request for it."""

    key: str
    model: str
    messages: Sequence[Message]
    arguments: Mapping[str, object]
    answer: Answer


def answer_key(model: str, messages: Sequence[Message], arguments: Mapping[str, object], weights: str = "") -> str:
    """Return the name of an answer in the store: SHA-256, in hex, of everything that it depends on.

    `weights` is a digest of the files of a model in a folder. The server's address is not part of it: the same model
    elsewhere gives the same answers, and addresses change. So two different models must not share one name.
    """
    asked = [model, weights, [[message["role"], message["content"]] for message in messages], dict(arguments)]
    return hashlib.sha256(_json(asked).encode("utf-8")).hexdigest()


class Store:
    """Open the store, make it if there is none. Several processes may use it at the same time.

    Raises `UserError` if the file cannot be opened, or is no answer store; a `with` block also for a `sqlite3.Error`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all_noted = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite_files.connect(path, _WAIT)
            try:
                self._prepare()
            except BaseException:
                self._db.close()  # what is no answer store keeps its tables as they are
                raise
        except (OSError, sqlite3.Error) as error:
            raise sqlite_files.store_error(path, error) from None

    def _prepare(self) -> None:
        self._db.execute("PRAGMA synchronous=FULL")  # what was put is on the disk, also when the power goes
        self._db.execute("BEGIN IMMEDIATE")
        for statement in _TABLES.split(";"):
            self._db.execute(statement)
        columns = {row[1] for row in self._db.execute("PRAGMA table_info(answers)")}
        for name, definition in _LATER.items():
            if name not in columns:
                self._db.execute(f"ALTER TABLE answers ADD COLUMN {name} {definition}")
        self._db.execute(f"{_ALIKE} LIMIT 0", ["", ""])
        self._db.execute("SELECT model, messages FROM answers LIMIT 0")
        self._db.execute("COMMIT")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if isinstance(error, sqlite3.Error):
            raise sqlite_files.store_error(self.path, error) from None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, key: str, gate: str = "") -> StoredAnswer | None:
        """Return the answer with this key and what `gate` said about it, None if there is no such answer."""
        row = self._db.execute(_GET, [gate, key]).fetchone()
        return None if row is None else _stored(row)

    def alike(self, model: str, messages: Sequence[Message], gate: str = "") -> list[Candidate]:
        """Return all answers of a model to these messages, whatever the arguments, the oldest first."""
        self._note_all()
        rows = self._db.execute(_ALIKE, [gate, _request(model, _json(list(messages)))])
        return [Candidate(key, json.loads(arguments), _stored(row)) for key, arguments, *row in rows]

    def _note_all(self) -> None:
        """Note the requests of answers that an earlier version has put, which did not."""
        if self._all_noted:
            return
        counts = "SELECT (SELECT count(*) FROM answers), (SELECT count(*) FROM requests)"
        answers, noted = self._db.execute(counts).fetchone()
        if answers > noted:
            self._db.create_function("request_of", 2, _request, deterministic=True)
            self._db.execute(_PUT_ALL_REQUESTS)
        self._all_noted = True

    def put(self, answers: Iterable[NewAnswer], checks: Iterable[tuple[str, str, LanguageCheck]] = ()) -> None:
        """Commit answers, and verdicts of gates (by name) on answers (by key): all or nothing.

        An answer that is in the store already stays. Raises `sqlite3.Error`, for example because the disk is full.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            for new in answers:
                messages = _json(list(new.messages))
                row = [new.key, new.model, messages, _json(dict(new.arguments)), *new.answer]
                if self._db.execute(_PUT, row).rowcount:
                    self._db.execute(_PUT_REQUEST, [_request(new.model, messages), new.key])
            self._db.executemany(_PUT_CHECK, ([key, gate, *check] for gate, key, check in checks))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it
                self._db.execute("ROLLBACK")
            raise

    def completion_tokens(self) -> dict[str, float]:
        """Return by model how many tokens its answers have on average, as far as servers counted them."""
        counted = "SELECT model, avg(completion_tokens) FROM answers WHERE completion_tokens > 0 GROUP BY model"
        return dict(self._db.execute(counted))

    def count(self) -> int:
        """Return the number of answers."""
        return int(self._db.execute("SELECT count(*) FROM answers").fetchone()[0])


@contextlib.contextmanager
def copied_store(path: Path) -> Iterator[Store]:
    """Open a temporary copy of the store, an empty one if there is none: what is written to it is lost."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        if path.exists():
            try:
                with (
                    contextlib.closing(sqlite_files.connect(path, _WAIT)) as source,
                    contextlib.closing(sqlite3.connect(copy)) as target,
                ):
                    source.backup(target)
            except sqlite3.Error as error:
                raise sqlite_files.store_error(path, error) from None
        with Store(copy) as store:
            yield store


class AlreadyRunning(UserError):
    """Another run holds the store."""


@contextlib.contextmanager
def locked_store(path: Path) -> Iterator[Store]:
    """Open the store for a single run: two at once would ask, and pay, for the same answers.

    The system gives the lock back also if this process is killed. Raises `AlreadyRunning` if another run holds it.
    """
    lock = path.with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        acquired = FileLock(lock, timeout=0).acquire()
    except Timeout:
        raise AlreadyRunning("already_running") from None
    except (OSError, NotImplementedError) as error:  # some network drives know no locks
        raise UserError("cannot_write", path=lock, reason=error) from None
    with acquired, Store(path) as store:
        yield store


def _stored(row: Sequence[Any]) -> StoredAnswer:
    text, reason, read, written, seconds, refused, sent, verdict, language, score = row
    check = None if verdict is None else LanguageCheck(verdict, language, score)
    # Answers of an earlier version have the server's own word for it.
    return StoredAnswer(Answer(text, finish_reason(reason), read, written, seconds, bool(refused), sent), check)


def _request(model: str, messages: str) -> bytes:
    """Return a digest of a request without its arguments; `messages` as the store has them."""
    return hashlib.sha256(f"{model}\n{messages}".encode("utf-8", "surrogatepass")).digest()[:16]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
