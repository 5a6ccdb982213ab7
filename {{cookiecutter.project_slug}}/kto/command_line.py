"""The command line: running a script or one of its further commands, and `--help` in the community's language."""

import argparse
import functools
import importlib
import math
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from kto.errors import UserError
from kto.texts import ROOT, TextsError, t

_MAIN = re.compile(r"^def main\(argv", re.MULTILINE)


def commands(step: str) -> list[str]:
    """Return the further commands of a step's script: the modules in `kto/<step>/` that have a `main`."""
    folder = ROOT / "kto" / step
    return [path.stem for path in sorted(folder.glob("*.py")) if _MAIN.search(path.read_text(encoding="utf-8"))]


def run(main: Callable[[], int], step: str = "") -> NoReturn:
    """Run a script, or one of its further commands, and leave the process with its exit status.

    `step` is the folder in `kto/` with these commands: `export.py push` runs `main` in `kto/dataset/push.py`.
    A `UserError`, a missing text or package becomes a sentence on stderr and status 1, Ctrl-C status 130; anything else
    is a bug and keeps its traceback. The output may go to a closed pipe or terminal: the command does its work anyway.
    """
    name = sys.argv[1].replace("-", "_") if step and len(sys.argv) > 1 else ""
    if name.isidentifier() and name in commands(step):
        argv = sys.argv[2:]
        sys.argv[:] = [f"{sys.argv[0]} {sys.argv[1]}", *argv]  # as the command's own `--help` says it
        main = functools.partial(_run_command, f"kto.{step}.{name}", argv)
    _survive_closed_output()
    try:
        status = main()
    except (UserError, TextsError) as error:
        print(error, file=sys.stderr)
        status = 1
    except ModuleNotFoundError as error:
        if not error.name or error.name.startswith("kto"):
            raise
        print(t("technical.no_package", name=error.name), file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


def _run_command(module: str, argv: list[str]) -> int:
    return int(importlib.import_module(module).main(argv))


class _Output:
    """A text stream that drops its text once it cannot be written any more."""

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
        """Redirect the descriptor to the null device, also for buffered text and for child processes."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def _survive_closed_output() -> None:
    """Switch stdout and stderr to UTF-8, also on old Windows consoles, and go on when they or the terminal close."""
    for descriptor in range(3):  # a closed one would be reused for the next file that is opened
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # its descriptor was closed
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
        if hasattr(stream, "reconfigure"):  # not in a notebook or a test
            stream.reconfigure(encoding="utf-8", errors="replace")
        setattr(sys, name, _Output(stream))
    if hasattr(signal, "SIGHUP"):  # sent when the terminal is closed; not on Windows
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


class _Help(argparse.HelpFormatter):
    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, f"{t('cli.usage')} " if prefix is None else prefix)

    def _expand_help(self, action: argparse.Action) -> str:
        return action.help or ""  # a % in a text is a %


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` in the community's language, whose errors end the process with status 2.

    `about` describes the command in `--help`, which also lists the commands in the folder `step` of `kto/`.
    """

    def __init__(self, about: str, step: str = "") -> None:
        self._step = step
        super().__init__(
            description=about, allow_abbrev=False, add_help=False, exit_on_error=False, formatter_class=_Help
        )
        self._optionals.title = t("cli.options")
        self._positionals = self._optionals
        self.add_argument("-h", "--help", action="help", help=t("cli.show_help"))

    def format_help(self) -> str:
        """Return what `--help` prints."""
        names = commands(self._step) if self._step else []
        width = max(map(len, names), default=0)
        lines = [f"  {name.replace('_', '-'):{width}}  {t(f'commands.{name}')}\n" for name in names]
        return super().format_help() + (f"\n{t('cli.commands')}:\n{''.join(lines)}" if lines else "")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> argparse.Namespace:  # type: ignore[override]
        """Return the options, or leave with a sentence about what is wrong with them."""
        try:
            options, unknown = self.parse_known_args(args, namespace)
        except argparse.ArgumentError as error:
            value = re.search(r"""(['"])(.*)\1""", error.message, re.DOTALL)
            if value:
                self.error(t("cli.bad_value", option=error.argument_name, value=value[2] or '""'))
            self.error(t("cli.no_value", option=error.argument_name))
        if unknown:
            self.error(t("cli.unknown_option", option=unknown[0]))
        return options

    def error(self, message: str) -> NoReturn:
        """Print the message and leave with status 2."""
        print(message, file=sys.stderr)
        sys.exit(2)


def positive(text: str | None, error: str, most: int = 10**9) -> int | None:
    """Return the positive integer given to an option, None if it is not given; else raise `UserError`."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= most):
        raise UserError(error, **dict.fromkeys(("value", "limit", "steps"), text))  # one of them is in the text
    return int(text)


def dollars(text: str | None) -> float | None:
    """Return the amount given to an option, None if it is not given; else raise `UserError`."""
    if text is None:
        return None
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise UserError("bad_max_cost", value=text)
    return amount
