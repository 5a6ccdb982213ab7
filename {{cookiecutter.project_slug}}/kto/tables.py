"""Tables: Parquet, CSV and lines of JSON."""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kto.errors import UserError
from kto.files import replacing

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

_BATCH = 2000  # rows
_LONGEST_CELL = 2**31 - 1  # what a C long holds, on Windows, too


def messages_type() -> "pa.DataType":
    """Return the type of a conversation, as chat models and TRL take it."""
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Replace `path` by a Parquet file with these rows and return their number; `UserError` if it cannot be written.

    No more than some thousand rows are in memory at the same time. If `rows` raises something, `path` stays as it was.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = iter(rows)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
            batch = list(itertools.islice(rows, _BATCH))
            number = len(batch)
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            while batch := list(itertools.islice(rows, _BATCH)):
                number += len(batch)
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            return number
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8; raise `UserError` if it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def read_rows(path: Path, columns: Iterable[str]) -> list[Row]:
    """Return the rows of a Parquet file, [] if there is none.

    Raises
    ------
    UserError
        The file cannot be read, or lacks one of `columns`.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        return []
    try:
        return pq.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError("cannot_read_table", path=path, reason=" ".join(str(error).split())) from None


def read_batches(path: Path, columns: Iterable[str], optional: Collection[str] = ()) -> Iterator[list[Row]]:
    """Yield the rows of a Parquet file, some thousand at a time; see `read_rows`.

    Columns in `optional` may be missing, because an earlier version wrote the file; then their values are None.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in columns if name in optional and name not in file.schema_arrow.names]
            there = [name for name in columns if name not in missing]
            for batch in file.iter_batches(_BATCH, columns=there):
                yield [row | dict.fromkeys(missing) for row in batch.select(there).to_pylist()]
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError("cannot_read_table", path=path, reason=" ".join(str(error).split())) from None


def split_models(names: str | list[str]) -> list[str]:
    """Return the models in `generation_model` of a vote; earlier versions wrote one text with ", " between them."""
    return names.split(", ") if isinstance(names, str) else names


@contextlib.contextmanager
def long_cells() -> Iterator[None]:
    """Let `csv` read cells of any length: by itself it takes 131,072 characters, and models write longer answers."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return these columns of a CSV file, [] if there is none; what a row lacks is "".

    Spreadsheets may have saved the file since: with a byte order mark, or with `;` between the cells.

    Raises
    ------
    UserError
        The file cannot be read, or lacks one of `columns`.
    """
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        rows = csv.DictReader(
            io.StringIO(text, newline=""), delimiter=";" if header.count(";") > header.count(",") else ","
        )
        with long_cells():
            if set(columns) <= set(rows.fieldnames or ()):
                return [{name: row[name] or "" for name in columns} for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error):
        pass
    raise UserError("bad_csv", path=path, columns=", ".join(columns))


def read_lines(path: Path) -> list[Row]:
    """Return the objects of a file with one JSON object per line, [] if there is none.

    Raises
    ------
    UserError
        The file cannot be read.
    """
    if not path.exists():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None


def write_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Replace `path` by one line of JSON per object; raise `UserError` if it cannot be written."""
    write_text(path, "".join(json.dumps(each, ensure_ascii=False, default=str) + "\n" for each in objects))
