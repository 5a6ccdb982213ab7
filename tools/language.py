"""Begin the catalogue of a language, or check it: `python3 start.py language TAG`.

Without `languages/TAG.yaml` it makes the file, with facts about the language and English texts. Otherwise it lists
everything that is missing or wrong, each with its key and what to do.
"""

import collections
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import yaml
from cookiecutter.exceptions import FailedHookException

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from local_extensions import languages  # noqa: E402
from local_extensions.languages import flat  # noqa: E402

LANGUAGES = REPOSITORY / "languages"
PLACEHOLDER = languages.project_module("pages").PLACEHOLDER
FILES = {f"file.{name}" for name in languages.project_module("pages").FILES}
CODE = re.compile(
    r"`[^`\n]+`|https?://[\w./:-]+|--[a-z]+(?:-[a-z]+)*|(?<![\w.])[\w/-]+\.(?:py|toml|yaml|md|csv|txt|ipynb)\b|\\n"
)
IDENTIFIER = re.compile(
    r"[A-Za-z0-9]*[_./:<>=-][A-Za-z0-9_./:<>=-]*|\b[A-Z]{2,}\b|\b(?:true|false|uv run|train|test)\b"
)
INVISIBLE = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")
NAMES = re.compile(
    r"\b(Argilla|Hub|Ray|Space|Docker|Discord|KTO|PRO|Team|Enterprise|Python|JSONL?|TOML|YAML|CSV|TRL|UTF-8|Ctrl-C|HF|API|GB"
    r"|Make calls to Inference Providers|Discard|Save as draft|Submit|Enter|README|Krippendorff|Latn)\b"
)
QUOTED = re.compile(r"[“„«”‘「『][ -~]+[”“»’」』]|\"[ -~]+\"")
# A script of ISO 15924 that is written with several scripts of Unicode, or one with another name there
SCRIPTS = {
    "Beng": "BENGALI", "Cyrl": "CYRILLIC", "Deva": "DEVANAGARI", "Ethi": "ETHIOPIC", "Geor": "GEORGIAN",
    "Grek": "GREEK", "Gujr": "GUJARATI", "Guru": "GURMUKHI", "Armn": "ARMENIAN", "Hebr": "HEBREW", "Khmr": "KHMER",
    "Knda": "KANNADA", "Laoo": "LAO", "Latn": "LATIN", "Mlym": "MALAYALAM", "Mymr": "MYANMAR", "Orya": "ORIYA",
    "Sinh": "SINHALA", "Taml": "TAMIL", "Telu": "TELUGU", "Thai": "THAI", "Tibt": "TIBETAN", "Arab": "ARABIC",
    "Hans": "CJK", "Hant": "CJK", "Hani": "CJK", "Jpan": "CJK HIRAGANA KATAKANA KATAKANA-HIRAGANA",
    "Kore": "HANGUL CJK", "Hang": "HANGUL", "Tfng": "TIFINAGH", "Nkoo": "NKO", "Adlm": "ADLAM", "Cher": "CHEROKEE",
    "Cans": "CANADIAN", "Mong": "MONGOLIAN", "Syrc": "SYRIAC", "Thaa": "THAANA",
}  # fmt: skip
HEADER = (
    "tag",
    "autonym",
    "english_name",
    "iso",
    "script",
    "direction",
    "numbers",
    "drafted_by",
    "reviewed_by",
    "reviewed",
)
SECTIONS = {
    key: type(value)
    for key, value in yaml.safe_load((LANGUAGES / "en.yaml").read_text(encoding="utf-8")).items()
    if key != "language"
}
SAME = 10
"""At most this many texts of one or two words may be the same as in English."""
SHORT = 60
"""Maximum length of a Space's short description on the Hub."""
ROW = re.compile(r"examples\.rows\.\d+\.(question|answer|vote|why)")
"""Keys of the worked examples, of which a language may have more than English."""
EXAMPLES = 6
"""Fewest worked examples."""
BUTTONS = {
    **dict.fromkeys(("vote_good", "vote_bad", "vote_skip"), 14),
    **dict.fromkeys(("undo", "next", "back", "save", "menu", "add_comment"), 12),
    **dict.fromkeys(("raw", "copy", "practise_again"), 20),
}
"""Most columns of a button's text on a screen that is 320 px wide; wide letters take two."""
THUMB_WORD = 10
"""Most columns of one word on the three buttons that stand side by side."""


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, which YAML forbids and PyYAML accepts."""


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict:
    if not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        hint = "a text that begins with a brace goes in quotation marks"
        raise yaml.constructor.ConstructorError(None, None, hint, node.start_mark)
    keys = [key.value for key, _ in node.value]
    for key, count in collections.Counter(keys).items():
        if count > 1:
            raise yaml.constructor.ConstructorError(None, None, f"“{key}” stands there twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def prose(text: str) -> str:
    """Return a text without the parts that no language translates: code, names, placeholders, quoted words."""
    for pattern in (QUOTED, PLACEHOLDER, CODE, NAMES, IDENTIFIER):
        text = pattern.sub("", text)
    return text


def letters_of(text: str) -> list[str]:
    """Return the Unicode script (first word of the character's name) of each letter and mark in the prose of a text."""
    names = [unicodedata.name(char, "") for char in prose(text) if unicodedata.category(char)[0] in "LM"]
    return [name.split()[0] for name in names if name and not name.startswith(("COMBINING", "VARIATION", "ZERO"))]


def parents(tag: str) -> list[str]:
    """Return the catalogues, other than English, that complete this one."""
    return [each for each in languages.facts_of(tag).texts if each not in (tag, "en")]


def is_optional(key: str) -> bool:
    """Return whether a complete catalogue may lack this text."""
    return key.startswith("language.") or bool(languages.RARE.match(key))


def without_rare(text: str) -> str:
    """Return the sections of en.yaml without the texts that may stay in English."""
    kept: list[str] = []
    comments: list[str] = []  # of the text that follows
    section, rare = "", False
    for line in text.split("\n"):
        if line.startswith("  #"):
            comments.append(line)
            continue
        if match := re.match(r"([a-z_]+):", line):
            section, rare = match[1], False
        elif match := re.match(r"  ([a-z0-9_]+):", line):
            rare = bool(languages.RARE.match(f"{section}.{match[1]}"))
        elif line.startswith("#"):
            rare = False
        if not rare:
            kept += [*comments, line]
        comments = []
    return re.sub(r"(?m)(?:^#.*\n)*^[a-z_]+:\n+(?=#|[a-z_]+:)", "", "\n".join(kept))


def _is_short(key: str, text: str) -> bool:
    return (
        not key.startswith("language.")
        and not ROW.fullmatch(key)
        and len(re.findall(r"[^\W\d_]{2,}", prose(text))) in (1, 2)
    )


def check(tag: str, folder: Path = LANGUAGES) -> list[str]:
    """Return the problems of `<folder>/<tag>.yaml`: file name, key, what to do."""
    file = f"languages/{tag}.yaml"
    english = dict(flat(yaml.safe_load((LANGUAGES / "en.yaml").read_text(encoding="utf-8"))))
    try:
        content = yaml.load((folder / f"{tag}.yaml").read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        hint = "correct that line; a text with a colon goes in quotation marks"
        return [f"{file}: cannot be read ({' '.join(str(error).split())}): {hint}"]
    if not isinstance(content, dict):
        return [f"{file}: is not a list of names and texts: remove the file, then begin it anew"]
    problems = [f"{key}: has a dot in its name: put it into its section" for key in content if "." in str(key)]
    for key, kind in SECTIONS.items():
        if key in content and not isinstance(content[key], kind):
            problems.append(f"{key}: has another shape than in en.yaml: write it as there")
    if problems:
        return [f"{file}: {problem}" for problem in problems]
    texts, header = dict(flat(content)), content.get("language")
    header = header if isinstance(header, dict) else {}
    problems += [
        f"{key}: is not in en.yaml: remove it"
        for key in texts
        if key not in english and not key.startswith("language.") and not ROW.fullmatch(key)
    ]
    if not parents(tag):
        missing = (key for key in english if key not in texts and not is_optional(key))
        problems += [f"{key}: is missing: translate it from en.yaml" for key in missing]
    problems += _header(tag, header)
    for key, text in texts.items():
        if ROW.fullmatch(key):  # examples are not translated: who writes them chooses where the language is named
            named = PLACEHOLDER.findall(str(text)).count("language")
            problems += [f"{key}: {problem}" for problem in _text(text, "{language}" * named, header, key)]
            if key.endswith(".question") and text == english.get(key) and header.get("iso") != "en":
                problems.append(f"{key}: is in English: write one that people there would ask")
        elif key in english and not key.startswith("language."):
            problems += [f"{key}: {problem}" for problem in _text(text, str(english[key]), header, key)]
    problems += _whole(content)
    # A few words may be the same in two languages; more are not translated yet.
    short = [key for key, text in texts.items() if text == english.get(key) and _is_short(key, str(text))]
    if header.get("iso") != "en" and len(short) > SAME:
        problems += [f"{key}: is in English: translate it" for key in short]
    return [f"{file}: {problem}" for problem in problems]


def _header(tag: str, header: dict) -> Iterator[str]:
    facts = languages.facts_of(tag)
    variant = "-" in tag
    for name in HEADER:
        if header.get(name) in (None, "", "FILL IN"):
            yield f"language.{name}: is to be filled in; docs/adding-a-language.md says how"
    wanted = {"tag": tag, "iso": facts.iso, "script": facts.script, "direction": facts.direction}
    if not variant:
        wanted["english_name"] = languages.subtags()[facts.iso][0]
    for name, value in wanted.items():
        if header.get(name) not in (None, "", "FILL IN", value):
            yield f"language.{name}: is {header.get(name)}: write {value}"
    numbers = header.get("numbers")
    shown = isinstance(numbers, list) and all(isinstance(text, str) for text in numbers)
    if numbers not in (None, "", "FILL IN") and not (
        shown
        and [_digits(text) for text in numbers] == ["1234", "12345678"]
        and all(re.fullmatch(r"\d.*\d", text) for text in numbers)
        and re.fullmatch(r".*\d\D+\d", numbers[1])
    ):
        example = '["1234", "1.234.567,8"]'
        yield f"language.numbers: write how 1234 and 1234567.8 look, in quotation marks, for example {example}"
    if not isinstance(header.get("reviewed"), bool):
        yield "language.reviewed: write true or false"
    elif header["reviewed"] and header.get("reviewed_by") in (None, "", "nobody yet"):
        yield "language.reviewed_by: write who reviewed it, or reviewed: false"


def _digits(text: object) -> str:
    return "".join(str(unicodedata.decimal(char)) for char in str(text) if unicodedata.category(char) == "Nd")


def _text(text: object, english: str, header: dict, key: str) -> Iterator[str]:
    if not isinstance(text, str) or not text.strip():
        yield "has no text: write one, in quotation marks if it is a number, yes or no"
        return
    if text != unicodedata.normalize("NFC", text):
        yield "is not in Unicode's form NFC: type the letters anew"
    if mark := INVISIBLE.search(text):
        yield f"has an invisible character (U+{ord(mark[0]):04X}): remove it"
    names, wanted = set(PLACEHOLDER.findall(text)), set(PLACEHOLDER.findall(english))
    # A catalogue may name its own language, in the form that its grammar asks for.
    for name in sorted(wanted - names - {"language"}):
        yield f"lacks {{{name}}}: put it in"
    for name in sorted(names - wanted - FILES):
        known = ", ".join(f"{{{each}}}" for each in sorted(wanted)) or "none"
        yield f"has {{{name}}}, which means nothing there (known: {known}): correct or remove it"
    code = set() if key.startswith("starter_prompts.") else set(CODE.findall(english)) - set(CODE.findall(text))
    for part in sorted(code):
        yield f"lacks {part}: keep it as it is in en.yaml"
    if text == english and header.get("iso") != "en" and len(re.findall(r"[^\W\d_]{2,}", prose(text))) > 2:
        yield "is in English: translate it"
    scripts = SCRIPTS.get(str(header.get("script")), "").split()
    if ROW.fullmatch(key) and not key.endswith(".why"):
        return  # one of them asks about a foreign word, another is answered in the wrong language
    # Words such as token or dataset may stay as they are, but not most of a text.
    borrowed = {word for word in re.findall("[A-Za-z]+", text) if word in re.findall("[A-Za-z]+", english)}
    for limit, kept in (
        (0.7, re.sub("[A-Za-z]+", lambda word: "" if word[0] in borrowed else word[0], text)),
        (0.4, text),
    ):
        letters = letters_of(kept if header.get("script") != "Latn" else text)
        if scripts and len(letters) > 12 and sum(letter in scripts for letter in letters) < limit * len(letters):
            yield f"is not in the script {header['script']}: write it in that script"
            return


def _whole(content: dict) -> Iterator[str]:
    for key in ("starter_prompts", "prompt_frames"):
        prompts = content.get(key) or []
        for prompt, count in collections.Counter(map(str, prompts)).items():
            if count > 1:
                yield f"{key}: “{prompt}” stands there twice: write another one"
    description = str((content.get("space") or {}).get("short_description", ""))
    if len(description) > SHORT:
        yield f"space.short_description: has {len(description)} characters: write at most {SHORT}"
    yield from _examples(content)
    page = content.get("page")
    page = {key: text for key, text in page.items() if isinstance(text, str)} if isinstance(page, dict) else {}
    for key, most in BUTTONS.items():
        text = page.get(key, "")
        if columns(text) > most:
            yield f"page.{key}: takes {columns(text)} columns, and its button has {most}: write fewer or shorter words"
        for word in text.split() if key.startswith("vote_") else ():
            if columns(word) > THUMB_WORD:
                yield f"page.{key}: “{word}” takes {columns(word)} columns, and its button has {THUMB_WORD}: shorten it"
    for key, text in (("vote_skip", "unsure"), ("undo", "unsure"), ("vote_skip", "keys")):
        if page.get(key, "") not in page.get(text, ""):
            yield f"page.{text}: does not name the button “{page[key]}”: write it as page.{key} has it"


def columns(text: str) -> int:
    """Return the width of a text in columns of a terminal: marks take none, wide letters two."""
    marks = ("Mn", "Me", "Cf")
    wide = ("W", "F")
    return sum(
        1 + (unicodedata.east_asian_width(char) in wide) for char in text if unicodedata.category(char) not in marks
    )


def _examples(content: dict) -> Iterator[str]:
    section = content.get("examples")
    rows = section.get("rows", []) if isinstance(section, dict) else []
    votes = (
        [row.get("vote") for row in rows if isinstance(row, dict) and len(row) == 4] if isinstance(rows, list) else []
    )
    if section and (len(votes) < max(EXAMPLES, len(rows)) or {*votes} != {"good", "bad"}):
        yield f"examples.rows: needs {EXAMPLES} examples of question, answer, vote and why, votes good or bad: mend it"
    guidelines = (content.get("task") or {}).get("guidelines")
    for name in ("unsure", "examples"):
        if isinstance(guidelines, str) and f"{{{name}}}" in guidelines and f"\n\n{{{name}}}\n\n" not in guidelines:
            yield f"task.guidelines: {{{name}}} is not a paragraph: put empty lines around it"


def _scalar(value: object) -> str:
    """Return a value as YAML; the tag of Norwegian is quoted, or it would be false."""
    return yaml.safe_dump(value, allow_unicode=True, default_flow_style=True).removesuffix("\n...\n").strip()


def begin(tag: str, folder: Path = LANGUAGES) -> Path:
    """Write `<folder>/<tag>.yaml` with the facts about the language and the texts in English; return its path.

    A variant that inherits (`es-MX`) begins with its header alone.
    """
    facts = languages.facts_of(tag)
    text = (LANGUAGES / "en.yaml").read_text(encoding="utf-8")
    known = {
        "tag": facts.tag,
        "autonym": languages.subtags()[facts.iso][1] or "FILL IN",
        "english_name": facts.english_name,
        "iso": facts.iso,
        "script": facts.script if facts.script != "Zzzz" else "FILL IN",
        "direction": facts.direction,
        "numbers": "FILL IN",
        "drafted_by": "FILL IN",
        "reviewed_by": "nobody yet",
        "reviewed": False,
    }
    _, language, rest = text.partition("language:\n")
    header, blank, rest = rest.partition("\n\n")
    for name, value in known.items():
        lines = [
            f"  {name}: {_scalar(value)}" if line.startswith(f"  {name}:") else line for line in header.split("\n")
        ]
        header = "\n".join(lines)
    rest = without_rare(rest)
    path = folder / f"{facts.tag}.yaml"
    title = f"# {facts.english_name}. Keys and {{placeholders}} are those of en.yaml.\n\n"
    if parents(facts.tag):
        title = f"# {facts.english_name} ({facts.tag}): only what is different from {parents(facts.tag)[0]}.yaml.\n\n"
        blank = rest = ""
        header += "\n"
    path.write_text(title + language + header + blank + rest, encoding="utf-8", newline="\n")
    return path


def _rest(tag: str) -> str:
    """Say how many rare sentences are still in English, also in the parents' catalogues."""
    known = dict(flat(languages.texts_of(tuple(languages.facts_of(tag).texts[:-1]))))
    rare = [key for key, _ in flat(languages.catalogue("en")) if languages.RARE.match(key)]
    left = sum(key not in known for key in rare) if tag != "en" else 0
    return f" (rare sentences that are said in English: {left} of {len(rare)})" if left else ""


def main(arguments: list[str]) -> int:
    """Begin or check the catalogues of these tags, or check all; return 1 for problems."""
    if not arguments:
        arguments = sorted(path.stem for path in LANGUAGES.glob("*.yaml"))
    found = []
    for answer in arguments:
        try:
            tag = languages.standard_tag(answer)
        except ValueError as error:
            hint = f" Did you mean {error}?" if str(error) else ""
            print(f"“{answer}” is not a language tag.{hint} Use one such as yo or sr-Latn.")
            return 1
        if not (LANGUAGES / f"{tag}.yaml").is_file():
            path = begin(tag)
            print(f"{path} is made. Translate it from top to bottom, then run this again.")
        else:
            try:
                problems = check(tag)
            except FailedHookException as error:
                problems = [str(error)]
            found += problems
            print("\n".join(problems) or f"languages/{tag}.yaml: complete{_rest(tag)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
