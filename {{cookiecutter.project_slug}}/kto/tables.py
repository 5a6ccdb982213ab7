"""Tables and texts on the disk: Parquet, CSV, lines of JSON. What goes wrong is a `UserError` that names the file."""

import contextlib
import csv
import io
import itertools
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kto.errors import UserError
from kto.files import long_cells, replacing

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

_BATCH = 2000  # rows in memory


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise `UserError` for a file that cannot be read, or whose content is not what it should be."""
    try:
        yield
    except (OSError, ValueError, KeyError, NotImplementedError) as error:  # pyarrow's errors are among these
        raise UserError("cannot_read_table", path=path, reason=" ".join(str(error).split())) from None


@contextlib.contextmanager
def writing(path: Path, mode: int = 0o777) -> Iterator[None]:
    """Make the folder of a file, with this mode, and raise `UserError` if it or the file cannot be written."""
    try:
        path.parent.mkdir(mode=mode, parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def messages_type() -> "pa.DataType":
    """Return the type of a conversation, as chat models and TRL take it."""
    import pyarrow as pa

    return pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: "pa.Schema") -> int:
    """Replace `path` by a Parquet file with these rows, some thousand of them in memory at a time; return their number.

    If `rows` raises something, `path` stays as it was.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows, count = iter(rows), 0
    with writing(path), replacing(path) as file, pq.ParquetWriter(file, schema) as writer:
        while batch := list(itertools.islice(rows, _BATCH)):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


def read_rows(path: Path, columns: Collection[str], optional: Collection[str] = ()) -> list[Row]:
    """Return these columns of a Parquet file, [] if there is no file; `optional` is as in `read_batches`."""
    return [row for batch in read_batches(path, columns, optional) for row in batch] if path.exists() else []


def read_batches(path: Path, columns: Iterable[str], optional: Collection[str] = ()) -> Iterator[list[Row]]:
    """Yield these columns of a Parquet file, some thousand rows at a time.

    Columns in `optional` may be missing, because an earlier version wrote the file; then their values are None.
    """
    import pyarrow.parquet as pq

    with reading(path), pq.ParquetFile(path) as file:
        missing = [name for name in columns if name in optional and name not in file.schema_arrow.names]
        present = [name for name in columns if name not in missing]
        for batch in file.iter_batches(_BATCH, columns=present):
            yield [row | dict.fromkeys(missing) for row in batch.select(present).to_pylist()]


def split_models(names: str | list[str]) -> list[str]:
    """Return the models in `generation_model` of a vote; earlier versions wrote one text with ", " between them."""
    return names.split(", ") if isinstance(names, str) else names


def read_csv(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Return these columns of a CSV file, [] if there is no file; empty cells are "".

    A spreadsheet may have saved the file since: with a byte order mark, or with `;` between the cells.
    """
    if not path.exists():
        return []
    with contextlib.suppress(OSError, UnicodeDecodeError, csv.Error), long_cells():
        text = path.read_text(encoding="utf-8-sig")
        header = text.partition("\n")[0]
        delimiter = ";" if header.count(";") > header.count(",") else ","
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if set(columns) <= set(rows.fieldnames or ()):
            return [{name: row[name] or "" for name in columns} for row in rows]
    raise UserError("bad_csv", path=path, columns=", ".join(columns))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[str]]) -> None:
    """Replace `path` by a CSV file that only its owner can read."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    write_text(path, text.getvalue(), private=True)


def read_lines(path: Path) -> list[Row]:
    """Return the objects of a file with one JSON object per line, [] if there is no file."""
    if not path.exists():
        return []
    with reading(path):
        return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def write_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Replace `path` by one line of JSON per object."""
    write_text(path, "".join(json.dumps(item, ensure_ascii=False, default=str) + "\n" for item in objects))


def write_text(path: Path, text: str, *, private: bool = False) -> None:
    """Replace `path` by `text` in UTF-8; where the system knows such a thing, only the owner can read a private one."""
    with writing(path, 0o700 if private else 0o777), replacing(path, 0o600 if private else 0o666) as file:
        file.write(text.encode("utf-8", "surrogateescape" if private else "strict"))
