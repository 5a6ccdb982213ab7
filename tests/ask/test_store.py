"""The answer store: what is in it stays, whatever happens."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from generating import TEMPLATE, keys
from hypothesis import given
from hypothesis import strategies as st
from kto.ask.language import LanguageCheck
from kto.ask.store import Answer, NewAnswer, Store, StoredAnswer, answer_key, finish_reason
from kto.errors import UserError

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": TEXT}), min_size=1)
ARGUMENTS = st.fixed_dictionaries({"max_tokens": st.integers(1, 9999), "temperature": st.floats(0, 2)})
REQUESTS = st.tuples(TEXT, MESSAGES, ARGUMENTS, TEXT)
TOKENS = st.none() | st.integers(0, 2**63 - 1)
REASONS = TEXT.map(finish_reason)  # the client stores no other name for "length"
ANSWERS = st.builds(Answer, TEXT, REASONS, TOKENS, TOKENS, st.none() | st.floats(0, 1e6), st.booleans())
KEYS = st.sampled_from(["k1", "k2", "k3", "k4", "👍"])
ENTRIES = st.builds(NewAnswer, KEYS, TEXT, MESSAGES, ARGUMENTS, ANSWERS)
GATES = st.sampled_from(["", "one/nl", "other/nl"])
JUDGEMENTS = st.builds(LanguageCheck, st.sampled_from(["right", "wrong", "unchecked"]), TEXT, st.floats(0, 1))
PUTS = st.lists(st.tuples(st.lists(ENTRIES, max_size=5), st.lists(st.tuples(GATES, KEYS, JUDGEMENTS), max_size=5)))

OLD = """
CREATE TABLE answers (
    key TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    messages TEXT NOT NULL,
    arguments TEXT NOT NULL,
    answer TEXT NOT NULL,
    finish_reason TEXT NOT NULL,
    received_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ'))
) WITHOUT ROWID
"""


def entry(key: str, text: str = "Ja.", **answer: int) -> NewAnswer:
    return NewAnswer(
        key, "a/b", [{"role": "user", "content": "Hallo 👍"}], {"max_tokens": 9}, Answer(text, "stop", **answer)
    )


def old_store(path: Path) -> None:
    """A store of the previous version, with one answer."""
    database = sqlite3.connect(path)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute(OLD)
    put = "INSERT INTO answers (key, model, messages, arguments, answer, finish_reason) VALUES (?, ?, ?, ?, ?, ?)"
    database.execute(put, ["old", "a/b", "[]", "{}", "Oud.", "length"])
    database.commit()
    database.close()


def tables(path: Path) -> list:
    database = sqlite3.connect(path)
    found = database.execute("SELECT name, sql FROM sqlite_master").fetchall()
    database.close()
    return found


@given(PUTS)
def test_the_first_answer_stays_and_the_last_judgement_of_each_gate(puts: list) -> None:
    answers: dict[str, Answer] = {}
    said: dict[tuple[str, str], LanguageCheck] = {}
    with Store(Path(":memory:")) as store:
        for entries, judgements in puts:
            store.put(iter(entries), iter(judgements))
            for each in entries:
                answers.setdefault(each.key, each.answer)
            said |= {(gate, key): judgement for gate, key, judgement in judgements}
        assert store.count() == len(answers) and set(keys(store)) == set(answers)
        for gate in ("", "one/nl", "other/nl", "never asked"):
            for key in ("k1", "k2", "k3", "k4", "👍", "nothing"):
                expected = StoredAnswer(answers[key], said.get((gate, key))) if key in answers else None
                assert store.get(key, gate) == expected


@given(REQUESTS, REQUESTS)
def test_two_requests_share_a_key_only_if_they_are_equal(one: tuple, other: tuple) -> None:
    assert (answer_key(*one) == answer_key(*other)) == (one == other)
    assert answer_key(*one) == answer_key(*json.loads(json.dumps(one)))


def test_a_key_is_the_sha256_of_canonical_json() -> None:
    written = '["a/b","",[["user","Hallo 👍"]],{"max_tokens":9,"temperature":0.7}]'
    key = hashlib.sha256(written.encode()).hexdigest()
    assert answer_key("a/b", [{"role": "user", "content": "Hallo 👍"}], {"temperature": 0.7, "max_tokens": 9}) == key
    assert answer_key("a/b", [{"content": "Hallo 👍", "role": "user"}], {"max_tokens": 9, "temperature": 0.7}) == key


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kto.ask.language import LanguageCheck
from kto.ask.store import Answer, NewAnswer, Store
with Store(Path(sys.argv[2])) as store:
    for number in range(int(sys.argv[4])):
        key = f"{sys.argv[3]} {number}"
        entry = NewAnswer(key, "m", [], {}, Answer(str(number), "stop", number))
        store.put([entry], [("gate", key, LanguageCheck("right", "nl", 1.0))])
        print(number, flush=True)
"""


