"""What every command's `--help` and wrong options say, in the community's language."""

import argparse
import importlib
import math
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from kto.errors import UserError, end_with
from kto.texts import ROOT, t

_MAIN = re.compile(r"^def main\(argv", re.MULTILINE)


def commands(step: str) -> list[str]:
    """Return the further commands of a step's script: the modules in `kto/<step>/` that have a `main`."""
    folder = ROOT / "kto" / step
    return [path.stem for path in sorted(folder.glob("*.py")) if _MAIN.search(path.read_text(encoding="utf-8"))]


def run(main: Callable[[], int], step: str = "") -> None:
    """Run a script and leave the process with its exit status; see `kto.errors.end_with`.

    Parameters
    ----------
    step
        Folder in `kto/` with the script's further commands: `export.py push` runs `main` in `kto/dataset/push.py`.
    """
    name = sys.argv[1].replace("-", "_") if step and len(sys.argv) > 1 else ""
    if not (name.isidentifier() and name in commands(step)):
        end_with(main)

    def command() -> int:
        argv = sys.argv[2:]
        sys.argv[:] = [f"{sys.argv[0]} {sys.argv[1]}", *argv]  # as the command's own `--help` says it
        return int(importlib.import_module(f"kto.{step}.{name}").main(argv))

    end_with(command)


class _Help(argparse.HelpFormatter):
    """Writes "Usage:" in the language."""

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: str | None = None) -> None:
        super().add_usage(usage, actions, groups, f"{t('cli.usage')} " if prefix is None else prefix)

    def _expand_help(self, action: argparse.Action) -> str:
        return action.help or ""  # a % in a text is a %


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose own words are in the language; what is wrong ends the process with status 2.

    Parameters
    ----------
    about
        What the command does, as `--help` says it.
    step
        Folder in `kto/` whose commands `--help` lists, too.
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
        """Return the options; say in a sentence what is wrong with them."""
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
        """Say what is wrong and leave."""
        print(message, file=sys.stderr)
        sys.exit(2)


def positive(text: str | None, error: str) -> int | None:
    """Return the whole number above 0 that an option has, None if it is not given; raise `UserError` for others."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text)):
        raise UserError(error, limit=text)
    return int(text)


def dollars(text: str | None) -> float | None:
    """Return the amount that an option has, None if it is not given; raise `UserError` for no amount."""
    if text is None:
        return None
    try:
        amount = float(text.removeprefix("$"))
    except ValueError:
        amount = math.nan
    if not (math.isfinite(amount) and amount >= 0):
        raise UserError("bad_max_cost", value=text)
    return amount
