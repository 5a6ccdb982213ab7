"""Errors that a person reads: one sentence that says what is wrong, one that says what to do."""

import sys
from collections.abc import Callable
from typing import NoReturn

from kto.terminal import survive_unread_output
from kto.texts import TextsError, t


class UserError(Exception):
    """Something the person at the keyboard can put right.

    Parameters
    ----------
    key
        Name of a text under `errors:`, or its whole name (`technical.…`).
    values
        What the placeholders of that text stand for.
    """

    def __init__(self, key: str, /, **values: object) -> None:
        self.key = key
        super().__init__(t(key if "." in key else f"errors.{key}", **values))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: IPython asks for this before it writes a traceback."""
        return [str(self)]


def use_utf8() -> None:
    """Let `print` write any letter, also on a console with an old code page (Windows, cp1252)."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and leave the process with its exit status.

    A `UserError`, or a text that is not there, becomes a sentence on stderr and status 1, Ctrl-C status 130; anything
    else is a bug and keeps its traceback. A command does its work also when nobody reads what it prints.
    """
    use_utf8()
    survive_unread_output()
    try:
        status = main()
    except (UserError, TextsError) as error:
        print(error, file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
