"""The language gate: which language an answer is in (py3langid, and its script), and whether that is the right one.

A wrong “wrong” costs money and loses a good answer, so in doubt an answer is “unchecked”, and so is every answer in a
language that the identifier does not know well. Where a script belongs to one language only, the script decides.
Nothing needs a network. The numbers below were tuned on the texts of the template's own
catalogues and confirmed on news and law in the same languages: benchmarks/language_identification.py.
"""

import functools
import importlib.metadata
import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Increase it when the same answer may get another verdict; remembered verdicts are then ignored.
RULES = 2
MAX_TEXT = 8000  # characters of an answer, and of a prompt, that are read: hostile ones have millions
MIN_LETTERS = 20  # with fewer letters an answer is unchecked; a Chinese letter counts as three, see `_DENSE`
MIN_WRONG = 30  # letters in another language, without names and words of the prompt, before an answer is wrong
PART = 160  # characters of a part, at least: two sentences, enough to tell neighbours apart
MAX_PARTS = 10  # parts of an answer that are identified; of a longer one those that are spread evenly over it
SURE = 0.99  # probability of the wanted language in the whole answer from which its parts are not identified
WRONG = 0.6  # probability of another language from which a part counts as written in it
CLEAR = 0.85  # the same for an answer in another script that the wanted language also has
# How much more likely that language must be than the wanted one, as a logarithm; the second for neighbours, which the
# identifier confuses now and then.
MARGIN, NEAR_MARGIN = math.log(4), math.log(8)
LARGER = 1.5  # an answer is wrong if it has this many times more letters in other languages than in the wanted one
MIN_CHARACTERS = 5  # Chinese characters of the other way of writing before an answer is wrong
SOME_CHINESE = 0.02  # share of the most common Chinese words from which a text without kana is no Japanese list
# Share of kana in what can be Japanese, and in what cannot be Chinese: headings can do without, texts have half.
NO_KANA, MUCH_KANA = 0.1, 0.25
# Share of letters in the wanted script below which an answer is wrong, and from which it can be right.
NO_SCRIPT, MOST_SCRIPT = 0.25, 0.5

# The letters of each script, by its ISO 15924 code, as in a character class.
_SCRIPTS = {
    "Arab": r"\u0600-\u06FF\u0750-\u077F\u0870-\u08FF\uFB50-\uFDFF\uFE70-\uFEFC",
    "Armn": r"\u0530-\u058F\uFB13-\uFB17",
    "Beng": r"\u0980-\u09FF",
    "Cyrl": r"\u0400-\u052F\u1C80-\u1C8F\u2DE0-\u2DFF\uA640-\uA69F",
    "Deva": r"\u0900-\u097F\uA8E0-\uA8FF",
    "Ethi": r"\u1200-\u139F\u2D80-\u2DDF\uAB01-\uAB2E",
    "Geor": r"\u10A0-\u10FF\u1C90-\u1CBF\u2D00-\u2D2F",
    "Grek": r"\u0370-\u03FF\u1F00-\u1FFF",
    "Gujr": r"\u0A80-\u0AFF",
    "Guru": r"\u0A00-\u0A7F",
    "Hani": r"\u3005-\u3007\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\U00020000-\U0003FFFF",
    "Hebr": r"\u0590-\u05FF\uFB1D-\uFB4F",
    "Kana": r"\u3040-\u30FF\u31F0-\u31FF\uFF66-\uFF9F",
    "Khmr": r"\u1780-\u17FF",
    "Knda": r"\u0C80-\u0CFF",
    "Kore": r"\u1100-\u11FF\u3130-\u318F\uA960-\uA97F\uAC00-\uD7FF",
    "Laoo": r"\u0E80-\u0EFF",
    "Latn": r"A-Za-z\u00AA\u00BA\u00C0-\u02FF\u1D00-\u1DBF\u1E00-\u1EFF\uA720-\uA7FF\uFB00-\uFB06\uFF21-\uFF5A",
    "Mlym": r"\u0D00-\u0D7F",
    "Mymr": r"\u1000-\u109F\uA9E0-\uA9FF\uAA60-\uAA7F",
    "Orya": r"\u0B00-\u0B7F",
    "Sinh": r"\u0D80-\u0DFF",
    "Taml": r"\u0B80-\u0BFF",
    "Telu": r"\u0C00-\u0C7F",
    "Thai": r"\u0E00-\u0E7F",
}
_SCRIPTS |= {"Jpan": _SCRIPTS["Kana"] + _SCRIPTS["Hani"], "Hans": _SCRIPTS["Hani"], "Hant": _SCRIPTS["Hani"]}

