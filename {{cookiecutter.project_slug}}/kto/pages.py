"""Fill the pages of the project (README, cards, community pages) from texts and facts.

A page is Markdown with four additions: `{section.key}` is a text, `{name}` a value (with `_quoted`
behind it, as a quoted string for YAML); the lines between
`<!-- if name -->` (or `if not name`) and `<!-- end if -->` stay only if that value is true; what is between
`<!-- native -->` and `<!-- end native -->` is in the community's language and follows its direction.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto.model_names import public_names
from kto.texts import FILES as FILES
from kto.texts import PLACEHOLDER, TextsError, file_name, file_of, fill, look_up

if TYPE_CHECKING:
    from kto.settings import Settings

MARKED = ("numbers", "models")
"""What `export.py` fills in the dataset card; between these marks a page may say anything."""
TYPED = ("project_name", "domain")
"""Values that people type: in Markdown they are shown as they were typed, whatever that would mean there."""
_IF = re.compile(r"<!-- if (not )?([a-z_]+) -->\n(.*?)<!-- end if -->\n", re.DOTALL)
_NATIVE = re.compile(r"<!-- native -->\n(.*?)<!-- end native -->\n", re.DOTALL)
_TEXT = re.compile(r"\{([a-z_]+\.[a-z_.]+)(?<!_quoted)\}")
_FENCE = re.compile(r"^( *)```.*?^ *```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(?<!`)`[^`\n]+`(?!`)")


def quoted(value: object) -> str:
    """Return a string as a double-quoted scalar that JSON and YAML both read as that string."""
    text = json.dumps(str(value), ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", text)


_MARKS = re.compile(
    r"""
    [\\`*_\[\]|~]
    | <(?![\s\d])                   # before these it begins no tag
    | &(?=\#?\w+;)                  # an entity
    | \$(?!\d)                      # no formula ends before a digit
    | \A\#(?=\#*(?:\s|\Z))         # the beginning of a heading
    | (?<=\s)\#(?=\#*\Z)           # the end of one
    | \A[-+=>]                      # the beginning of a list or a quotation, or an underline
    """,
    re.VERBOSE,
)


def as_typed(value: object) -> str:
    """Return Markdown that shows a text as it is, in one line (CommonMark 2.4; GitHub's formulas and strikethrough).

    What means nothing where it stands stays as it is: Discord, where people paste pages, would show the backslash.
    """
    text = _MARKS.sub(r"\\\g<0>", " ".join(str(value).split()))
    return re.sub(r"\A(\d+)([.)])", r"\1\\\2", text)  # the beginning of a numbered list


def page_values(
    project: Mapping[str, object], language: Mapping[str, object], generation: Mapping[str, object]
) -> dict[str, object]:
    """Return the values that pages and texts name, from the sections of `settings.toml` with the same names."""
    texts = language["texts"]
    assert isinstance(texts, Sequence)
    models = generation["models"]
    assert isinstance(models, Sequence)
    owner, slug = project["hub_owner"], project["slug"]
    translated = language["iso"] == "en" or texts[0] != "en"
    # What has no translation is in English, which reads from left to right.
    direction = language["direction"] if translated else "ltr"
    # A title is one line; everything else stays as it was typed.
    name = " ".join(str(project["name"]).split())
    return {
        "project_name": name,
        "slug": slug,
        "domain": project["domain"],
        "owned": bool(owner),
        "repo_id": f"{owner}/{slug}" if owner else slug,
        "license": project["license"],
        "language": language["autonym"] if translated else language["english_name"],
        "english_name": language["english_name"],
        "tag": language["tag"],
        "iso": language["iso"],
        "direction": direction,
        "unreviewed": translated and not language["reviewed"],
        "untranslated": not translated,
        "foreign": language["iso"] != "en" and translated,
        "foreign_unreviewed": language["iso"] != "en" and translated and not language["reviewed"],
        "models": list_models(public_names(models), str(direction)),
        "huggingface": generation["inference"] == "huggingface",
        "local": generation["inference"] == "local",
        "server": generation["inference"] == "openai-compatible",
    }


def list_models(names: Iterable[str], direction: str) -> str:
    """Return a list of models in Markdown that reads in `direction`."""
    lines = "\n".join(f"- `{name}`" for name in names)
    return _isolate_code(lines) if direction == "rtl" else lines


def values_of(settings: "Settings") -> dict[str, object]:
    """Return the values that pages and texts name, from `settings.toml`."""
    return page_values(
        project=settings.project.model_dump(),
        language=settings.language.model_dump(),
        generation=settings.generation.model_dump(),
    )


def fill_text(texts: Mapping[str, object], key: str, values: Mapping[str, object], markdown: str | None = None) -> str:
    """Return the text at `key`, its placeholders filled from `values`.

    With `markdown`, a prefix such as "## " or "", it becomes Markdown in the direction of the language. Raises
    `TextsError` for a placeholder that `values` lacks.
    """

    def value(name: str) -> object:
        if name not in values:
            raise TextsError(f"{file_of(key)}: “{key}” uses {{{name}}}, which means nothing there. Remove it.")
        return as_typed(values[name]) if name in TYPED and markdown is not None else values[name]

    text = look_up(texts, key).rstrip("\n")
    if markdown is not None:
        text = in_direction(markdown + text, str(values["direction"])).rstrip("\n")
    return fill(text, value)


def check_placeholders(key: str, text: str, known: Iterable[str]) -> None:
    """Raise `TextsError` if a text has a placeholder that is not among `known`."""
    for name in PLACEHOLDER.findall(text):
        if name not in known and not file_name(name):
            names = ", ".join(f"{{{each}}}" for each in ("language", "domain") if each in known)
            hint = f"Correct it ({names}) or remove it" if names else "Remove it"
            raise TextsError(f"{file_of(key)}: “{key}” uses {{{name}}}, which means nothing there. {hint}.")


def in_direction(markdown: str, direction: str) -> str:
    """Return Markdown that reads in `direction` ("ltr" or "rtl") where pages are shown left to right.

    In a right-to-left page commands and names in code stay left to right, each isolated from the text around it.
    """
    if direction != "rtl":
        return markdown
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        indent = fence[1]
        parts.append(_isolate_code(markdown[end : fence.start()]))
        parts.append(f'{indent}<div dir="ltr">\n\n{fence[0]}\n\n{indent}</div>')
        end = fence.end()
    parts.append(_isolate_code(markdown[end:]))
    return f'<div dir="rtl">\n\n{"".join(parts).strip()}\n\n</div>\n\n'


def _isolate_code(markdown: str) -> str:
    return _CODE.sub(lambda match: f'<span dir="ltr">{match[0]}</span>', markdown)


def fill_page(page: Path, texts: Mapping[str, object], values: Mapping[str, object]) -> str:
    """Return the page of the file `page`, filled.

    Raises
    ------
    TextsError
        A text or a value that the page names does not exist.
    """

    def keep(match: re.Match[str]) -> str:
        return match[3] if bool(values[match[2]]) != bool(match[1]) else ""

    def value(name: str) -> object:
        if name.endswith("_quoted"):  # in front matter, where `no` would be false and a colon a key
            name = name.removesuffix("_quoted")
            return quoted(values[name] if name in TYPED else value(name))
        if "." in name:
            return fill_text(texts, name, values)
        if name not in values:
            raise TextsError(f"{page.name} uses {{{name}}}, which means nothing there. Remove it.")
        return as_typed(values[name]) if name in TYPED else values[name]

    def checked(key: str) -> str:
        text = look_up(texts, key).rstrip("\n")
        check_placeholders(key, text, values)
        return text

    markdown = _IF.sub(keep, page.read_text(encoding="utf-8"))
    # Texts come first and values last: an answer may look like a mark or a name without becoming one.
    markdown = _TEXT.sub(lambda match: match[0] if file_name(match[1]) else checked(match[1]), markdown)
    markdown = _NATIVE.sub(lambda match: in_direction(match[1], str(values["direction"])), markdown)
    return fill(markdown, value)


def fingerprint(page: str) -> str:
    """Return a hash of a page, whatever its line ends and whatever `export.py` has filled in.

    It tells a page that a person has changed from one that can be made again.
    """
    page = page.replace("\r\n", "\n").rstrip("\n")
    for name in MARKED:
        page = _marked(name).sub(r"\1\2", page)
    return hashlib.sha256(page.encode("utf-8", "surrogatepass")).hexdigest()


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)


def fill_marked(page: str, name: str, content: str) -> str:
    """Return a page with `content` between its marks `<!-- name -->` and `<!-- end name -->`.

    Everything else in the page stays as people wrote it. Raises `TextsError` if the marks are gone.
    """
    filled, count = _marked(name).subn(lambda match: f"{match[1]}{content.rstrip()}\n{match[2]}", page, count=1)
    if not count:
        marks = f"<!-- {name} --> and <!-- end {name} -->"
        raise TextsError(f"The page has lost its lines {marks}. Put them back.")
    return filled
