"""The machinery behind the four steps, one module per idea."""

import sys
from types import TracebackType


def _without_packages(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in a sentence that a command was not started as it should be; texts cannot be read without packages."""
    if isinstance(error, ModuleNotFoundError):
        print(f"The package {error.name} is not here. Start the command with uv, as README.md says.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


sys.excepthook = _without_packages
