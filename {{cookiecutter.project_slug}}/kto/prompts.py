"""The prompts: from the starter file, a file (JSONL, CSV, or text with one per line) or a dataset on the Hub."""

import csv
import dataclasses
import hashlib
import io
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kto.config import Config, as_path
from kto.errors import UserError
from kto.store import Message
from kto.texts import t

STARTER = Path("prompts") / "starter.jsonl"
_SHOWN = 5  # bad lines that a message lists
_TABLES = (".csv", ".tsv")
_FILES = (".jsonl", ".txt", *_TABLES)
_DELIMITERS = (",", ";", "\t")
_NO_DELIMITER = "\x1f"  # a character that nobody types, for tables with one column
_DATASET_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt: the text as it was written, and the id that follows from it."""

    id: str
    text: str


@dataclasses.dataclass(frozen=True)
class Prompts:
    """All prompts, each once and in the order of the source, and how many were passed over."""

    prompts: list[Prompt]
    duplicates: int
    empty: int


class _Unusable(ValueError):
    """Why a line or row holds no prompt."""


def prompt_id(text: str) -> str:
    """Return the id of a prompt: the first 16 hex digits of the SHA-256 of its text in UTF-8, NFC.

    NFC because the same letters can be written with different code points, and editors change them silently.
    """
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8")).hexdigest()[:16]


def messages(system_prompt: str, text: str) -> list[Message]:
    """Return the conversation that a model gets; without a system prompt it has one message."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": text}]


def source(config: Config) -> Path | str:
    """Return where the prompts come from: a path, or the id of a dataset on the Hub.

    It is a path if there is such a file or the name ends in `.jsonl`, `.csv`, `.tsv` or `.txt`. Relative paths start at
    the project folder.

    Raises
    ------
    UserError
        It is neither.
    """
    name = config.generation.prompts
    path = config.root / STARTER if name == "starter" else as_path(config.root, name)
    if path is None:
        raise UserError("no_such_prompts", name=name)
    if name == "starter" or path.suffix.lower() in _FILES or path.is_file():
        return path
    if not _DATASET_ID.fullmatch(name):
        raise UserError("no_such_prompts", name=name)
    return name


def load(config: Config, limit: int | None = None, token: str | None = None) -> Prompts:
    """Return the prompts of the project, the first `limit` of them if it is given.

    Raises
    ------
    UserError
        The source cannot be read, a line of the file is wrong (the message says which), or there is no prompt.
    """
    origin = source(config)
    column = config.generation.prompt_column
    texts: Iterable[str | None]
    if isinstance(origin, Path):
        texts = read(origin, column)
    else:
        texts = _read_dataset(origin, config.generation.prompt_split, column, limit is not None, token)
    found = _distinct(texts, limit)
    if not found.prompts:
        raise UserError("no_prompts", source=origin)
    return found


def _distinct(texts: Iterable[str | None], limit: int | None) -> Prompts:
    found: dict[str, Prompt] = {}
    duplicates = empty = 0
    for text in texts:
        if text is None:
            empty += 1
            continue
        prompt = Prompt(prompt_id(text), text)
        if prompt.id in found:
            duplicates += 1
            continue
        found[prompt.id] = prompt
        if limit is not None and len(found) == limit:
            break
    return Prompts(list(found.values()), duplicates, empty)


def _text(row: object, column: str) -> str:
    """Return the prompt in a row; raise `_Unusable` with the reason if there is none."""
    if not isinstance(row, Mapping):
        raise _Unusable(t("generate.line_no_object"))
    if column not in row:
        raise _Unusable(t("generate.line_no_column", column=column))
    text = row[column]
    if not isinstance(text, str):
        raise _Unusable(t("generate.line_no_text", column=column))
    if not text.strip():
        raise _Unusable(t("generate.line_empty", column=column))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise _Unusable(t("generate.line_no_unicode", column=column)) from None
    return text


