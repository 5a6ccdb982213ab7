"""Prompts and answers as HTML.

A prompt is shown as written. Of an answer's Markdown, emphasis, headings, lists, tables and code are rendered; an image
is shown as its words and address. HTML, links, formulas, quotations and strikethrough are not, so people read what the
dataset holds.
"""

import functools
import html
import re
from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_TAGS = {
    *("p", "br", "strong", "em", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "pre", "code", "small", "div"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
_TABLE_ATTRIBUTES = {"border", "cellpadding", "cellspacing"}
_ATTRIBUTES = {"div": {"dir"}, "li": {"value"}, "pre": {"dir"}, "code": {"class"}, "table": _TABLE_ATTRIBUTES}
TABLE = '<table border="1" cellpadding="6" cellspacing="0">'
"""The start tag of a table, for pages whose style gives tables no lines; elsewhere replace it by `<table>`."""
_ESCAPABLE = "*_`#+-."

# Letters of right-to-left scripts, and all letters.
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_LETTER = re.compile(r"[^\W\d_]")

# Ignored when the rendered words are compared with the answer.
_MARKS = re.compile(r"[\s*_`#|+.\-:~\\!\[\]()\"']")

# Special in some Markdown: punctuation, addresses, and beginnings of lines.
_SPECIAL = re.compile(
    r"[\\`*_#|~$<>&@=+/^{}\[\]\0-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]|www\."
    r"|^(?:[^\S\n]|[-\u2010-\u2015]|\d+[.)](?:\s|$))",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r'<li value="(\d+)">')
_LONG_NUMBER = re.compile(r'<li value="\d{4}')
_TAG = re.compile(r"<[^>]*>")


def answer_html(answer: str) -> str:
    """Return an answer as HTML: one `<div>` without scripts, styles, links or external content.

    It is shown as written if rendering would hide a word: a table row with more cells than its head, or a list number
    of four digits, which a page cuts off.
    """
    answer = _printable(answer)
    direction = "rtl" if 2 * len(_RIGHT_TO_LEFT.findall(answer)) > len(_LETTER.findall(answer)) else "ltr"
    shown = nh3.clean(_markdown().render(answer), tags=_TAGS, attributes=_ATTRIBUTES, link_rel=None).strip()
    if _LONG_NUMBER.search(shown) or _MARKS.sub("", _words(shown)) != _MARKS.sub("", answer):
        shown = "".join(f"<p>{as_written(part)}</p>" for part in re.split(r"\n{2,}", answer)).replace("\n", "<br>")
    return f'<div dir="{direction}">{shown}</div>'


def argilla_answer(answer: str) -> str:
    """Return the content of Argilla's field, whose page reads Markdown, so that people see `answer_html(answer)`.

    Its Markdown keeps a block of HTML up to an empty line, and here is none. An answer without anything special stays
    plain text, which is easier to search and to copy.
    """
    if not _SPECIAL.search(answer):
        return answer
    return answer_html(answer).replace("\n", "&#10;")


def as_written(text: str) -> str:
    """Return a text as HTML, escaped; the page has to keep line ends and spaces."""
    return html.escape(_printable(text), quote=False)


def _printable(text: str) -> str:
    """Replace characters that HTML cannot contain."""
    return re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _words(shown: str) -> str:
    """Return the text of rendered HTML, including list numbers."""
    return html.unescape(_TAG.sub("", _NUMBER.sub(r"\1", shown)))


class _Renderer(RendererHTML):
    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        texts = [str(token.attrGet(name) or "") for name in ("src", "title")]
        return " ".join(filter(None, [self.renderInline(token.children or [], options, env), *map(as_written, texts)]))

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        info = as_written(tokens[idx].info.strip())
        return (f"<p><small>{info}</small></p>" if info else "") + self.code_block(tokens, idx, options, env)

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<pre dir="ltr"><code class="hljs">{as_written(tokens[idx].content)}</code></pre>'

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return TABLE

    def list_item_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        number = tokens[idx].info  # as written: "3. … 7. …" are not 3 and 4
        return f'<li value="{number}">' if number else "<li>"


class _Markdown(MarkdownIt):
    """Keeps the addresses of images as written; they are not links."""

    def normalizeLink(self, url: str) -> str:
        return url

    def validateLink(self, url: str) -> bool:
        return True


def _escape(state: StateInline, silent: bool) -> bool:
    """Read `\\*` as a literal star; before other characters a backslash is literal."""
    following = state.src[state.pos + 1 : state.pos + 2]
    if state.src[state.pos] != "\\" or not following or following not in _ESCAPABLE:
        return False
    if not silent:
        state.pending += following
    state.pos += 2
    return True


def _times(state: StateInline, silent: bool) -> bool:
    """Read the stars in 2*3*4 and 10**6 as literal."""
    stars = re.compile(r"\*+(?=\d)").match(state.src, state.pos)
    if not stars or not state.src[state.pos - 1 : state.pos].isdigit():
        return False
    if not silent:
        state.pending += stars[0]
    state.pos = stars.end()
    return True


@functools.cache
def _markdown() -> MarkdownIt:
    markdown = _Markdown("zero", {"breaks": True}, renderer_cls=_Renderer)
    markdown.enable(["heading", "list", "table", "fence", "code"])
    markdown.enable(["newline", "emphasis", "backticks", "image", "balance_pairs", "fragments_join"])
    markdown.inline.ruler.before("emphasis", "times", _times)
    markdown.inline.ruler.before("emphasis", "literal", _escape)
    return markdown
