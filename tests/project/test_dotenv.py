"""`.env`: read it, change a line, keep the rest."""

import os
import stat
import sys
from pathlib import Path

import pytest
from argilla_server import TEMPLATE
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(TEMPLATE))

from kto import dotenv

KEYS = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("  export A = 1  ", {"A": "1"}),
        ("A=", {"A": ""}),
        ("A= # nothing", {"A": ""}),
        ("A=x#y # note", {"A": "x#y"}),
        ("A='x # y' # note", {"A": "x # y"}),
        (r'A="say \"hi\"\n\\"', {"A": 'say "hi"\n\\'}),
        ("# A=1", {}),
        ("nonsense", {}),
        ("1A=2", {"1A": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A=1\nA=2", {"A": "2"}),
        ("\ufeffA=1", {"A": "1"}),
        ("ক=1\nA=ক", {"ক": "1", "A": "ক"}),
    ],
)
def test_read(tmp_path: Path, line: str, expected: dict[str, str]) -> None:
    path = tmp_path / ".env"
    path.write_bytes(line.encode())
    assert dotenv.read(path) == expected


def test_update_changes_its_lines_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"# my keys\nB=old # note\n\nnonsense\xff\r\nexport C='3'\nB=older")
    dotenv.update(path, {"B": "new", "D": "x y"})
    assert path.read_bytes() == b"# my keys\nB=new\n\nnonsense\xff\r\nexport C='3'\nD=\"x y\"\n"
    assert dotenv.read(path) == {"B": "new", "C": "3", "D": "x y"}
    assert [each.name for each in tmp_path.iterdir()] == [".env"]
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@given(st.dictionaries(KEYS, VALUES), st.dictionaries(KEYS, VALUES))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, first: dict, second: dict) -> None:
    path = tmp_path_factory.mktemp("env") / ".env"
    dotenv.update(path, first)
    dotenv.update(path, second)
    assert dotenv.read(path) == first | second


def test_a_file_that_is_not_there_sets_nothing(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path / ".env") == {}


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".env"
    dotenv.update(path, {"A": "1"})

    def no_room(_: int) -> None:
        raise OSError("no room")

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="no room"):
        dotenv.update(path, {"A": "2"})
    assert dotenv.read(path) == {"A": "1"}
    assert [each.name for each in tmp_path.iterdir()] == [".env"]
