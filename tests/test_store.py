"""The answer store: what is in it stays, whatever happens."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from generating import TEMPLATE
from hypothesis import given
from hypothesis import strategies as st
from kto.errors import UserError
from kto.store import Answer, Store, answer_key

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.sampled_from(["system", "user"]), "content": TEXT}), min_size=1)
ARGUMENTS = st.fixed_dictionaries({"max_tokens": st.integers(1, 9999), "temperature": st.floats(0, 2)})
REQUESTS = st.tuples(TEXT, MESSAGES, ARGUMENTS, TEXT)
ANSWERS = st.builds(Answer, TEXT, TEXT)


@given(st.lists(st.tuples(REQUESTS, ANSWERS), max_size=20))
def test_the_first_answer_to_a_request_stays(puts: list) -> None:
    first: dict[str, Answer] = {}
    with Store(Path(":memory:")) as store:
        for (model, messages, arguments, weights), answer in puts:
            key = answer_key(model, messages, arguments, weights)
            first.setdefault(key, answer)
            assert store.put(key, model, messages, arguments, answer) == first[key]
        assert len(store) == len(first)
        assert {key: store.get(key) for key in first} == first
        assert store.missing(["nothing", *first]) == ["nothing"]


@given(REQUESTS, REQUESTS)
def test_two_requests_share_a_key_only_if_they_are_equal(one: tuple, other: tuple) -> None:
    assert (answer_key(*one) == answer_key(*other)) == (one == other)


def test_a_key_is_the_sha256_of_canonical_json() -> None:
    written = '["a/b","",[["user","Hallo 👍"]],{"max_tokens":9,"temperature":0.7}]'
    key = hashlib.sha256(written.encode()).hexdigest()
    assert answer_key("a/b", [{"role": "user", "content": "Hallo 👍"}], {"temperature": 0.7, "max_tokens": 9}) == key
    assert answer_key("a/b", [{"content": "Hallo 👍", "role": "user"}], {"max_tokens": 9, "temperature": 0.7}) == key


WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from kto.store import Answer, Store
with Store(Path(sys.argv[2])) as store:
    for number in range(int(sys.argv[4])):
        store.put(f"{sys.argv[3]} {number}", "m", [], {}, Answer(str(number), "stop"))
        print(number, flush=True)
"""


def _writer(path: Path, name: str, number: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-B", "-c", WRITER, str(TEMPLATE), str(path), name, str(number)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_several_processes_write_at_the_same_time(tmp_path: Path) -> None:
    path = tmp_path / "data" / "answers.sqlite"
    writers = [_writer(path, name, 200) for name in "abcd"]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    with Store(path) as store:
        assert len(store) == 800


def test_what_was_put_is_there_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with _writer(path, "a", 1_000_000) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(100)]
        writer.kill()
    assert len(said) == 100
    with Store(path) as store:
        assert store.missing([f"a {number}" for number in range(100)]) == []


def test_what_people_need_to_read_it_without_us(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    messages = [{"role": "user", "content": "Hallo 👍"}]
    with Store(path) as store:
        store.put("k", "a/b", messages, {"max_tokens": 9}, Answer("Ja.", "stop"))
    [row] = sqlite3.connect(path).execute("SELECT model, messages, arguments, answer, finish_reason FROM answers")
    assert row[0] == "a/b" and json.loads(row[1]) == messages and json.loads(row[2]) == {"max_tokens": 9}
    assert row[3:] == ("Ja.", "stop")


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 200])
def test_a_file_that_is_no_store(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"answers\.sqlite cannot be used"):
        Store(path)
    assert path.read_bytes() == content


def test_a_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE answers (id INTEGER)")
    database.close()
    with pytest.raises(UserError, match="cannot be used"):
        Store(path)
