"""Files of prompts: JSONL, CSV or TSV, or text with one prompt per line. The template reads its answer with this, too.

So it imports nothing that is not there when a project is made, and what is wrong is no sentence yet but the key of one.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from kto.tables import long_cells

_BOM = b"\xef\xbb\xbf"
_TABLES = (".csv", ".tsv")
FILES = (".jsonl", ".json", ".ndjson", ".txt", *_TABLES)
"""Ends of names that are always paths; what is neither text nor a table is read as JSONL."""
OTHER_FILES = (".parquet", ".xlsx", ".xls", ".ods", ".docx", ".odt", ".pdf")
"""Ends of names that are paths, too, but of files that nothing here reads."""
_PATH = re.compile(r"[.~/\\]|[A-Za-z]:[\\/]|.*\\", re.DOTALL)
_DELIMITERS = (",", ";", "\t")
_NO_DELIMITER = "\x1f"  # a character that nobody types, for tables with one column
_USERS = ("user", "human")
_SEEN = 10  # values of other rows that a message lists


class Unusable(ValueError):
    """Why a line or row holds no prompt: a text under `generate`, and what its placeholders stand for."""

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text)
        self.text, self.values = text, values


class NoColumn(Exception):
    """A table lacks a column that is wanted; it has `columns`."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(columns)
        self.columns = columns


class Problem(NamedTuple):
    """A line without a prompt."""

    line: int
    why: Unusable


class Filter:
    """`prompt_filter`: only rows in which each of these columns has this value, or one of these.

    Attributes
    ----------
    wanted
        Value, or list of values, by column.
    others
        Some of the values in rows that were passed over.
    """

    def __init__(self, wanted: Mapping[str, object] | None = None) -> None:
        self.wanted = wanted or {}
        self.others: dict[str, None] = {}

    def takes(self, row: object) -> bool:
        """Tell whether a row is wanted; raise `Unusable` if it lacks a column."""
        if not isinstance(row, Mapping):
            return True  # it is no prompt either, and whoever reads it will say so
        for column, value in self.wanted.items():
            if column not in row:
                raise Unusable("line_no_column", column=column)
            there = row[column] if isinstance(row[column], list) else [row[column]]
            # A CSV file knows no numbers.
            values = {*map(str, value if isinstance(value, list) else [value])}
            if not any(str(each) in values for each in there):
                if len(self.others) < _SEEN:
                    self.others |= dict.fromkeys(map(str, there))
                return False
        return True


def is_path(name: str) -> bool:
    """Tell whether a name can only be meant as a path, also where there is no such file."""
    return name.lower().endswith((*FILES, *OTHER_FILES)) or _PATH.match(name) is not None


def text_of(row: object, column: str) -> str:
    """Return the prompt in a row; raise `Unusable` with the reason if there is none.

    Of a conversation, a list of messages, it is the first thing that the user says: what comes later means nothing
    without the answers in between.
    """
    if not isinstance(row, Mapping):
        raise Unusable("line_no_object")
    if column not in row:
        raise Unusable("line_no_column", column=column)
    text = row[column]
    if not isinstance(text, str):
        text = _first_question(text)
    if not isinstance(text, str):
        raise Unusable("line_no_text", column=column)
    if not text.strip():
        raise Unusable("line_empty", column=column)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise Unusable("line_no_unicode", column=column) from None
    return text


def _first_question(conversation: object) -> object:
    """Return what the user says first in messages such as {"role": "user", "content": "…"}, None if there is none."""
    if isinstance(conversation, Mapping):  # a dict of columns, as `datasets` makes it of some lists
        columns = [each for each in conversation.values() if isinstance(each, list)]
        conversation = [dict(zip(conversation, message, strict=True)) for message in zip(*columns, strict=False)]
    for message in conversation if isinstance(conversation, list) else ():
        if isinstance(message, Mapping) and message.get("role", message.get("from")) in _USERS:
            said = message.get("content", message.get("value"))
            if not isinstance(said, list):
                return said
            parts = [part.get("text") if isinstance(part, Mapping) else part for part in said]
            texts = [part for part in parts if isinstance(part, str)]
            return "".join(texts) if len(texts) == len(parts) else None  # a picture is no text
    return None


