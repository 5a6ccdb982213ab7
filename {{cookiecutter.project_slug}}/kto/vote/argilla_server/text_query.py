"""What people type into the search box, and whether a text answers it.

Two words must both be there; `a | b` wants either, `-word` wants it absent, `"two words"` wants them side by side and
`begin*` wants a word that begins so. Operators apply from left to right, as in Elasticsearch's simple query string,
which Argilla's search box was made for.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

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


@dataclass(frozen=True)
class _Part:
    either: bool  # joined by | to what is left of it
    negated: bool
    prefix: bool
    tokens: tuple[str, ...]


@functools.lru_cache(maxsize=256)
def _parse(query: str) -> tuple[_Part, ...]:
    parts: list[_Part] = []
    either = False
    for match in _PART.finditer(query):
        word = match["word"] or ""
        found = tokens(fold(match["phrase"] or word))
        if found:
            negated = match["negated"] == "-" or word.startswith("-")
            parts.append(_Part(either and bool(parts), negated, word.endswith("*"), tuple(found)))
        either = match["or"] is not None
    return tuple(parts)


def matches(query: str, texts: Iterable[str]) -> bool:
    """Tell whether `texts` together answer `query`; a query without a single word is answered by nothing."""
    folded = [fold(text) for text in texts]
    document = ""
    result: bool | None = None
    for part in _parse(query):
        # The cheap question first: most texts hold no such letters at all.
        hit = all(any(token in text for text in folded) for token in part.tokens)
        if hit:
            # A line per text, so that no phrase reaches from one into the next.
            document = document or "\n".join(f" {' '.join(tokens(text))} " for text in folded)
            hit = f" {' '.join(part.tokens)}{'' if part.prefix else ' '}" in document
        hit = hit != part.negated
        result = hit if result is None else (result or hit) if part.either else (result and hit)
    return bool(result)