# Scripts in which the identifier knows one modern language: it could say nothing else, so it is not asked.
_ALONE = {"Armn": "hy", "Ethi": "am", "Geor": "ka", "Grek": "el", "Gujr": "gu", "Guru": "pa", "Hans": "zh"}
_ALONE |= {"Hant": "zh", "Hebr": "he", "Jpan": "ja", "Khmr": "km", "Knda": "kn", "Kore": "ko", "Laoo": "lo"}
_ALONE |= {"Mlym": "ml", "Mymr": "my", "Orya": "or", "Sinh": "si", "Taml": "ta", "Telu": "te", "Thai": "th"}

# The languages in which the identifier was measured, and good: see benchmarks/language_identification.py.
_KNOWN = {
    "Arab": "ar arz fa ps ug ur",
    "Beng": "bn",
    "Cyrl": "ba be bg kk ky mk mn ru sr tg tt uk",
    "Deva": "hi mr ne",
    "Latn": "af az bs ca cs cy da de en eo es et eu fi fo fr ga gl ha hr hu id ig is it lb lt lv mg ms mt nl nn no pl"
    " pt ro rw sk sl so sq sr sv sw tk tl tr uz vi xh yo zu",
}

# The identifier's codes for languages, where they differ.
_CODES = {"nb": "no", "fil": "tl", "cmn": "zh", "iw": "he", "in": "id", "arb": "ar"}

# Languages that the identifier does not tell apart: each of them is right where another one is wanted.
_ONE = ("bs hr sr", "ar ary arz", "uz uzs", "en pcm", "es ext", "fr gcf gcr")
# Neighbours, which the identifier confuses: only a large difference counts.
_NEAR = (
    *("af nl fy", "ast an ca es ext gl oc pt", "be bg mk ru sr uk", "bcl tl", "bn as", "cs sk pl sl"),
    *("da nn no sv fo is", "hi mr ne sa gom", "id ms jv", "it lij vec", "ar ary arz fa ps ur ug sdh ku"),
    *("st nso xh zu", "az ba crh kk ky tk tr tt ug uz uzs"),
)

# Other scripts of a language. Its community uses one; whether another one is acceptable stays unchecked.
_ALSO = {"az": "Cyrl Arab", "bs": "Cyrl", "ha": "Arab", "kk": "Latn Arab", "ky": "Latn Arab", "ms": "Arab"}
_ALSO |= {"pa": "Arab", "sr": "Latn Cyrl", "tg": "Latn Arab", "tk": "Cyrl Arab", "tt": "Latn Arab", "ug": "Latn Cyrl"}
_ALSO |= {"uz": "Latn Cyrl Arab"}

_NONE = "zxx"  # the identifier's code for numbers, markup and the like

_FENCED = re.compile(r"^[ \t>]{0,9}(```|~~~).*?(?:^[ \t>]{0,9}\1|\Z)", re.MULTILINE | re.DOTALL)
_MARKED = re.compile(r"`[^`\n]*`|<[^<>\n]*>|\]\([^()\s]*\)|&#?[A-Za-z0-9]{2,8};")
_CITED = re.compile(r"^[ \t]*>.*$", re.MULTILINE)
_QUOTED = re.compile(
    r"“[^“”\n]{1,600}”|„[^„“”\n]{1,600}[“”]|”[^”\n]{1,600}”|«[^«»\n]{1,600}»|»[^«»\n]{1,600}«"
    r'|「[^「」\n]{1,600}」|『[^『』\n]{1,600}』|《[^《》\n]{1,600}》|(?<!\w)"[^"\n]{1,600}"(?!\w)'
)
# Addresses, names of files, numbers, formulas: a run of ASCII with a sign in it that words do not have. The first part
# takes no sign, and what comes before a run is looked at, so that a long one is read once.
_SIGNS = r"0-9@/\\_={}<>|$#+^~\[\]"
_TECHNICAL = re.compile(rf"(?<![!-~])[^\x00-\x20\x7f-\U0010ffff{_SIGNS}]*+[{_SIGNS}][!-~]*")
# For Python the vowel signs of India and its neighbours are no part of a word.
_LETTERS = re.compile(r"[\u0900-\u0FFF\u1000-\u109F\u1780-\u17FF]+|[^\W\d_]+")
_DENSE = re.compile(rf"[{_SCRIPTS['Jpan']}{_SCRIPTS['Kore']}]")
_LATIN = re.compile(rf"(?<!\w)[{_SCRIPTS['Latn']}]+(?!\w)")
_CHINESE = re.compile("[的了是我你们們这這吗嗎也说說它他她把呢吧]")
_KANA = re.compile(f"[{_SCRIPTS['Kana']}]")