def columns(content: bytes, suffix: str, column: str) -> list[str]:
    """Return the names of a file's columns, as the head of a table or the first object says; text has none.

    Of several ways to read the head of a table, that counts in which it has `column`.
    """
    content = content.removeprefix(_BOM)
    if suffix.lower() in _TABLES:
        with long_cells():
            return _header(content.decode("utf-8", "replace"), column)[0]
    for _, line in _lines(content, []) if suffix.lower() != ".txt" else ():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict):
            return [*row]
    return []


def read(content: bytes, suffix: str, column: str, chosen: Filter) -> tuple[list[str], list[Problem]]:
    """Return the prompts in a file whose name has this suffix, and the lines that have none but should.

    Raises
    ------
    NoColumn
        It is a table without the column, or without one that the filter names.
    """
    content = content.removeprefix(_BOM)
    problems: list[Problem] = []
    if suffix.lower() in _TABLES:
        with long_cells():
            texts = _read_table(content, column, chosen, problems)
    elif suffix.lower() == ".txt":
        texts = _read_text(content, chosen, problems)
    else:
        texts = _read_jsonl(content, column, chosen, problems)
    return texts, problems


def _lines(content: bytes, problems: list[Problem]) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers.

    They end with \\n only: other characters that Python takes for line ends may stand inside a text.
    """
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, line.decode("utf-8")
            except UnicodeDecodeError:
                problems.append(Problem(number, Unusable("line_no_utf8")))


def _read_text(content: bytes, chosen: Filter, problems: list[Problem]) -> list[str]:
    """Return the prompts in a file with one per line; empty lines are passed over, space around a prompt is cut."""
    texts = []
    for number, line in _lines(content, problems):
        try:
            if line.strip() and chosen.takes({}):
                texts.append(line.strip())
        except Unusable as why:  # it has no columns
            problems.append(Problem(number, why))
    return texts


def _read_jsonl(content: bytes, column: str, chosen: Filter, problems: list[Problem]) -> list[str]:
    """Return the prompts in a file with one JSON object per line; empty lines are passed over."""
    texts: list[str] = []
    for number, line in _lines(content, problems):
        try:
            row = json.loads(line)
            if chosen.takes(row):
                texts.append(text_of(row, column))
        except Unusable as why:
            problems.append(Problem(number, why))
        except (ValueError, RecursionError) as error:
            problems.append(Problem(number, Unusable("line_no_json", reason=getattr(error, "msg", error))))
    return texts


def _read_table(content: bytes, column: str, chosen: Filter, problems: list[Problem]) -> list[str]:
    """Return the prompts in a CSV file, whatever stands between its cells; rows without any text are passed over."""
    try:
        whole = content.decode("utf-8")
    except UnicodeDecodeError:
        list(_lines(content, problems))  # names the lines
        return []
    header, delimiter = _header(whole, column)
    if header and not {column, *chosen.wanted} <= {*header}:
        raise NoColumn(header)
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
            try:
                if any(map(str.strip, row[len(header) :])):  # without quotation marks, or they would be in one cell
                    raise Unusable("line_more_cells")
                cells = [*row, *[""] * len(header)]  # a row may be shorter
                named = {name: cells[header.index(name)].replace("\r\n", "\n") for name in (column, *chosen.wanted)}
                if chosen.takes(named):
                    texts.append(text_of(named, column))
            except Unusable as why:
                problems.append(Problem(number, why))
    except csv.Error as error:  # from here on nobody knows where a row begins
        problems.append(Problem(end + 1, Unusable("line_no_csv", reason=error)))
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
