"""Parses what people type into the search box, and matches it against texts.

Two words must both be there; `a | b` wants either, `-word` wants it absent, `"two words"` wants them side by side and
`begin*` wants a word that begins so. Operators apply from left to right, as in Elasticsearch's simple query string,
which Argilla's search box was made for.
"""

import re
import unicodedata
from collections.abc import Iterable

# Scripts written without spaces between words, and pictures: every character is a token, so that any stretch of a
# text is found: Thai, Lao, Tibetan, Myanmar, Khmer, Tai, kana, Han, Hangul, emoji.
_UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u2600-\u27bf\u3005-\u3007\u3040-\u312f"
    "\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaadf\uac00-\ud7a3\uf900-\ufaff"
    "\U0001f300-\U0001faff\U00020000-\U0003ffff]"
)


class _Spacing(dict[int, str]):
    """For `str.translate`: spaces around and instead of characters, so that `split` finds the tokens."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        if _UNSPACED.match(character):
            self[code] = f" {character} "
        else:
            # Marks are part of a word: most vowels of the scripts of South Asia are marks.
            word = unicodedata.category(character)[0] in "LMN" or character == "_"
            self[code] = character if word else " "
        return self[code]


_SPACING = _Spacing()

# Joiners, soft hyphens and direction marks are inside words and say nothing about which word it is.
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u200c-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")

_PART = re.compile(r'(?P<negated>-?)"(?P<phrase>[^"]*)"?|(?P<or>\|)|(?P<word>[^\s|"]+)')


def fold(text: str) -> str:
    """Make texts that differ only in case or in the encoding of an accent equal (Unicode standard, D145)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", _INVISIBLE.sub("", text)).casefold())


def tokens(text: str) -> list[str]:
    """Split folded `text` into words; in scripts without spaces every character is one."""
    return text.translate(_SPACING).split()


def matches(query: str, texts: Iterable[str]) -> bool:
    """Tell whether `texts` together answer `query`; a query without a single word is answered by nothing."""
    folded = [fold(text) for text in texts]
    document = ""
    result: bool | None = None
    either = False
    for part in _PART.finditer(query):
        word = part["word"] or ""
        if wanted := tokens(fold(part["phrase"] or word)):
            # The cheap question first: most texts hold no such letters at all.
            hit = all(any(token in text for text in folded) for token in wanted)
            if hit:
                # A line per text, so that no phrase reaches from one into the next.
                document = document or "\n".join(f" {' '.join(tokens(text))} " for text in folded)
                hit = f" {' '.join(wanted)}{'' if word.endswith('*') else ' '}" in document
            if part["negated"] or word.startswith("-"):
                hit = not hit
            if result is not None:
                hit = result or hit if either else result and hit
            result = hit
        either = part["or"] is not None
    return bool(result)
