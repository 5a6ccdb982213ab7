"""`check.py`: can everything be used? One module per kind of thing."""

import contextlib
from collections.abc import Iterator

from kto.errors import UserError
from kto.texts import TextsError


class Findings:
    """Problems, which have to be corrected, and notes."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Turn an error of the block into a problem."""
        try:
            yield
        except (UserError, TextsError) as error:
            self.problems.append(str(error))
