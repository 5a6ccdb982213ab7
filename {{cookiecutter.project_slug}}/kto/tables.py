"""Parquet files, written whole or not at all."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kto.errors import UserError

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
"""A conversation, as chat models and TRL take it."""

Row = dict[str, Any]


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> None:
    """Replace `path` by a Parquet file with these rows; raise `UserError` if it cannot be written."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    try:
        _replace(path, lambda temporary: pq.write_table(table, temporary))
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8; raise `UserError` if it cannot be written."""
    try:
        _replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None


def read_rows(path: Path, columns: Iterable[str]) -> list[Row]:
    """Return the rows of a Parquet file, [] if there is none.

    Raises
    ------
    UserError
        The file cannot be read, or lacks one of `columns`.
    """
    if not path.exists():
        return []
    try:
        return pq.read_table(path, columns=list(columns)).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise UserError("cannot_read_table", path=path, reason=" ".join(str(error).split())) from None


def append_lines(path: Path, objects: Iterable[Mapping[str, Any]]) -> None:
    """Add one line of JSON per object to the end of `path`; raise `UserError` if it cannot be written."""
    lines = "".join(json.dumps(each, ensure_ascii=False, default=str) + "\n" for each in objects)
    if lines:
        write_text(path, (path.read_text(encoding="utf-8") if path.exists() else "") + lines)
