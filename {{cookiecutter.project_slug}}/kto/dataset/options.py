"""Options that the commands of step 3 have in common."""

import argparse
from pathlib import Path
from typing import TypeVar

from kto.texts import t

P = TypeVar("P", bound=argparse.ArgumentParser)


def add_options(parser: P) -> P:
    """Add `--output`, None for `data` in the project, and `--push`, which projects of earlier versions use."""
    parser.add_argument("--output", type=Path, metavar="DIR", help=t("export.help_output"))
    parser.add_argument("--push", action="store_true", help=argparse.SUPPRESS)
    return parser
