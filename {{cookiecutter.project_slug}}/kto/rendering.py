"""What people read: prompts and answers as HTML.

A prompt is shown as it was written. Models write Markdown: emphasis, headings, lists, tables and code of an answer are
shown as such; a picture is the words and the address it was written with. Nothing else has a meaning, neither HTML nor
links, formulas, quotations or strikethrough, so whatever an answer says, people read what the dataset holds.
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
_ATTRIBUTES = {
    "div": {"dir"},
    "li": {"value"},
    "pre": {"dir"},
    "code": {"class"},
    "table": {"border", "cellpadding", "cellspacing"},
}
TABLE = '<table border="1" cellpadding="6" cellspacing="0">'
"""How a table begins, for a page that gives tables no lines. Where a page does, put `<table>` in its place."""
_MEANING = "*_`#+-."  # what a backslash before it takes the meaning of

# Letters of scripts from right to left, and all others.
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_LETTER = re.compile(r"[^\W\d_]")

# What Markdown is made of; what a person sees is compared without it.
_MARKS = re.compile(r"[\s*_`#|+.\-:~\\!\[\]()\"']")

# What may have a meaning in some Markdown: signs, addresses, and how a line begins.
_MAY_MEAN = re.compile(
    r"[\\`*_#|~$<>&@=+/^{}\[\]\0-\x09\x0b-\x1f\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]|www\."
    r"|^(?:[^\S\n]|[-\u2010-\u2015]|\d+[.)](?:\s|$))",
    re.IGNORECASE | re.MULTILINE,
)
_NUMBER = re.compile(r'<li value="(\d+)">')
_LONG_NUMBER = re.compile(r'<li value="\d{4}')
_TAG = re.compile(r"<[^>]*>")


def answer_html(answer: str) -> str:
    """Return an answer as HTML: one `<div>` without scripts, styles, links or anything from elsewhere.

    Where a word would not be seen (a row of a table has more cells than its head; a page cuts off the number of a
    list's item that is a year), all of it is shown as it was written.
    """
    answer = _printable(answer)
    direction = "rtl" if 2 * len(_RIGHT_TO_LEFT.findall(answer)) > len(_LETTER.findall(answer)) else "ltr"
    shown = nh3.clean(_markdown().render(answer), tags=_TAGS, attributes=_ATTRIBUTES, link_rel=None).strip()
    if _LONG_NUMBER.search(shown) or _MARKS.sub("", _words(shown)) != _MARKS.sub("", answer):
        shown = "".join(f"<p>{as_written(part)}</p>" for part in re.split(r"\n{2,}", answer)).replace("\n", "<br>")
    return f'<div dir="{direction}">{shown}</div>'


def argilla_answer(answer: str) -> str:
    """Return what Argilla's field holds, which its page takes for Markdown, so that people see `answer_html(answer)`.

    Its Markdown hands a block of HTML on as it is up to an empty line: here is none. An answer in which nothing has a
    meaning, here or there, stays itself, which is easier to search and to copy.
    """
    if not _MAY_MEAN.search(answer):
        return answer
    return answer_html(answer).replace("\n", "&#10;")


def as_written(text: str) -> str:
    """Return a text as HTML in which nothing has a meaning; line ends and spaces are to be kept where it is shown."""
    return html.escape(_printable(text), quote=False)


def _printable(text: str) -> str:
    """Return a text without the characters that no page can hold."""
    return re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _words(shown: str) -> str:
    """Return the text of HTML that `answer_html` makes, the numbers of its lists included."""
    return html.unescape(_TAG.sub("", _NUMBER.sub(r"\1", shown)))


class _Renderer(RendererHTML):
    """Markdown-it's own, for what this page shows in another way."""

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
        number = tokens[idx].info  # as it was written: "3. … 7. …" are no 3 and 4
        return f'<li value="{number}">' if number else "<li>"


class _Markdown(MarkdownIt):
    """Addresses of pictures stay as they were written; they lead nowhere."""

    def normalizeLink(self, url: str) -> str:
        return url

    def validateLink(self, url: str) -> bool:
        return True


def _escape(state: StateInline, silent: bool) -> bool:
    """Read `\\*` as a star that means nothing; before other characters a backslash is a backslash."""
    following = state.src[state.pos + 1 : state.pos + 2]
    if state.src[state.pos] != "\\" or not following or following not in _MEANING:
        return False
    if not silent:
        state.pending += following
    state.pos += 2
    return True


def _times(state: StateInline, silent: bool) -> bool:
    """Read the stars of 2*3*4 and 10**6 as signs."""
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
    markdown.inline.ruler.before("emphasis", "meaningless", _escape)
    return markdown
