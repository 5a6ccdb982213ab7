"""All texts that people read, by key: `kto/texts.yaml` has them, and `texts.yaml` overrides them."""

import functools
import re
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
"""The project folder: where `settings.toml` and `texts.yaml` are."""
WHOLE, OWN = "kto/texts.yaml", "texts.yaml"
"""The file with every text of the language, and the one with what this project says differently, which wins."""

_COUNTS = frozenset(("count", "number", "new", "kept", "prompts", "models", "desirable", "undesirable", "total"))
"""Placeholders for counts, which are written as the language writes numbers; ports and limits are not."""
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
FILES = {
    "settings": "settings.toml",
    "texts": "texts.yaml",
    "check": "check.py",
    "generate": "generate.py",
    "export": "export.py",
    "train": "train.py",
    "prompts": "generate.py prompts",
    "pages": "check.py pages",
    "job": "generate.py job",
    "vote": "vote.py",
    "notebook": "vote.py",  # it does what the notebook does
    "argilla": "vote.py",  # it starts Argilla
    "serve": "kto/ask/serve.py",
    "guidelines": "publish/community/guidelines.md",
    "consent": "publish/community/consent.md",
    "announcement": "publish/community/announcement.md",
}
"""What `{file.NAME}` stands for in texts and pages, so that a file can move without changing the catalogues."""


class TextsError(Exception):
    """A text is missing or is not a text, or it has an unknown placeholder."""


def fill(text: str, value: Callable[[str], object]) -> str:
    """Replace `{file.NAME}` from `FILES`, and other placeholders `{name}` by `value(name)`; other braces stay."""
    return PLACEHOLDER.sub(lambda match: file_name(match[1]) or str(value(match[1])), text)


def file_name(placeholder: str) -> str:
    """Return the file that a placeholder such as `file.settings` names, "" for other placeholders."""
    section, _, name = placeholder.partition(".")
    file = FILES.get(name, "") if section == "file" else ""
    if file == "settings.toml":
        return settings_file(ROOT).name
    if file.startswith("publish/"):
        return published(ROOT, file.removeprefix("publish/")).relative_to(ROOT).as_posix()
    return file


def published(root: Path, name: str) -> Path:
    """Return the path of a page or folder in `publish/`, or where older projects have it."""
    older = root / name
    return older if older.exists() and not (root / "publish" / name).exists() else root / "publish" / name


def settings_file(root: Path) -> Path:
    """Return the settings file: `settings.toml`, or `project.toml` in older projects."""
    path, earlier = root / "settings.toml", root / "project.toml"
    return earlier if earlier.exists() and not path.exists() else path


def look_up(texts: Mapping[str, object], key: str) -> str:
    """Return the text at a dotted `key`; raise `TextsError` if there is none."""
    node = _node(texts, key)
    if not isinstance(node, str) or not node:
        raise TextsError(f"{file_of(key)} has no text for “{key}”. Add it, or take {WHOLE} from a fresh render.")
    return node


def _node(texts: object, key: str) -> object:
    for part in key.split("."):
        if texts is not None and not isinstance(texts, Mapping):
            return False  # a text where a section should be
        texts = texts.get(part) if texts else None
    return texts


def checked(texts: Mapping[str, object], key: str, known: Container[str]) -> str:
    """Return the text at `key`; raise `TextsError` also if it has a placeholder that is not in `known`."""
    text = look_up(texts, key).rstrip("\n")
    for name in PLACEHOLDER.findall(text):
        if name not in known and not file_name(name):
            names = ", ".join(f"{{{usual}}}" for usual in ("language", "domain") if usual in known)
            hint = f"Correct it ({names}) or remove it" if names else "Remove it"
            raise TextsError(f"{file_of(key)}: “{key}” uses {{{name}}}, which means nothing there. {hint}.")
    return text


def own() -> Mapping[str, object]:
    """Return the texts that this project has changed."""
    return _read(ROOT, OWN)


def keys(texts: Mapping[str, object], section: str = "") -> set[str]:
    """Return the dotted keys of all texts."""
    names = set()
    for name, text in texts.items():
        names |= keys(text, f"{section}{name}.") if isinstance(text, Mapping) else {f"{section}{name}"}
    return names


