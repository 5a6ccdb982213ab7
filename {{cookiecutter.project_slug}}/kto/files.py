"""Files: written whole or not at all, and CSV with cells of any length."""

import contextlib
import csv
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_LONGEST_CELL = 2**31 - 1  # what a C long holds, on Windows, too


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Open a temporary file for writing, which replaces `path` once its content is on the disk.

    `mode` has the permissions of a new file, before the umask. Raises `OSError` if it cannot be written; then `path` is
    unchanged.
    """
    path = path.resolve()  # a link stays a link
    # The name begins with a dot so that nobody who lists the folder takes it for data.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def as_path(root: Path, name: str) -> Path | None:
    """Return the path that `name` stands for, relative ones from `root`; None if it begins with an unknown `~user`."""
    try:
        return root / Path(name).expanduser()
    except RuntimeError:
        return None


@contextlib.contextmanager
def long_cells() -> Iterator[None]:
    """Let `csv` read cells of any length; by default it takes 131,072 characters, and models write longer answers."""
    before = csv.field_size_limit(_LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)
