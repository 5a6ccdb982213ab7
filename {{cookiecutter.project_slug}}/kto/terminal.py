"""Questions at the terminal that Enter answers."""

import sys

from kto.errors import UserError


def enter_pressed(question: str) -> bool:
    """Ask and return whether Enter alone is the answer; False without asking if there is no terminal.

    Raises `KeyboardInterrupt` for Ctrl-C and at the end of the input.
    """
    return bool(sys.stdin and sys.stdin.isatty()) and not _answer(f"{question.rstrip()} ")


def wait_for_enter(question: str, no_terminal: str) -> None:
    """Ask and go on if Enter is pressed; anything else ends the command as Ctrl-C does.

    Raises `UserError` with the text `no_terminal` if there is no terminal.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        raise UserError(no_terminal)
    if _answer(question):  # perhaps a "no"
        raise KeyboardInterrupt


def _answer(question: str) -> str:
    try:
        return input(question).strip()
    except (EOFError, OSError):  # Ctrl-D, or the terminal is gone
        raise KeyboardInterrupt from None
