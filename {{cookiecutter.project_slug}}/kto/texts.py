"""Every sentence that a person reads comes from `texts.yaml`, by name."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
"""The project folder: where `settings.toml` and `texts.yaml` are."""

_COUNTS = frozenset(("count", "number", "new", "kept", "prompts", "models", "desirable", "undesirable", "total"))
"""Placeholders for how many there are: written as the language writes numbers. Ports, limits and the like stay as
they are typed."""
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
FILES = {
    "settings": "settings.toml",
    "texts": "texts.yaml",
    "check": "check.py",
    "generate": "generate.py",
    "export": "export.py",
    "train": "train.py",
    "prompts": "make_prompts.py",
    "pages": "update_pages.py",
    "job": "hub_job.py",
    "notebook": "setup_argilla.ipynb",
    "argilla": "kto/vote/argilla_server/server.py",
    "serve": "kto/ask/serve.py",
    "guidelines": "community/guidelines.md",
    "consent": "community/consent.md",
    "announcement": "community/announcement.md",
}
"""What `{file.NAME}` stands for in texts and pages, so that a file can move without a change of 64 catalogues."""


class TextsError(Exception):
    """`texts.yaml` cannot be used: a text is missing or is not a text."""


def fill(text: str, value: Callable[[str], object]) -> str:
    """Replace `{file.NAME}` from `FILES`, each other `{name}` by `value(name)`; other braces stay as they are."""
    return PLACEHOLDER.sub(lambda match: file_name(match[1]) or str(value(match[1])), text)


def file_name(placeholder: str) -> str:
    """Return the file that a placeholder such as `file.settings` names, "" if it names none."""
    section, _, name = placeholder.partition(".")
    if placeholder == "file.settings":
        return settings_file(ROOT).name
    return FILES.get(name, "") if section == "file" else ""


def settings_file(root: Path) -> Path:
    """Return where a project has its settings: an earlier version called that file `project.toml`."""
    path, earlier = root / "settings.toml", root / "project.toml"
    return earlier if earlier.exists() and not path.exists() else path


def look_up(texts: Mapping[str, object], key: str) -> str:
    """Return the text at a dotted `key`; raise `TextsError` naming the key if there is none."""
    node: object = texts
    for part in key.split("."):
        node = node.get(part) if isinstance(node, Mapping) else None
    if not isinstance(node, str) or not node:
        raise TextsError(f"texts.yaml has no text for “{key}”. Add it, or take texts.yaml from a fresh render.")
    return node


@functools.cache
def load(path: Path = ROOT / "texts.yaml") -> Mapping[str, object]:
    """Return the content of `texts.yaml`; raise `SystemExit` with one sentence if it cannot be read.

    There is no text to say it in when the texts themselves are unreadable, so this is English, as a `TextsError` is.
    """
    try:
        texts = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        hint = "A text with a colon goes in quotation marks; otherwise undo the last change to the file."
        raise SystemExit(f"texts.yaml cannot be read: {reason}. {hint}") from None
    if not isinstance(texts, Mapping):
        raise SystemExit("texts.yaml is not a list of names and texts. Undo the last change to it.")
    return texts


def t(key: str, /, **values: object) -> str:
    """Return the text named `key` (dotted path in `texts.yaml`), its placeholders filled from `values`.

    Raises
    ------
    TextsError
        The text is missing, or it names a placeholder that `values` lacks.
    """

    def value(name: str) -> object:
        if name not in values:
            raise TextsError(f"texts.yaml: “{key}” uses {{{name}}}, which means nothing there. Remove it.")
        found = values[name]
        return number(found) if name in _COUNTS and isinstance(found, int) else found

    return fill(look_up(load(), key), value).rstrip("\n")


def number(value: float, decimals: int = 0) -> str:
    """Return a number as the language writes it, by the two examples under `numbers` in `texts.yaml`.

    The second, such as `1.234.567,8` or `12,34,567.8`, gives digits, separators and the size of the groups; the first,
    `1234` or `1.234`, tells whether a number of four digits is grouped.
    """
    four, seven = _examples()
    groups = re.split(r"(\D+)", seven)  # digits and separators in turn; the last two are the decimals
    whole, point = groups[:-2:2], groups[-2]
    separator = groups[1] if len(whole) > 1 else ""
    digits, _, fraction = f"{abs(value):.{decimals}f}".partition(".")
    parts: list[str] = []
    if separator and (len(digits) > 4 or not four.isdecimal()):
        size = len(whole[-1])
        while len(digits) > size:
            parts.insert(0, digits[-size:])
            digits = digits[:-size]
            size = len(whole[-2]) if len(whole) > 2 else size
    written = separator.join([digits, *parts]) + (point + fraction if fraction else "")
    zero = ord(seven[0]) - int(seven[0])
    sign = "−" if value < 0 and float(f"{value:.{decimals}f}") else ""
    return sign + written.translate({ord("0") + digit: zero + digit for digit in range(10)})


def _examples() -> tuple[str, str]:
    """Return the two examples; the English ones if those in `texts.yaml` do not show what they should."""
    found = load().get("numbers")
    if isinstance(found, list) and all(isinstance(text, str) for text in found):
        plain = ["".join(str(int(char)) for char in text if char.isdecimal()) for text in found]
        if plain == ["1234", "12345678"] and re.fullmatch(r"\d.*\d\D+\d", found[1]):
            return found[0], found[1]
    return "1234", "1,234,567.8"
