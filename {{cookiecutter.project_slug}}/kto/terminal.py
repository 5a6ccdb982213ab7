"""The terminal: a question that Enter answers, and output that nobody may be reading (`| head -1`, a closed one)."""

import os
import signal
import sys
from typing import Any


class _Output:
    """A text stream that goes on into nothing when it cannot be written any more."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except OSError:
            self._discard()
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError:
            self._discard()

    def _discard(self) -> None:
        """Point the descriptor at nothing, also for what the stream still holds and for processes that inherit it."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, self._stream.fileno())
        os.close(nothing)


def survive_unread_output() -> None:
    """Let this process do its work although nobody reads what it prints, and although its terminal is closed."""
    for descriptor in range(3):  # a closed one would be taken by the next file that is opened, whatever that is
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # Python's way to say that the descriptor was closed
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
        setattr(sys, name, _Output(stream))
    if hasattr(signal, "SIGHUP"):  # sent when the terminal is closed; not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def wait_for_enter(question: str) -> None:
    """Show a question, and go on when Enter is pressed; everything else ends the command as Ctrl-C does."""
    try:
        said = input(question)
    except (EOFError, OSError):  # Ctrl-D; or the terminal is gone
        raise KeyboardInterrupt from None
    if said.strip():  # perhaps a "no"
        raise KeyboardInterrupt


def enter_pressed(question: str) -> bool:
    """Show a question and tell whether Enter is the answer; where there is no terminal, nobody is asked.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C, or the end of the input.
    """
    if not (sys.stdin and sys.stdin.isatty()):
        return False
    try:
        return not input(f"{question.rstrip()} ").strip()
    except EOFError:  # Ctrl-D
        raise KeyboardInterrupt from None
