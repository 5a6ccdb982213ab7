"""`publish/voting/page.json`: all that the voting page shows besides cards and figures, in the community's language.

Rendering makes it, and `check.py pages` makes it anew whenever texts or settings have changed, so nobody edits it. Its
HTML comes from the texts of the project, which are Markdown: HTML in them is text, and links lead to http, https and
mailto only.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from kto.answer_markdown import to_html
from kto.examples import Example, examples
from kto.pages import fill_markdown, whole_text
from kto.questions import Questions
from kto.texts import checked, digits, fill

NAME = "voting/page.json"
"""Where the file is in `publish/`."""
FORMAT = 1
_NOTE = "Made by `uv run check.py pages` of texts.yaml, kto/texts.yaml and the settings: change those, not this file."
_FORMS = {"unsure": "page.unsure", "keys": "page.keys"}
"""What the guidelines say here in place of the texts about Argilla's page."""
_OPEN = ("number", "total", "count", "percent", "url")
"""Placeholders that the page or the terminal fills."""
_FROM_TASK = {
    "question": "task.prompt",
    "answer": "task.answer",
    "comment_help": "task.comment_help",
}
"""Further words of the page: name → key; see also `asked_words`."""


def page_json(texts: Mapping[str, object], values: Mapping[str, Any], asked: Questions) -> str:
    """Return the file from the texts of a project, `numbers` included, its `page_values`, and what people are asked.

    An object with

    - `format`: 1; `note`: how the file comes about
    - `language` (BCP-47 tag) and `direction` ("ltr" or "rtl") of the texts; `digits`: ten of them, from 0 to 9
    - `title`: the name of the project, as text
    - `consent`, `guidelines`: HTML; `consent_version`: 16 hexadecimal digits that change when the consent does
    - `reasons`: vote → names of reasons; `aspects`: name → what can be said about it
    - `words`: name → text; placeholders are open but for the language, the domain and the contact
    - `examples`: objects with `prompt`, `answer` (HTML), `raw` (the answer as text), `vote` and `reason`

    Raises `TextsError` for a text that is missing or has an unknown placeholder.
    """
    consent = _consent(texts, values)
    whole = {
        "format": FORMAT,
        "note": _NOTE,
        "language": values["texts_tag"],
        "direction": values["direction"],
        "digits": digits(texts),
        "title": values["project_name"],
        "consent": _html(consent),
        "consent_version": hashlib.sha256(consent.encode()).hexdigest()[:16],
        "guidelines": _html(fill_markdown(whole_text(texts, "task.guidelines", values, _FORMS), values)),
        "reasons": asked.reasons,
        "aspects": asked.aspects,
        "words": _words(texts, values, asked),
        "examples": [_card(example, values) for example in examples(texts, values)],
    }
    return json.dumps(whole, ensure_ascii=False, indent=1)


def _consent(texts: Mapping[str, object], values: Mapping[str, Any]) -> str:
    """Return the consent and who asks for it, as Markdown."""
    who = "page.who" if values["contact"] else "page.who_unknown"
    title, *paragraphs = (
        whole_text(texts, key, values) for key in ("community.consent_title", "community.consent", who)
    )
    return fill_markdown("\n\n".join((f"## {title}", *paragraphs)), values)


def _words(texts: Mapping[str, object], values: Mapping[str, Any], asked: Questions) -> dict[str, str]:
    section = texts.get("page")
    keys = {name: f"page.{name}" for name in section} if isinstance(section, Mapping) else {}
    known = {**values, **{name: f"{{{name}}}" for name in _OPEN}}
    keys |= _FROM_TASK | asked_words(asked)
    return {name: fill(checked(texts, key, known), known.__getitem__) for name, key in keys.items()}


def asked_words(asked: Questions) -> dict[str, str]:
    """Return the words of reasons and aspects: name → key."""
    keys = {f"reason_{name}": f"task.reason_{name}" for name in asked.all_reasons}
    for name, aspect in asked.aspects.items():
        keys[f"aspect_{name}"] = f"aspects.{name}.short"
        keys |= {f"aspect_{name}_{key}": f"aspects.{name}.{key}" for key in ("question", *aspect)}
    return keys


def _card(example: Example, values: Mapping[str, Any]) -> dict[str, str]:
    prompt, answer, _, why = (fill(text, values.__getitem__) for text in example)
    return {"prompt": prompt, "answer": to_html(answer), "raw": answer, "vote": example.vote, "reason": why}


class _Renderer(RendererHTML):
    """Opens links outside of the page, so that nobody loses the card that they are at."""

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        href = escapeHtml(str(tokens[idx].attrGet("href") or ""))
        return f'<a href="{href}" target="_blank" rel="noopener noreferrer">'


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:
        return url.lower().startswith(("http://", "https://", "mailto:"))


def _html(markdown: str) -> str:
    """Return Markdown as HTML; an image is a link, because the page loads nothing from elsewhere."""
    renderer = _Markdown("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table").disable("image")
    return str(renderer.render(markdown)).strip()