class LanguageCheck(NamedTuple):
    """The language of an answer."""

    verdict: str  # "right", "wrong" or "unchecked"
    language: str  # BCP-47 code of the language that was identified, "" for none
    score: float  # probability of that language, from 0 to 1


UNCHECKED = LanguageCheck("unchecked", "", 0.0)


class Gate:
    """Checks answers for one language. Gates are cheap; the identifier is loaded with the first that needs it.

    `tag` is a BCP-47 tag such as "pt-BR", `script` an ISO 15924 code such as "Latn", "Jpan" or "Hant". Unless
    `supported`, every verdict is "unchecked".
    """

    def __init__(self, tag: str, script: str) -> None:
        self.tag, self.script = tag, script
        # Verdicts with the same name can be reused.
        self.name = f"py3langid {importlib.metadata.version('py3langid')}/{RULES}/{tag}/{script}"
        primary = tag.replace("_", "-").split("-")[0].lower()
        self._code = code = _CODES.get(primary, primary)
        self._by_script = _ALONE.get(script) == code
        self.supported = self._by_script or code in _KNOWN.get(script, "").split()
        if not self.supported:
            return
        self._outside = re.compile(f"[^{_SCRIPTS[script]}]+")
        also = "".join(_SCRIPTS[other] for other in _ALSO.get(code, "").split() if other != script)
        self._also = re.compile(f"[^{also}]+") if also else None
        self._same = {code}.union(*(one.split() for one in _ONE if code in one.split()))
        self._near = set[str]().union(*(near.split() for near in _NEAR if code in near.split())) - self._same

    def check(self, answer: str, prompt: str = "") -> LanguageCheck:
        """Check an answer to a prompt; words that it took from there do not count against it."""
        if not self.supported:
            return UNCHECKED
        text = prose(answer[:MAX_TEXT])
        letters = "".join(_LETTERS.findall(text))
        total = _weight(letters)
        if total < MIN_LETTERS:
            return UNCHECKED
        share = _weight(self._wanted(letters)) / total
        if share >= NO_SCRIPT and not self._by_script:
            return self._by_parts(text, prompt, share)
        check = self._in_other_script(text, letters) if share < NO_SCRIPT else self._by_letters(letters, share)
        return UNCHECKED if check.verdict == "wrong" and _weight(_own_words(text, prompt)) < MIN_WRONG else check

    def _wanted(self, letters: str) -> str:
        """Return the letters of the wanted script."""
        return letters if self.script == "Latn" and letters.isascii() else self._outside.sub("", letters)

    def _in_other_script(self, text: str, letters: str) -> LanguageCheck:
        """Check an answer that has next to no letters of the wanted script."""
        language, score = max(_identify(text[: PART * MAX_PARTS]).items(), key=lambda item: item[1])
        also = self._also is not None and 2 * len(self._also.sub("", letters)) > len(letters)
        # In its other script the identifier may know the language, or take it for a neighbour of it.
        if also and (language in self._same | self._near or score < CLEAR):
            return UNCHECKED
        known = score >= WRONG and language not in self._same and language != _NONE
        return LanguageCheck("wrong", language if known else "", score if known else 0.0)

    def _by_letters(self, letters: str, share: float) -> LanguageCheck:
        """Check an answer of which a good part is in a script that belongs to the wanted language alone."""
        if self.script in ("Hans", "Hant", "Jpan"):
            kana = len(_KANA.findall(letters)) / len(letters)
            if self.script == "Jpan" and kana < NO_KANA:
                # A list of places has none either, but it has no words such as “is” and “you” in Chinese.
                chinese = len(_CHINESE.findall(letters)) / len(letters)
                return LanguageCheck("wrong", "zh", share) if kana < 0.01 and chinese > SOME_CHINESE else UNCHECKED
            if self.script != "Jpan" and kana > MUCH_KANA:
                return LanguageCheck("wrong", "ja", min(1.0, 2 * kana))
        if share < MOST_SCRIPT:
            return UNCHECKED
        if self.script not in ("Hans", "Hant"):
            return LanguageCheck("right", self._code, share)
        han = self._outside.sub("", letters)
        # The old code pages of the mainland and of Taiwan tell which characters exist in one of the two ways only.
        simple, full = (han.encode(page, "ignore").decode(page) for page in ("gb2312", "big5"))
        simplified = len(simple) - len(simple.encode("big5", "ignore")) // 2
        traditional = len(full) - len(full.encode("gb2312", "ignore")) // 2
        ours, theirs = (simplified, traditional) if self.script == "Hans" else (traditional, simplified)
        if theirs <= ours:
            return LanguageCheck("right", f"zh-{self.script}", share)
        if theirs >= MIN_CHARACTERS and theirs >= 4 * ours:
            return LanguageCheck("wrong", "zh-Hant" if self.script == "Hans" else "zh-Hans", theirs / (ours + theirs))
        return UNCHECKED

    def _by_parts(self, text: str, prompt: str, share: float) -> LanguageCheck:
        """Check an answer by what the identifier says of it, and of each of its parts if that is not clear."""
        parts = _parts(text)
        whole = self._most_likely("\n".join(parts))
        language, score, lead = whole
        if lead < 0 and score >= SURE and share >= MOST_SCRIPT:
            return LanguageCheck("right", language, score)
        # Letters, and letters times probability, by language; those in the wanted language under "".
        letters: dict[str, float] = defaultdict(float)
        weighted: dict[str, float] = defaultdict(float)
        own = ""
        for part in parts:
            language, score, lead = self._most_likely(part) if len(parts) > 1 else whole
            if lead < 0:
                own, counted, language = language, "".join(_LETTERS.findall(part)), ""
            elif language != _NONE and score >= WRONG and lead >= (NEAR_MARGIN if language in self._near else MARGIN):
                counted = _own_words(part, prompt)
            else:
                continue
            letters[language] += _weight(counted)
            weighted[language] += _weight(counted) * score
        ours = letters.pop("", 0.0)
        theirs = sum(letters.values())
        if theirs >= MIN_WRONG and theirs >= LARGER * ours:
            most = max(letters, key=lambda code: (letters[code], code))
            return LanguageCheck("wrong", most, weighted[most] / letters[most])
        if ours and ours >= theirs:
            return LanguageCheck("right", own, weighted[""] / ours)
        return UNCHECKED

    def _most_likely(self, part: str) -> tuple[str, float, float]:
        """Return the most likely language, its probability, and the logarithm of how many times that of the wanted one.

        The last one is negative if the wanted language is the most likely.
        """
        if self.script != "Latn" and (latin := "".join(_LATIN.findall(part))):
            wanted = len(self._wanted("".join(_LETTERS.findall(part))))
            if wanted >= len(latin):  # otherwise names and terms decide what the sentence is
                part = _LATIN.sub(" ", part)
        seen = _identify(part)
        ours = {code: seen.pop(code) for code in self._same if code in seen}
        own = min(1.0, sum(ours.values()))
        other, score = max(seen.items(), key=lambda item: item[1])
        if own >= score:
            return max(ours, key=lambda code: ours[code]), own, -1.0
        return other, score, math.log(score / max(own, 1e-9))


