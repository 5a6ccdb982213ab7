"""An answer store on a full disk, on drives without shared memory, and what people are told then: never to lose it."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from generating import TEMPLATE, run
from kto.ask.store import Answer, NewAnswer, Store
from kto.errors import UserError
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]
assert TEMPLATE  # kto is found there

DRIVE = """
import shutil, sqlite3
usage, connect = shutil.disk_usage, sqlite3.connect

class Connection(sqlite3.Connection):
    def execute(self, sql, *rest):
        if sql == "PRAGMA journal_mode=WAL":
            error = sqlite3.OperationalError({message!r})
            error.sqlite_errorcode = {code}
            raise error
        return super().execute(sql, *rest)

shutil.disk_usage = lambda path: usage(path)._replace(free={free} or usage(path).free)
sqlite3.connect = lambda *a, **k: connect(*a, **k | {{"factory": Connection}})
"""
ADVICE = "will be asked for again"  # which costs everything that is in the file


def on_a_drive(project: Path, message: str, code: int, free: int = 0) -> dict[str, str]:
    """Environment in which SQLite fails as it does on such a drive, when it is to use shared memory."""
    (project / "drive").mkdir()
    text = DRIVE.format(message=message, code=code, free=free)
    (project / "drive" / "sitecustomize.py").write_text(text, encoding="utf-8")
    return {"PYTHONPATH": str(project / "drive")}


@pytest.fixture
def complete(project: Path) -> Path:
    """A project with an answer to every prompt."""
    with ModelServer() as server:
        assert run(project, "generate.py", "--base-url", server.url).returncode == 0
    return project


DEAD = ("generate.py", "--base-url", "http://127.0.0.1:9/v1")  # nobody needs to be asked


def test_a_full_disk(complete: Path) -> None:
    before = (complete / "data" / "answers.sqlite").read_bytes()
    done = run(complete, *DEAD, env=on_a_drive(complete, "disk I/O error", 4874, free=1000))
    assert done.returncode == 1 and ADVICE not in done.stderr
    assert "answers.sqlite is full" in done.stderr and "make room" in done.stderr
    assert (complete / "data" / "answers.sqlite").read_bytes() == before


@pytest.mark.parametrize(("message", "code"), [("locking protocol", 15), ("disk I/O error", 5386)])
def test_a_drive_without_shared_memory(complete: Path, message: str, code: int) -> None:
    """As on NFS: the answers are read, and new ones are kept."""
    env = on_a_drive(complete, message, code)
    done = run(complete, *DEAD, env=env)
    assert done.returncode == 0, done.stderr
    (complete / "prompts" / "mine.jsonl").open("a", encoding="utf-8").write('{"prompt": "One more?"}\n')
    with ModelServer() as server:
        assert run(complete, "generate.py", "--base-url", server.url, env=env).returncode == 0
        assert [chat.prompt for chat in server.chats] == ["One more?"] * 2


def entry(number: int) -> NewAnswer:
    return NewAnswer(f"k{number}", "a/b", [], {}, Answer(f"Answer {number}", "stop"))


def test_what_an_interrupted_run_left_in_the_log_is_not_lost(tmp_path: Path, english: None) -> None:
    """A drive that does not give us the shared memory: something is in its place, which SQLite cannot open."""
    path = tmp_path / "there" / "answers.sqlite"
    path.parent.mkdir()
    with Store(tmp_path / "answers.sqlite") as store:
        store.put([entry(number) for number in range(50)])
        for name in ("answers.sqlite", "answers.sqlite-wal"):
            shutil.copy(tmp_path / name, path.parent / name)
    assert (path.parent / "answers.sqlite-wal").stat().st_size > 0
    (path.parent / "answers.sqlite-shm").mkdir()
    with Store(path) as one, Store(path) as other:
        other.put([entry(50)])
        one.put([entry(51)])
        assert one.count() == other.count() == 52
    (path.parent / "answers.sqlite-shm").rmdir()
    with Store(path) as store:  # on a drive that has it again
        assert store.count() == 52
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (sqlite3.SQLITE_FULL, "make room"),
        (sqlite3.SQLITE_IOERR, "network drives"),
        (sqlite3.SQLITE_PROTOCOL, "network drives"),
        (sqlite3.SQLITE_BUSY, "close that program"),
        (sqlite3.SQLITE_LOCKED, "close that program"),
        (sqlite3.SQLITE_READONLY, "read and write it"),
        (sqlite3.SQLITE_CANTOPEN, "read and write it"),
        (sqlite3.SQLITE_CORRUPT, "Put a copy of it back"),
    ],
)
def test_nobody_is_told_to_give_answers_up(
    tmp_path: Path, english: None, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    path = tmp_path / "answers.sqlite"
    Store(path).close()

    def connect(*_: Any, **__: Any) -> sqlite3.Connection:
        error = sqlite3.OperationalError("it does not go")
        error.sqlite_errorcode = code
        raise error

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(UserError) as raised:
        Store(path)
    assert ADVICE not in str(raised.value)
    assert sentence in str(raised.value) and str(path) in str(raised.value)


def test_what_is_no_store_may_go(tmp_path: Path, english: None) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"a letter to my aunt" * 100)
    with pytest.raises(UserError, match="Move it away"):
        Store(tmp_path / "answers.sqlite")