def writer(path: Path, name: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-B", "-c", WRITER, str(TEMPLATE), str(path), name, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("old", [False, True])
def test_several_processes_write_at_the_same_time(tmp_path: Path, old: bool) -> None:
    path = tmp_path / "data" / "answers.sqlite"
    if old:
        path.parent.mkdir()
        old_store(path)
    writers = [writer(path, name, 200) for name in "abcd"]
    for each in writers:
        each.communicate(timeout=60)
        assert each.returncode == 0
    with Store(path) as store:
        assert store.count() == 800 + old


def test_what_was_put_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with writer(path, "a", 1_000_000) as process:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(100)]
        process.kill()
    assert len(said) == 100
    with Store(path) as store:
        for number in range(100):
            assert store.get(f"a {number}", "gate") == (Answer(str(number), "stop", number), ("right", "nl", 1.0))


def test_what_was_put_is_there_when_the_power_goes(tmp_path: Path) -> None:
    """In WAL mode SQLite syncs each commit only if it is told to."""
    with Store(tmp_path / "answers.sqlite") as store:
        assert store._db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert store._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_store_of_the_previous_version(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    old_store(path)
    for _ in range(2):
        with Store(path) as store:
            assert store.get("old", "gate") == StoredAnswer(Answer("Oud.", "length"), None)
    with Store(path) as store:
        store.put([entry("old", "Nieuw."), entry("new", prompt_tokens=3, completion_tokens=4, refused=True)])
        store.put([], [("gate", "old", LanguageCheck("wrong", "en", 0.5))])
        assert store.get("old", "gate") == (Answer("Oud.", "length"), LanguageCheck("wrong", "en", 0.5))
        assert store.get("new") == (Answer("Ja.", "stop", 3, 4, None, True), None)
        assert store.completion_tokens() == {"a/b": 4}
    [row] = sqlite3.connect(path).execute("SELECT received_at, refused FROM answers WHERE key = 'old'")
    assert row[0].startswith("20") and row[1] == 0


def test_what_people_need_to_read_it_without_us(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with Store(path) as store:
        store.put([entry("k")])
    columns = "model, messages, arguments, answer, finish_reason, received_at"
    [row] = sqlite3.connect(path).execute(f"SELECT {columns} FROM answers")
    assert json.loads(row[1]) == [{"role": "user", "content": "Hallo 👍"}] and json.loads(row[2]) == {"max_tokens": 9}
    assert row[0] == "a/b" and row[3:5] == ("Ja.", "stop") and "👍" in row[1] and row[5].endswith("Z")


def test_how_long_answers_are(tmp_path: Path) -> None:
    with Store(tmp_path / "answers.sqlite") as store:
        assert store.completion_tokens() == {}
        store.put([entry("1", completion_tokens=10), entry("2", completion_tokens=20), entry("3")])
        assert store.completion_tokens() == {"a/b": 15}


def test_a_put_that_fails_leaves_nothing_of_it(tmp_path: Path) -> None:
    def interrupted() -> Iterator[NewAnswer]:
        yield entry("1")
        yield entry("2")
        raise KeyboardInterrupt

    with Store(tmp_path / "answers.sqlite") as store, Store(store.path) as other:
        store.put([entry("0")])
        with pytest.raises(KeyboardInterrupt):
            store.put(interrupted())
        with pytest.raises(sqlite3.IntegrityError):
            store.put([entry("3")], [("gate", "3", LanguageCheck(None, "", 0.0))])  # type: ignore[arg-type]
        assert keys(store) == ["0"]
        other.put([entry("4")])  # nothing is locked
        store.put([entry("5")])
        assert other.count() == 3


def test_a_disk_that_is_full(tmp_path: Path) -> None:
    with Store(tmp_path / "answers.sqlite") as store:
        store.put([entry("0")])
        [pages] = store._db.execute("PRAGMA page_count").fetchone()
        store._db.execute(f"PRAGMA max_page_count={pages + 20}")
        with pytest.raises(sqlite3.OperationalError, match="full"):
            store.put([entry(f"a{number}", "lang " * 100) for number in range(1000)])
        assert keys(store) == ["0"]
        store._db.execute("PRAGMA max_page_count=1000000")  # somebody made room
        store.put([entry(f"a{number}", "lang " * 100) for number in range(1000)])
    with Store(store.path) as store:
        assert store.count() == 1001


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_is_no_store(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"answers\.sqlite cannot be used"):
        Store(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("table", ["CREATE TABLE answers (id INTEGER)", "CREATE TABLE judgements (key, what)"])
def test_a_database_of_something_else_keeps_its_tables(tmp_path: Path, table: str) -> None:
    path = tmp_path / "answers.sqlite"
    database = sqlite3.connect(path)
    database.execute(table)
    database.close()
    before = tables(path)
    with pytest.raises(UserError, match="cannot be used"):
        Store(path)
    assert tables(path) == before


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be used"):
        Store(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used"):
        Store(tmp_path / "file" / "answers.sqlite")
