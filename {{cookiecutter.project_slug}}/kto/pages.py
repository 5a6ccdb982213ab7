"""Fill the pages of the project (README, cards, community pages) from texts and facts.

A page is Markdown with four additions: `{section.key}` is a text, `{name}` a value (`{name_quoted}`: as a YAML string);
the lines between `<!-- if name -->` (or `if not name`) and `<!-- end if -->` stay only if that value is true; the part
between `<!-- native -->` and `<!-- end native -->` is in the community's language and follows its direction.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kto import examples
from kto.model_names import public_names
from kto.texts import FILES as FILES
from kto.texts import PLACEHOLDER as PLACEHOLDER
from kto.texts import TextsError, checked, file_name, fill

if TYPE_CHECKING:
    from kto.settings import Settings

MARKED = ("numbers", "models")
"""The marked parts of the dataset card that `export.py` fills."""
TYPED = ("project_name", "domain", "contact")
"""Values that people type: they are escaped in Markdown."""
PARTS: Mapping[str, Mapping[str, str]] = {
    "task.guidelines": {"unsure": "task.unsure", "examples": "examples", "keys": "task.keys"},
    "community.announcement": {"way": "community.way_ask"},
}
"""Texts with a place for others: placeholder → key of the text that usually stands there, or the table of examples."""
_IF = re.compile(r"<!-- if (not )?([a-z_]+) -->\n(.*?)<!-- end if -->\n", re.DOTALL)
_NATIVE = re.compile(r"<!-- native -->\n(.*?)<!-- end native -->\n", re.DOTALL)
_TEXT = re.compile(r"\{([a-z_]+\.[a-z_.]+)(?<!_quoted)\}")
_CODE = re.compile(r"(?P<fence>^(?P<indent> *)```.*?^ *```$)|(?<!`)`[^`\n]+`(?!`)", re.DOTALL | re.MULTILINE)


def quoted(value: object) -> str:
    """Return a double-quoted scalar that both JSON and YAML read as this string."""
    text = json.dumps(str(value), ensure_ascii=False)
    return re.sub(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04x}", text)


_MARKS = re.compile(
    r"""
    [\\`*_\[\]|~]
    | <(?![\s\d])                   # a tag
    | &(?=\#?\w+;)                  # an entity
    | \$(?!\d)                      # a formula, which does not end before a digit
    | \A\#(?=\#*(?:\s|\Z))         # the beginning of a heading
    | (?<=\s)\#(?=\#*\Z)           # its end
    | \A[-+=>]                      # a list, a quotation or an underline
    """,
    re.VERBOSE,
)


def as_typed(value: object) -> str:
    """Escape a text for one line of Markdown (CommonMark 2.4; GitHub's formulas and strikethrough).

    Only where it is necessary: Discord, where people paste pages, shows the backslash.
    """
    text = _MARKS.sub(r"\\\g<0>", " ".join(str(value).split()))
    return re.sub(r"\A(\d+)([.)])", r"\1\\\2", text)  # the beginning of a numbered list


def page_values(
    project: Mapping[str, Any],
    language: Mapping[str, Any],
    generation: Mapping[str, Any],
    annotation: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values for the placeholders of pages and texts, from the sections of `settings.toml`."""
    owner, slug = project["hub_owner"], project["slug"]
    translated = language["iso"] == "en" or language["texts"][0] != "en"
    foreign = language["iso"] != "en" and translated
    direction = language["direction"] if translated else "ltr"  # untranslated texts are English
    models = "\n".join(f"- `{name}`" for name in public_names(generation["models"]))
    return {
        "project_name": " ".join(project["name"].split()),  # a title is one line
        "slug": slug,
        "domain": project["domain"],
        "owned": bool(owner),
        "repo_id": f"{owner}/{slug}" if owner else slug,
        "license": project["license"],
        "language": language["autonym"] if translated else language["english_name"],
        "english_name": language["english_name"],
        "tag": language["tag"],
        "iso": language["iso"],
        "texts_tag": language["texts"][0],
        "direction": direction,
        "unreviewed": translated and not language["reviewed"],
        "untranslated": not translated,
        "foreign": foreign,
        "foreign_unreviewed": foreign and not language["reviewed"],
        "models": code_in_direction(models, direction),
        "huggingface": generation["inference"] == "huggingface",
        "local": generation["inference"] == "local",
        "server": generation["inference"] == "openai-compatible",
        "contact": annotation["contact"].strip(),
    }


def code_in_direction(markdown: str, direction: str) -> str:
    """Return Markdown whose code stays left to right in a text that reads in `direction`."""
    return _CODE.sub(_left_to_right, markdown) if direction == "rtl" else markdown


def values_of(settings: "Settings") -> dict[str, Any]:
    """Return the values for the placeholders of pages and texts."""
    sections = (settings.project, settings.language, settings.generation, settings.annotation)
    return page_values(*(section.model_dump() for section in sections))


def whole_text(
    texts: Mapping[str, object], key: str, known: Collection[str], parts: Mapping[str, str] | None = None
) -> str:
    """Return the text at `key` with the other texts that belong into it; placeholders for values stay open.

    `parts` names other keys than `PARTS` does. Raises `TextsError` for a placeholder that is not in `known`.
    """
    keys = {**PARTS.get(key, {}), **(parts or {})}
    text = checked(texts, key, {*keys, *known})

    def part(match: re.Match[str]) -> str:
        wanted = keys.get(match[1])
        if wanted is None:
            return match[0]
        return examples.table(texts, known) if wanted == "examples" else checked(texts, wanted, known)

    return PLACEHOLDER.sub(part, text)


def fill_text(texts: Mapping[str, object], key: str, values: Mapping[str, Any], markdown: str | None = None) -> str:
    """Return the text at `key`, its placeholders filled from `values`.

    With `markdown`, a prefix such as "## " or "", it becomes Markdown in the direction of the language. Raises
    `TextsError` for a placeholder that `values` lacks.
    """
    text = whole_text(texts, key, values)
    if markdown is None:
        return fill(text, values.__getitem__)
    return fill_markdown(in_direction(markdown + text, values["direction"]).rstrip("\n"), values)


def fill_markdown(markdown: str, values: Mapping[str, Any]) -> str:
    """Return Markdown with its placeholders filled, and what people have typed escaped."""
    return fill(markdown, lambda name: as_typed(values[name]) if name in TYPED else values[name])


def in_direction(markdown: str, direction: str) -> str:
    """Return Markdown in `direction` ("ltr" or "rtl"), for pages that are shown left to right.

    In right-to-left text, code stays left to right.
    """
    if direction != "rtl":
        return markdown
    return f'<div dir="rtl">\n\n{code_in_direction(markdown, direction).strip()}\n\n</div>\n\n'


def _left_to_right(code: re.Match[str]) -> str:
    if code["fence"]:
        return f'{code["indent"]}<div dir="ltr">\n\n{code[0]}\n\n{code["indent"]}</div>'
    return f'<span dir="ltr">{code[0]}</span>'


def fill_page(page: Path, texts: Mapping[str, object], values: Mapping[str, Any]) -> str:
    """Return the content of a file, filled; raise `TextsError` for a text or a value that does not exist."""

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

    markdown = _IF.sub(keep, page.read_text(encoding="utf-8"))
    # Texts come first and values last, so that a value cannot be taken for a mark or a placeholder.
    markdown = _TEXT.sub(
        lambda match: match[0] if file_name(match[1]) else whole_text(texts, match[1], values), markdown
    )
    markdown = _NATIVE.sub(lambda match: in_direction(match[1], values["direction"]), markdown)
    return fill(markdown, value)


def fingerprint(page: str) -> str:
    """Return a hash of a page that tells whether a person has edited it.

    Line ends and the parts that `export.py` fills do not count.
    """
    page = page.replace("\r\n", "\n").rstrip("\n")
    for name in MARKED:
        page = _marked(name).sub(r"\1\2", page)
    return hashlib.sha256(page.encode("utf-8", "surrogatepass")).hexdigest()


def _marked(name: str) -> re.Pattern[str]:
    return re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)


def fill_marked(page: str, name: str, content: str) -> str:
    """Return a page with `content` between `<!-- name -->` and `<!-- end name -->`; raise `TextsError` without them."""
    filled, count = _marked(name).subn(lambda match: f"{match[1]}{content.rstrip()}\n{match[2]}", page, count=1)
    if not count:
        marks = f"<!-- {name} --> and <!-- end {name} -->"
        raise TextsError(f"The page has lost its lines {marks}. Put them back.")
    return filled
