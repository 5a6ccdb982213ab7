"""Where prompts come from, and what bad input gets."""

import csv
import io
import json
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from generating import TEMPLATE
from hypothesis import example, given
from hypothesis import strategies as st
from kto.ask import prompt_sources
from kto.errors import UserError

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")
assert TEMPLATE  # kto is found there

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def settings(root: Path, source: str, column: str = "prompt", split: str = "train"):
    generation = SimpleNamespace(
        prompts=(source,), prompt_column=column, prompt_config="", prompt_split=split, prompt_filter=None
    )
    return SimpleNamespace(root=root, generation=generation)


def load(
    folder: Path, content: bytes | str, limit: int | None = None, column: str = "prompt", name: str = "x.jsonl"
) -> prompt_sources.Prompts:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return prompt_sources.load(settings(folder, name, column), limit)


def texts_in(folder: Path, content: bytes | str, column: str = "prompt", name: str = "x.csv") -> list[str]:
    return [prompt.text for prompt in load(folder, content, column=column, name=name).prompts]


@given(
    st.lists(TEXT, min_size=1, max_size=8),
    st.sampled_from(["\n", "\r\n", "\n\n", " \t\n"]),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 9),
)
@example(["a\u2028b", "c\x85d", "e\x1cf", "e\u0301", "\u00e9"], "\n", True, False, None)
def test_texts_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], end: str, bom: bool, escaped: bool, limit: int | None
) -> None:
    lines = [json.dumps({"id": number, "prompt": text}, ensure_ascii=escaped) for number, text in enumerate(texts)]
    content = ("\ufeff" if bom else "") + end.join(lines)
    found = load(tmp_path_factory.mktemp("p"), content, limit)
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(unicodedata.normalize("NFC", text), text)
    assert [prompt.text for prompt in found.prompts] == list(first.values())[:limit]
    assert len({prompt.id for prompt in found.prompts}) == len(found.prompts)
    assert limit is not None or found.duplicates == len(texts) - len(first)


@given(TEXT)
def test_the_id_follows_from_the_text_alone(text: str) -> None:
    assert prompt_sources.prompt_id(text) == prompt_sources.prompt_id(unicodedata.normalize("NFD", text))
    assert len(prompt_sources.prompt_id(text)) == 16 and int(prompt_sources.prompt_id(text), 16) >= 0


def test_the_id_never_changes() -> None:
    assert prompt_sources.prompt_id("Hoe houd ik brood vers?") == "6dd6822e2d793bcb"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": "x"', "line 2: it is not JSON"),
        (b"not json", "line 2: it is not JSON"),
        (b"[" * 100_000, "line 2: it is not JSON"),
        (b"1" * 10_000, "line 2: it is not JSON"),
        (b'{"prompt": "caf\xe9"}', "line 2: it is not written in UTF-8"),
        (b'["x"]', "line 2: this is not an object"),
        (b'"x"', "line 2: this is not an object"),
        (b'{"text": "x"}', "line 2: there is no “prompt”"),
        (b'{"prompt": 7}', "line 2: “prompt” is not a text"),
        (b'{"prompt": null}', "line 2: “prompt” is not a text"),
        (b'{"prompt": [{"role": "assistant", "content": "x"}]}', "line 2: “prompt” is not a text"),
        (b'{"prompt": [{"role": "user", "content": [{"type": "image"}]}]}', "line 2: “prompt” is not a text"),
        (b'{"prompt": " \\n "}', "line 2: “prompt” is empty"),
        (b'{"prompt": "\\ud83d"}', "line 2: “prompt” has an incomplete character (half of a surrogate pair)"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, reason: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, b'{"prompt": "good"}\n' + line + b'\n{"prompt": "good"}\n')
    assert reason in str(error.value) and str(tmp_path / "x.jsonl") in str(error.value)


def test_all_bad_lines_are_counted_and_five_are_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, "\n" + "bad\n" * 8)
    assert [f"line {number}:" in str(error.value) for number in (1, 2, 6, 7)] == [False, True, True, False]
    assert "and 3 more lines" in str(error.value)


@given(
    st.lists(st.tuples(TEXT, st.text(st.characters(exclude_categories=["Cs"]))), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["prompt", "vraag, of opdracht", "a;b"]),
)
@example([("two\nlines", 'a "b", c'), ("a;b,c\td", "\u2028")], ";", "\r\n", True, False, "prompt")
def test_a_table_of_any_kind(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    delimiter: str,
    end: str,
    bom: bool,
    quoted: bool,
    column: str,
) -> None:
    file = io.StringIO(newline="")
    lone = any("\r" in cell for row in rows for cell in row)  # Python's writer does not quote these by itself
    quoting = csv.QUOTE_ALL if quoted or lone else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerow(["id", column, "note"])
    writer.writerows((number, text, note) for number, (text, note) in enumerate(rows))
    found = texts_in(tmp_path_factory.mktemp("p"), ("\ufeff" if bom else "") + file.getvalue(), column)
    expected: dict[str, str] = {}
    for text, _ in rows:
        expected.setdefault(unicodedata.normalize("NFC", text.replace("\r\n", "\n")), text.replace("\r\n", "\n"))
    assert found == list(expected.values())


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("prompt\nHello, world; yes\n\nWhy?\n", ["Hello, world; yes", "Why?"]),  # one column: nobody quotes there
        ('prompt\n"Hello, ""you"""\n', ['Hello, "you"']),
        (" prompt ;id\nWhy?;1\n;;\nHow?\n", ["Why?", "How?"]),
        ("id\tprompt\n1\tOne, two; three\n", ["One, two; three"]),
        ("\n\nid,prompt,\n1,Why?,\n,,\n2,How?,,,\n", ["Why?", "How?"]),  # as spreadsheets leave it
        ('\ufeff"prompt"\r\n"Why?\r\nHow?"\r\n', ["Why?\nHow?"]),
    ],
)
def test_a_table(tmp_path: Path, content: str, expected: list[str]) -> None:
    assert texts_in(tmp_path, content) == expected
    assert texts_in(tmp_path, content, name="X.CSV") == expected


