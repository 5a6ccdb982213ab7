"""Every sentence that a person reads comes from `texts.yaml`, by name."""

import functools
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
"""The project folder: where `project.toml` and `texts.yaml` are."""

_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")


class TextsError(Exception):
    """`texts.yaml` cannot be used: a text is missing or is not a text."""


def fill(text: str, value: Callable[[str], object]) -> str:
    """Replace each `{name}` in `text` by `value(name)`; every other brace stays as it is."""
    return _PLACEHOLDER.sub(lambda match: str(value(match[1])), text)


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

    There is no text to say it in when the texts themselves are unreadable, so this sentence alone is English.
    """
    try:
        texts = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SystemExit(f"texts.yaml cannot be read: {reason}. Undo the last change to it.") from None
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
        return values[name]

    return fill(look_up(load(), key), value).rstrip("\n")
