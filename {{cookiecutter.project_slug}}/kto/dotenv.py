"""The file `.env`: addresses and keys that git does not share."""

import re
from collections.abc import Mapping
from pathlib import Path

from kto.files import replacing

_LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<key>[A-Za-z_]\w*)[^\S\n]*=[^\S\n]*
    (?:'(?P<single>[^']*)' | "(?P<double>(?:[^"\\]|\\.)*)" | (?P<bare>.*?))
    [^\S\n]*(?:(?<=\s)\#.*)?""",
    re.VERBOSE,
)
_PLAIN = re.compile(r"[\w.,:;/@%+=~?&-]*", re.ASCII)


def _parse(line: str) -> tuple[str, str] | None:
    match = _LINE.fullmatch(line.lstrip("\ufeff").rstrip("\r\n"))
    if match is None:
        return None
    if match["double"] is not None:
        value = re.sub(r"\\(.)", lambda escape: "\n" if escape[1] == "n" else escape[1], match["double"])
    else:
        value = match["single"] if match["single"] is not None else match["bare"]
    return match["key"], value


def _quote(value: str) -> str:
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _lines(path: Path) -> list[str]:
    # Bytes that are no UTF-8 come back out as they went in.
    text = path.read_bytes().decode("utf-8", errors="surrogateescape") if path.exists() else ""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def read(path: Path) -> dict[str, str]:
    """Return what `path` sets; a file that does not exist sets nothing.

    A line is `KEY=value`, `KEY='value'` or `KEY="value"` (with `\\n`, `\\"` and `\\\\` for a line end, a quote and a
    backslash), with or without `export` in front; ` # …` after it is a comment. Other lines are passed over; a key's
    last line counts.

    Raises
    ------
    OSError
        The file is there but cannot be read.
    """
    return dict(pair for pair in map(_parse, _lines(path)) if pair is not None)


def update(path: Path, values: Mapping[str, str]) -> None:
    """Set `values` in `path`: lines of other keys, comments and the order stay, new keys go to the end.

    Raises
    ------
    OSError
        The file cannot be read or written.
    """
    lines = []
    left = dict(values)
    for line in _lines(path):
        pair = _parse(line)
        if pair is not None and pair[0] in values:
            if pair[0] in left:
                lines.append(f"{pair[0]}={_quote(left.pop(pair[0]))}\n")
        else:
            lines.append(line if line.endswith("\n") else line + "\n")
    lines += [f"{key}={_quote(value)}\n" for key, value in left.items()]
    write_private(path, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Replace `path` by `text`, whole or not at all; where the system knows such a thing, only its owner can read it.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    with replacing(path, 0o600) as file:
        file.write(text.encode("utf-8", errors="surrogateescape"))
