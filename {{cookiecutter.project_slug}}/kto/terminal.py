"""Questions at the terminal that Enter answers."""

import sys

from kto.errors import UserError


def enter_pressed(question: str) -> bool:
    """Ask and return whether Enter alone is the answer; False without asking if there is no terminal.

    Raises `KeyboardInterrupt` for Ctrl-C and at the end of the input.
    """
    return has_terminal() and not ask(f"{question.rstrip()} ")


def wait_for_enter(question: str, no_terminal: str) -> None:
    """Ask and go on if Enter is pressed; anything else ends the command as Ctrl-C does.

    Raises `UserError` with the text `no_terminal` if there is no terminal.
    """
    if not has_terminal():
        raise UserError(no_terminal)
    if ask(question):  # perhaps a "no"
        raise KeyboardInterrupt


def has_terminal() -> bool:
    """Tell whether somebody can answer."""
    return bool(sys.stdin and sys.stdin.isatty())


def ask(question: str) -> str:
    """Return what somebody types, without spaces around it; `KeyboardInterrupt` is raised as in `enter_pressed`."""
    try:
        return input(question).strip()
    except (EOFError, OSError):  # Ctrl-D, or the terminal is gone
        raise KeyboardInterrupt from None
