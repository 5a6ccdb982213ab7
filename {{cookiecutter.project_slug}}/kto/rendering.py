"""Prompts and answers as HTML: what `answer_markdown.py` renders, cleaned by nh3 before a page shows it."""

import re

import nh3

from kto.answer_markdown import TABLE as TABLE
from kto.answer_markdown import as_written as as_written
from kto.answer_markdown import to_html

_TAGS = {
    *("p", "br", "strong", "em", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "pre", "code", "small", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_TABLE_ATTRIBUTES = {"border", "cellpadding", "cellspacing"}
_ATTRIBUTES = {"div": {"dir"}, "li": {"value"}, "pre": {"dir"}, "code": {"class"}, "table": _TABLE_ATTRIBUTES}

# Special in some Markdown: punctuation, addresses, and beginnings of lines.
_SPECIAL = re.compile(
    r"[\\`*_#|~$<>&@=+/^{}\[\]\0-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]|www\."
    r"|^(?:[^\S\n]|[-\u2010-\u2015]|\d+[.)](?:\s|$))",
    re.IGNORECASE | re.MULTILINE,
)


def answer_html(answer: str) -> str:
    """Return an answer as HTML; see `to_html`."""
    return to_html(answer, lambda rendered: nh3.clean(rendered, tags=_TAGS, attributes=_ATTRIBUTES, link_rel=None))


def argilla_answer(answer: str) -> str:
    """Return the content of Argilla's field, whose page reads Markdown, so that people see `answer_html(answer)`.

    Its Markdown keeps a block of HTML up to an empty line, and here is none. An answer without anything special stays
    plain text, which is easier to search and to copy.
    """
    if not _SPECIAL.search(answer):
        return answer
    return answer_html(answer).replace("\n", "&#10;")
