"""The Markdown of an answer as HTML, by markdown-it alone; `rendering.py` cleans the result once more.

A prompt is shown as written. Of an answer's Markdown, emphasis, headings, lists, tables and code are rendered; an image
is shown as its words and address. HTML, links, formulas, quotations and strikethrough are not, so people read what the
dataset holds.

The template uses this module, too: it renders the practice cards of the voting page where nh3 is not installed.
"""

import functools
import html
import re
from collections.abc import Callable, Sequence
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

TABLE = '<table border="1" cellpadding="6" cellspacing="0">'
"""The start tag of a table, for pages whose style gives tables no lines; elsewhere replace it by `<table>`."""
_ESCAPABLE = "*_`#+-."

# Letters of right-to-left scripts, and all letters.
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_LETTER = re.compile(r"[^\W\d_]")

# Ignored when the rendered words are compared with the answer.
_MARKS = re.compile(r"[\s*_`#|+.\-:~\\!\[\]()\"']")
_NUMBER = re.compile(r'<li value="(\d+)">')
_LONG_NUMBER = re.compile(r'<li value="\d{4}')
_TAG = re.compile(r"<[^>]*>")


def to_html(answer: str, clean: Callable[[str], str] = str) -> str:
    """Return an answer as HTML: one `<div>` without scripts, styles, links or external content.

    It is shown as written if rendering would hide a word: a table row with more cells than its head, or a list number
    of four digits, which a page cuts off. `clean` gets the rendered Markdown before it is compared with the answer.
    """
    answer = _printable(answer)
    direction = "rtl" if 2 * len(_RIGHT_TO_LEFT.findall(answer)) > len(_LETTER.findall(answer)) else "ltr"
    shown = clean(_markdown().render(answer)).strip()
    if _LONG_NUMBER.search(shown) or _MARKS.sub("", _words(shown)) != _MARKS.sub("", answer):
        shown = "".join(f"<p>{as_written(part)}</p>" for part in re.split(r"\n{2,}", answer)).replace("\n", "<br>")
    return f'<div dir="{direction}">{shown}</div>'


def as_written(text: str) -> str:
    """Return a text as HTML, escaped; the page has to keep line ends and spaces."""
    return html.escape(_printable(text), quote=False)


def _printable(text: str) -> str:
    """Replace characters that HTML cannot contain."""
    return re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _words(shown: str) -> str:
    """Return the text of rendered HTML, including list numbers."""
    return html.unescape(_TAG.sub("", _NUMBER.sub(r"\1", shown)))


def _escaped(text: str) -> str:
    """Return a text as it stands in HTML that was parsed and written again (WHATWG's serialisation)."""
    return as_written(text).replace("\u00a0", "&nbsp;")


class _Renderer(RendererHTML):
    def text(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return _escaped(tokens[idx].content)

    def code_inline(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f"<code>{_escaped(tokens[idx].content)}</code>"

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        texts = [str(token.attrGet(name) or "") for name in ("src", "title")]
        return " ".join(filter(None, [self.renderInline(token.children or [], options, env), *map(_escaped, texts)]))

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        info = _escaped(tokens[idx].info.strip())
        return (f"<p><small>{info}</small></p>" if info else "") + self.code_block(tokens, idx, options, env)

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f'<pre dir="ltr"><code class="hljs">{_escaped(tokens[idx].content)}</code></pre>'

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return TABLE

    def th_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return f"<{tokens[idx].tag}>"  # without the alignment, which is a style

    td_open = th_open

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
