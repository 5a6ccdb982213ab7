"""CSV with cells of any length: Python's reader takes 131,072 characters, and models write longer answers."""

import contextlib
import csv
from collections.abc import Iterator

_LONGEST = 2**31 - 1  # what a C long holds, on Windows, too


@contextlib.contextmanager
def long_cells() -> Iterator[None]:
    """Let `csv` read cells of any length while the block runs."""
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)
