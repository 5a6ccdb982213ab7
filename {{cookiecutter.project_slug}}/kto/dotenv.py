"""The file `.env`: addresses and keys that git does not share. Read with python-dotenv, without its interpolation."""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from kto.files import replacing
from kto.texts import t

try:
    from dotenv.parser import Binding, parse_stream
except ModuleNotFoundError as error:
    raise SystemExit(t("technical.no_package", name=error.name)) from None

_PLAIN = re.compile(r"[\w.,:;/@%+=~?&-]*", re.ASCII)


def _parse(path: Path) -> Iterator[Binding]:
    # Bytes that are not UTF-8 are kept as they are.
    text = path.read_bytes().decode("utf-8", errors="surrogateescape") if path.exists() else ""
    return parse_stream(io.StringIO(text.removeprefix("\ufeff"), newline=""))


def read(path: Path) -> dict[str, str]:
    """Return what `path` sets: {} if there is no such file; raise `OSError` if it cannot be read."""
    return {line.key: line.value for line in _parse(path) if line.key and line.value is not None}


def update(path: Path, values: Mapping[str, str]) -> None:
    """Set `values` in `path`: other lines, comments and the order stay, new keys go to the end.

    Raises `OSError` if the file cannot be read or written.
    """
    lines = []
    left = dict(values)
    for line in _parse(path):
        if line.key not in values:
            lines.append(line.original.string)
        elif line.key in left:
            lines.append(f"{line.key}={_quote(left.pop(line.key))}\n")
    if lines and not lines[-1].endswith("\n"):
        lines.append("\n")
    lines += [f"{key}={_quote(value)}\n" for key, value in left.items()]
    write_private(path, "".join(lines))


def _quote(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text`, readable for its owner alone; raise `OSError` if it cannot be written."""
    with replacing(path, 0o600) as file:
        file.write(text.encode("utf-8", errors="surrogateescape"))