def file_of(key: str) -> str:
    """Return the name of the file with the text at `key`."""
    return OWN if _node(own(), key) is not None or not (ROOT / WHOLE).exists() else WHOLE


def read(root: Path) -> Mapping[str, object]:
    """Return the texts of a project; raise `SystemExit` if they cannot be read.

    Its message, like that of a `TextsError`, is English: there may be no other text.
    """
    texts = _merge(_read(root, WHOLE), _read(root, OWN))
    if not texts:
        raise SystemExit(f"There are no texts in {root}. Take {WHOLE} from a fresh render.")
    return texts


def _read(root: Path, name: str) -> Mapping[str, object]:
    try:
        import yaml  # not at the top: the practice page needs no package
    except ModuleNotFoundError:  # without it there are no texts to say it in
        raise SystemExit("PyYAML is not here. Start the command with uv, as README.md says.") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        texts = yaml.load((root / name).read_text(encoding="utf-8"), Loader=loader) or {}
    except FileNotFoundError:  # older projects have one file of texts, and no project needs its own
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        hint = "A text with a colon goes in quotation marks; otherwise undo the last change to the file."
        raise SystemExit(f"{name} cannot be read: {reason}. {hint}") from None
    if not isinstance(texts, Mapping):
        raise SystemExit(f"{name} is not a list of names and texts. Undo the last change to it.")
    return texts


def _merge(base: object, over: object) -> Any:
    """Return `base` with the texts of `over` in their places; a key without a text changes nothing."""
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: _merge(base.get(key), text) for key, text in over.items()}}
    return base if over is None else over


@functools.cache
def load() -> Mapping[str, object]:
    """Return the texts of this project; see `read`."""
    return read(ROOT)


def t(key: str, /, **values: object) -> str:
    """Return the text at a dotted `key`, its placeholders filled from `values`.

    Raises `TextsError` if the text is missing or has a placeholder that `values` lacks.
    """

    def value(name: str) -> object:
        given = values[name]
        return number(given) if name in _COUNTS and isinstance(given, int) else given

    return fill(checked(load(), key, values), value)


def number(value: float, decimals: int = 0) -> str:
    """Return a number as the language writes it, following the two examples under `numbers` in the texts.

    The first, `1234` or `1.234`, tells whether four digits are grouped; the second, such as `1.234.567,8` or
    `12,34,567.8`, gives digits, separators and the size of the groups.
    """
    four, seven = _examples(load())
    groups = re.split(r"(\D+)", seven)  # digits and separators in turn; the last two are the decimals
    whole, point = groups[:-2:2], groups[-2]
    separator = groups[1] if len(whole) > 1 else ""
    left, _, fraction = f"{abs(value):.{decimals}f}".partition(".")
    if separator and (len(left) > 4 or not four.isdecimal()):
        last = len(whole[-1])
        size = len(whole[-2]) if len(whole) > 2 else last
        for end in range(len(left) - last, 0, -size):  # of each group but the last, from the right
            left = left[:end] + separator + left[end:]
    written = left + (point + fraction if fraction else "")
    sign = "−" if value < 0 and float(f"{value:.{decimals}f}") else ""
    return sign + written.translate(str.maketrans("0123456789", digits(load())))


def digits(texts: Mapping[str, object]) -> str:
    """Return the ten digits of the language, from 0 to 9."""
    first = _examples(texts)[1][0]
    return "".join(chr(ord(first) - int(first) + digit) for digit in range(10))


def _examples(texts: Mapping[str, object]) -> tuple[str, str]:
    """Return the two examples, or the English ones if those in the texts are no such numbers."""
    examples = texts.get("numbers")
    if isinstance(examples, list) and all(isinstance(text, str) for text in examples):
        plain = ["".join(str(int(char)) for char in text if char.isdecimal()) for text in examples]
        if plain == ["1234", "12345678"] and re.fullmatch(r"\d.*\d\D+\d", examples[1]):
            return examples[0], examples[1]
    return "1234", "1,234,567.8"