def test_a_table_without_the_column(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"x\.csv has no column “prompt”.*: nummer, vraag"):
        load(tmp_path, "nummer;vraag\n1;Waarom?\n", name="x.csv")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"id,prompt\n1,good\n2,\n", "line 3: “prompt” is empty"),
        (b"id,prompt\n1,good\n2\n", "line 3: “prompt” is empty"),
        (b"id,prompt\n1,Yes, and no\n", "line 2: it has more cells"),
        (b'id,prompt\n1,"two\nlines"\n2,"caf\xe9"\n', "line 4: it is not written in UTF-8"),
        (b'id,prompt\n1,"two\nlines"\n2,"open\nto the end\n', "line 4: it is not CSV"),
        (b'id,prompt\n1,"a" b\n', "line 2: it is not CSV"),
        (b'prompt\n"' + b"x" * 200_000 + b"\n", "line 2: it is not CSV"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, content, name="x.csv")
    assert reason in str(error.value) and str(tmp_path / "x.csv") in str(error.value)


def test_all_bad_rows_are_counted_and_five_are_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        load(tmp_path, "id,prompt\n" + "1,\n" * 8, name="x.csv")
    assert [f"line {number}:" in str(error.value) for number in (2, 6, 7)] == [True, True, False]
    assert "and 3 more lines" in str(error.value)


@given(st.lists(TEXT.filter(lambda text: "\n" not in text), min_size=1), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_a_text_with_one_prompt_per_line(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], end: str, bom: bool
) -> None:
    content = ("\ufeff" if bom else "") + f"{end} {end}".join(texts)
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(unicodedata.normalize("NFC", text.strip()), text.strip())
    assert texts_in(tmp_path_factory.mktemp("p"), content, name="x.txt") == list(first.values())


def test_a_bad_line_of_a_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="line 3: it is not written in UTF-8"):
        load(tmp_path, b"Why?\n\ncaf\xe9\n", name="x.txt")


@given(st.binary(max_size=200), st.sampled_from(["x.jsonl", "x.csv", "x.tsv"]))
@example(b"\xef\xbb\xbf", "x.jsonl")
@example(b"\xff\xfe{\x00}\x00", "x.jsonl")
@example(b'"a"\x1f"b"\nc', "x.csv")
@example(b'"', "x.csv")
@example(b"\x00,\r\r\n", "x.csv")
def test_whatever_the_file_holds_the_error_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, name: str
) -> None:
    with pytest.raises(UserError):
        load(tmp_path_factory.mktemp("p"), junk, name=name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("starter", Path),
        ("owner/data.jsonl", Path),
        ("owner/data.CSV", Path),
        ("absent.txt", Path),
        ("mine", Path),
        ("owner/data", str),
        ("squad", str),
    ],
)
def test_a_path_or_a_dataset(tmp_path: Path, name: str, kind: type) -> None:
    (tmp_path / "mine").write_text("", encoding="utf-8")
    [origin] = prompt_sources.sources(settings(tmp_path, name))
    assert isinstance(origin, kind)


@pytest.mark.parametrize("name", ["what is this?", "a/b/c", "https://example.org/x"])
def test_neither_a_path_nor_a_dataset(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not a source of prompts"):
        prompt_sources.sources(settings(tmp_path, name))


def test_a_path_outside_the_project(tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.jsonl"
    outside.write_text('{"frage": "Wie geht es?"}\n', encoding="utf-8")
    found = prompt_sources.load(settings(tmp_path / "project", str(outside), "frage"))
    assert [prompt.text for prompt in found.prompts] == ["Wie geht es?"]


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_no_prompt_at_all(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError, match="no prompt in"):
        load(tmp_path, content)


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A dataset in a folder, which the real `datasets` reads as it reads one of the Hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    rows = [{"text": "Eén"}, {"text": " "}, {"text": None}, {"text": "Twee"}, {"text": "Eén"}]
    (tmp_path / "owner" / "data").mkdir(parents=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "owner" / "data" / "train.json").write_text(lines, encoding="utf-8")
    return "owner/data"


@pytest.mark.parametrize(("limit", "expected"), [(None, ["Eén", "Twee"]), (1, ["Eén"]), (2, ["Eén", "Twee"])])
def test_a_dataset(dataset: str, tmp_path: Path, limit: int | None, expected: list[str]) -> None:
    found = prompt_sources.load(settings(tmp_path / "project", dataset, "text"), limit)
    assert [prompt.text for prompt in found.prompts] == expected
    assert limit is not None or (found.duplicates, found.empty) == (1, 2)


def test_a_dataset_without_the_column(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no column “prompt”.*: text"):
        prompt_sources.load(settings(tmp_path / "project", dataset))


@pytest.mark.parametrize(
    ("name", "split", "sentence"),
    [
        ("owner/data", "nowhere", "The dataset owner/data has no split “nowhere”.*: train"),
        ("owner/absent", "train", "The dataset owner/absent cannot be read"),
    ],
)
def test_a_dataset_that_cannot_be_read(dataset: str, tmp_path: Path, name: str, split: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        prompt_sources.load(settings(tmp_path / "project", name, "text", split))
