"""Files of prompts: JSONL, CSV or TSV, or text with one prompt per line.

The template checks an answer with this, too: it imports what a bare Python has, and errors hold the key of a text.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from kto.files import long_cells

_BOM = b"\xef\xbb\xbf"
# Suffixes of files that can be read (a file with another name is read as JSONL), and of files that cannot.
FILES = (".jsonl", ".json", ".ndjson", ".txt", ".csv", ".tsv")
OTHER_FILES = (".parquet", ".xlsx", ".xls", ".ods", ".docx", ".odt", ".pdf")
_PATH = re.compile(r"[.~/\\]|[A-Za-z]:[\\/]|.*\\", re.DOTALL)
_DELIMITERS = ("\x1f", ",", ";", "\t")  # the first one, which nobody types, for tables with one column
_USERS = ("user", "human")
_MAX_OTHERS = 10


class Unusable(ValueError):
    """Why a row holds no prompt: the key of a text under `generate`, and the values of its placeholders."""

    def __init__(self, text: str, **values: object) -> None:
        super().__init__(text)
        self.text, self.values = text, values


class NoColumn(Exception):
    """A table lacks a column; `columns` are those it has."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(columns)
        self.columns = columns


class Selection:
    """What is taken of a source: the texts in `column`, of rows with the wanted values in other columns.

    `wanted` has a value, or a list of values, by column (`prompt_filter` in the settings). With `several` sources their
    columns may differ: one without `column` is read by `prompt`, one without a column of `wanted` is taken whole.
    """

    def __init__(self, column: str, wanted: Mapping[str, object] | None = None, several: bool = False) -> None:
        self.column, self._several = column, several
        self.wanted = {name: _texts(value) for name, value in (wanted or {}).items()}
        self.columns: Sequence[str] = ()  # of the source, by the head of a table or the first row
        self.others: dict[str, None] = {}  # some of the values in rows that were passed over

    def fit(self, columns: Iterable[str]) -> None:
        """Note the columns of the source."""
        self.columns = [*columns]
        if self._several:
            if self.column not in self.columns and "prompt" in self.columns:
                self.column = "prompt"
            if self.wanted.keys().isdisjoint(self.columns):
                self.wanted = {}

    def prompt_in(self, row: object) -> str | None:
        """Return the prompt in a row, None if the row is not wanted; raise `Unusable` if it should have one."""
        if not isinstance(row, Mapping):
            raise Unusable("line_no_object")
        if not self.columns:
            self.fit(row)
        for name, wanted in self.wanted.items():
            if name not in row:
                raise Unusable("line_no_column", column=name)
            values = _texts(row[name])
            if not any(value in wanted for value in values):
                if len(self.others) < _MAX_OTHERS:
                    self.others |= dict.fromkeys(values)
                return None
        if self.column not in row:
            raise Unusable("line_no_column", column=self.column)
        text = row[self.column]
        if not isinstance(text, str):
            text = _first_question(text)
        if not isinstance(text, str):
            raise Unusable("line_no_text", column=self.column)
        if not text.strip():
            raise Unusable("line_empty", column=self.column)
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
            raise Unusable("line_no_unicode", column=self.column) from None
        return text


def _texts(value: object) -> list[str]:
    """Return values as texts: a CSV file knows no numbers."""
    return [*map(str, value if isinstance(value, list) else [value])]


def is_path(name: str) -> bool:
    """Return whether a name can only be a path, also where there is no such file."""
    return name.lower().endswith((*FILES, *OTHER_FILES)) or _PATH.match(name) is not None


