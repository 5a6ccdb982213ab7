"""What the checks have found."""

import contextlib
from collections.abc import Iterator

from kto.errors import UserError
from kto.texts import TextsError


class Findings:
    """What was found: problems, which somebody has to put right, and notes, which are good to know."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Make a problem of what a part of the project says about itself."""
        try:
            yield
        except (UserError, TextsError) as error:
            self.problems.append(str(error))