def prose(text: str) -> str:
    """Return a text without what is in no language or not the author's own: code, addresses, numbers, quotations."""
    text = _CITED.sub("", _MARKED.sub(" ", _FENCED.sub("\n", text)))
    return _TECHNICAL.sub(" ", _QUOTED.sub(" ", text))


def _parts(text: str) -> list[str]:
    """Return the text in parts of whole lines, long lines cut at a space; at most `MAX_PARTS`, spread over the text."""
    parts = [""]
    for line in text.splitlines():
        while len(line) > 3 * PART:
            space = line.rfind(" ", PART, 2 * PART)
            cut = space if space > 0 else 2 * PART
            parts.append(line[:cut])
            line = line[cut:]
        if len(parts[-1]) >= PART or (len(line) >= PART and len(parts[-1]) >= PART // 4):
            parts.append("")
        parts[-1] = f"{parts[-1]}\n{line}" if parts[-1] else line
    parts = [part for part in parts if part]
    return [parts[index * len(parts) // MAX_PARTS] for index in range(MAX_PARTS)] if len(parts) > MAX_PARTS else parts


def _own_words(text: str, prompt: str) -> str:
    """Return the letters of the words that count against an answer: no names, and none that the prompt has."""
    asked = set(_LETTERS.findall(prompt[:MAX_TEXT].casefold()))
    # Names of films, dishes and people may be in any language; they begin with a capital letter.
    words = (word for word in _LETTERS.findall(text) if not word[0].isupper())
    return "".join(word for word in words if word.casefold() not in asked)


def _weight(letters: str) -> int:
    """Return the number of letters; those of scripts that say more with one count as three."""
    return len(letters) if letters.isascii() else len(letters) + 2 * len(_DENSE.findall(letters))


def _identify(text: str) -> dict[str, float]:
    """Return the probability of each language that the identifier knows."""
    return dict(_identifier().rank(text))


@functools.cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # takes most of a second and 90 MB

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