def _first_question(conversation: object) -> object:
    """Return the first message of the user; later ones mean nothing without the answers in between."""
    if isinstance(conversation, Mapping):  # a dict of columns, as `datasets` makes it of some lists
        columns = [values for values in conversation.values() if isinstance(values, list)]
        conversation = [dict(zip(conversation, message, strict=True)) for message in zip(*columns, strict=False)]
    for message in conversation if isinstance(conversation, list) else ():
        if isinstance(message, Mapping) and message.get("role", message.get("from")) in _USERS:
            content = message.get("content", message.get("value"))
            if not isinstance(content, list):
                return content
            parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
            texts = [part for part in parts if isinstance(part, str)]
            return "".join(texts) if len(texts) == len(parts) else None  # a picture is no text
    return None


def read(content: bytes, suffix: str, selection: Selection) -> tuple[list[str], list[tuple[int, Unusable]]]:
    """Return the prompts in a file with this suffix, and the numbers of the lines that hold none but should.

    Raises `NoColumn` if a table lacks the column, or one that the filter names.
    """
    texts: list[str] = []
    problems: list[tuple[int, Unusable]] = []
    rows_of = {".csv": _rows_of_table, ".tsv": _rows_of_table, ".txt": _rows_of_text}.get(suffix.lower(), _rows_of_json)
    with long_cells():
        for number, row in rows_of(content.removeprefix(_BOM), selection):
            try:
                if isinstance(row, Unusable):
                    raise row
                text = selection.prompt_in(row)
                if text is not None:
                    texts.append(text)
            except Unusable as why:
                problems.append((number, why))
    return texts, problems


def _lines(content: bytes) -> Iterator[tuple[int, str | Unusable]]:
    """Yield the lines that are not empty, with their numbers."""
    # Other characters that Python takes for line ends may stand inside a text.
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            yield number, Unusable("line_no_utf8")
            continue
        if text.strip():
            yield number, text


def _rows_of_text(content: bytes, selection: Selection) -> Iterator[tuple[int, object]]:
    for number, line in _lines(content):
        yield number, {selection.column: line.strip()} if isinstance(line, str) else line


def _rows_of_json(content: bytes, _selection: Selection) -> Iterator[tuple[int, object]]:
    for number, line in _lines(content):
        try:
            yield number, json.loads(line) if isinstance(line, str) else line
        except (ValueError, RecursionError) as error:
            yield number, Unusable("line_no_json", reason=getattr(error, "msg", error))


def _rows_of_table(content: bytes, selection: Selection) -> Iterator[tuple[int, object]]:
    """Yield the rows of a CSV file; its delimiter is the one by which it has the column, or else most columns."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        yield from ((number, line) for number, line in _lines(content) if isinstance(line, Unusable))
        return
    headers: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        _, first = next(_cells(text, delimiter), (1, []))
        headers[delimiter] = [] if isinstance(first, Unusable) else [cell.strip() for cell in first]
    delimiter, names = max(headers.items(), key=lambda header: (selection.column in header[1], len(header[1])))
    selection.fit(names)
    if names and not {selection.column, *selection.wanted} <= {*names}:
        raise NoColumn(names)
    for number, cells in itertools.islice(_cells(text, delimiter), 1 if names else 0, None):
        if isinstance(cells, Unusable):
            yield number, cells
        elif any(map(str.strip, cells[len(names) :])):  # without quotation marks, or they would be in one cell
            yield number, Unusable("line_more_cells")
        else:
            pairs = [*itertools.zip_longest(names, cells[: len(names)], fillvalue="")]
            yield number, {name: cell.replace("\r\n", "\n") for name, cell in reversed(pairs)}


def _cells(table: str, delimiter: str) -> Iterator[tuple[int, list[str] | Unusable]]:
    """Yield the rows that are not empty, with the numbers of their first lines."""
    reader = csv.reader(io.StringIO(table, newline=""), delimiter=delimiter, strict=True)
    end = 0
    try:
        for cells in reader:
            number, end = end + 1, reader.line_num
            if any(map(str.strip, cells)):
                yield number, cells
    except csv.Error as error:  # where a row begins is not known from here on
        yield end + 1, Unusable("line_no_csv", reason=error)