def read(path: Path, column: str) -> list[str]:
    """Return the prompts in a file, in the format that its name says; JSONL if it says none.

    Raises
    ------
    UserError
        The file cannot be read, or lines are wrong (the message says which).
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise UserError("no_prompts_file", path=path, reason=error.strerror or error) from None
    problems: list[str] = []
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        texts = _read_table(path, content, column, problems)
    else:
        texts = _read_text(content, problems) if suffix == ".txt" else _read_jsonl(content, column, problems)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems[:_SHOWN])
        if len(problems) > _SHOWN:
            listed += "\n" + t("generate.more_lines", number=len(problems) - _SHOWN)
        raise UserError("bad_prompts", path=path, problems=listed)
    return texts


def _bad_line(number: int, reason: object) -> str:
    return t("generate.bad_line", number=str(number), reason=reason)


def _lines(content: bytes, problems: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers.

    They end with \\n only: other characters that Python takes for line ends may stand inside a text.
    """
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError:
                problems.append(_bad_line(number, t("generate.line_no_utf8")))


def _read_text(content: bytes, problems: list[str]) -> list[str]:
    """Return the prompts in a file with one per line; empty lines are passed over, space around a prompt is cut."""
    return [stripped for _, line in _lines(content, problems) if (stripped := line.strip())]


def _read_jsonl(content: bytes, column: str, problems: list[str]) -> list[str]:
    """Return the prompts in a file with one JSON object per line; empty lines are passed over."""
    texts: list[str] = []
    for number, line in _lines(content, problems):
        try:
            texts.append(_text(json.loads(line), column))
        except _Unusable as error:
            problems.append(_bad_line(number, error))
        except (ValueError, RecursionError) as error:
            problems.append(_bad_line(number, t("generate.line_no_json", reason=getattr(error, "msg", error))))
    return texts


def _read_table(path: Path, content: bytes, column: str, problems: list[str]) -> list[str]:
    """Return the prompts in a CSV file, whatever stands between its cells; rows without any text are passed over."""
    try:
        whole = content.decode("utf-8")
    except UnicodeDecodeError:
        list(_lines(content, problems))  # names the lines
        return []
    header, delimiter = _header(whole, column)
    if header and column not in header:
        raise UserError("no_csv_column", path=path, column=column, columns=", ".join(header))
    rows = csv.reader(io.StringIO(whole, newline=""), delimiter=delimiter, strict=True)
    texts: list[str] = []
    begun = False
    end = 0
    number = 1
    try:
        for row in rows:
            number, end = end + 1, rows.line_num
            if not any(map(str.strip, row)):
                continue
            if not begun:
                begun = True
                continue
            if any(map(str.strip, row[len(header) :])):  # without quotation marks, or they would be in one cell
                problems.append(_bad_line(number, t("generate.line_more_cells")))
                continue
            cell = "".join(row[header.index(column) :][:1])  # a row may be shorter
            try:
                texts.append(_text({column: cell.replace("\r\n", "\n")}, column))
            except _Unusable as error:
                problems.append(_bad_line(number, error))
    except csv.Error as error:  # from here on nobody knows where a row begins
        problems.append(_bad_line(end + 1, t("generate.line_no_csv", reason=error)))
    return texts


def _header(table: str, column: str) -> tuple[list[str], str]:
    """Return the names of a table's columns, and the delimiter with which they hold `column`, or else are the most."""
    found: list[tuple[list[str], str]] = []
    for delimiter in (*_DELIMITERS, _NO_DELIMITER):
        try:
            rows = csv.reader(io.StringIO(table, newline=""), delimiter=delimiter, strict=True)
            first = next((row for row in rows if any(map(str.strip, row))), [])
        except csv.Error:
            first = []
        found.append(([cell.strip() for cell in first], delimiter))
    header, delimiter = max(found, key=lambda each: (column in each[0], len(each[0])))
    return header, delimiter if len(header) > 1 else _NO_DELIMITER


def _read_dataset(name: str, split: str, column: str, streaming: bool, token: str | None) -> Iterator[str | None]:
    """Yield the prompts of a dataset on the Hub, None for a row without text: nobody here can correct that row."""
    import datasets  # takes a second, and only this source needs it

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        rows = datasets.load_dataset(name, split=split, streaming=streaming, token=token or None)
        head = list(itertools.islice(rows, 1))
        if head and column not in head[0]:
            raise UserError("no_prompt_column", source=name, column=column, columns=", ".join(head[0]))
        for row in rows:
            try:
                yield _text(row, column)
            except _Unusable:
                yield None
    except UserError:
        raise
    except Exception as error:  # the library raises whatever the format's reader raises
        raise UserError("bad_dataset", source=name, reason=" ".join(str(error).split())[:300]) from None
