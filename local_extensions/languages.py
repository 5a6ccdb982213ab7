"""The language catalogues, and facts about languages without one."""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import re
import sys
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType

import yaml
from cookiecutter.exceptions import FailedHookException

HERE = Path(__file__).resolve().parent.parent
PROJECT = HERE / "{{cookiecutter.project_slug}}"
LANGUAGES = HERE / "languages"
RTL_SCRIPTS = frozenset(
    ("Adlm", "Arab", "Aran", "Gara", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi")
)
_USUAL_ERRORS = (
    "bad_settings|no_owner|no_hf_token|no_server|no_prompts|gaps|check_failed|argilla_not_set|no_task|no_generations"
    "|no_votes|only_ties|too_few_votes|hub_not_allowed|no_rows|too_few_rows|one_class"
)
RARE = re.compile(
    rf"(?:technical|config|generations_card)\.|errors\.(?!(?:{_USUAL_ERRORS})$)"
    r"|new_prompts\.(?:count_|help_|context)|train\.(?:help_|weights|too_long|left_out|stopp)"
    r"|server\.(?:help_|job|dotenv_kept|unencrypted|others)"
    r"|vote\.(?:help_|tunnel_reads|address_changed|argilla|elsewhere)|invite\.(?:help_|closed|revoked|votes_)"
    r"|export\.(?:help_|lost|deleted|replace|pull_request|forgotten|left_out)"
    r"|generate\.(?:help_|bad_line|more_lines|line_|failed_|empty_rows|gone|loading|starting|ray_again|gap)"
    r"|generate\.column_(?:cut|empty|refused|names_itself|unchecked|read|written|seconds|requests|stored)"
    r"|check\.(?:other_provider|instead|not_readable|size|no_chat|no_list|not_listed|bad_token|unreachable|disabled)"
    r"|dataset_card\.(?:outdated|few_votes|taken_out|near_duplicates|no_agreement|open_link|by_lead|not_unanimous)"
    r"|dataset_card\.(?:unsure|flagged|rule_unanimous|rule_confidence)|ties\.(?:page_help|flagged|ask_flagged)"
    r"|commands\.upgrade$|plan\."
)
"""Keys of rare technical sentences; those that a catalogue lacks are shown in English."""

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)",
    re.IGNORECASE | re.ASCII,  # İ is not i
)


@dataclasses.dataclass(frozen=True)
class Facts:
    """Facts about a language: the fields of `[language]` in `settings.toml`."""

    tag: str
    autonym: str
    english_name: str
    iso: str
    script: str
    direction: str
    texts: list[str]
    reviewed: bool


@functools.cache
def subtags() -> dict[str, list[str]]:
    """Return the rows of `languages/subtags.tsv`: subtag → [English name, autonym, script, parent, others] ("": none).

    The others are further English names, with "; " between them.
    """
    rows = {}
    for line in (LANGUAGES / "subtags.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            subtag, *columns = line.split("\t")
            rows[subtag] = [*columns, "", "", "", "", ""][:5]
    return rows


@functools.cache
def catalogue(tag: str) -> dict | None:
    """Return the catalogue file of exactly this tag, or None."""
    path = LANGUAGES / f"{tag}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9-]+", tag) or not path.is_file():
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the fast one, if available
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - both loaders are safe
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise FailedHookException(f"languages/{tag}.yaml cannot be read: {reason}. Correct that line.") from None
    return content if isinstance(content, dict) and isinstance(content.get("language"), dict) else None


def standard_tag(answer: str) -> str:
    """Return a BCP-47 tag in its usual spelling (`ger` → `de`, `PT_br` → `pt-BR`); raise `ValueError` with a hint."""
    match = _TAG.fullmatch(answer.strip().replace("_", "-")) if len(answer) < 100 else None
    language = match["language"].lower() if match else ""
    row = subtags().get(language)
    if match is None or row is None:
        raise ValueError(_suggest_tag(answer))
    if row[0].startswith("="):
        language = row[0][1:]
    parts = [language]
    if match["script"]:
        parts.append(match["script"].title())
    if match["region"]:
        parts.append(match["region"].upper())
    return "-".join(parts) + match["rest"].lower()


def _suggest_tag(answer: str) -> str:
    """Suggest tags: people type the name of their language."""
    plain = unicodedata.normalize("NFKD", answer).encode("ascii", "ignore").decode()  # İ becomes I
    if plain != answer and _TAG.fullmatch(plain):
        with contextlib.suppress(ValueError):
            return standard_tag(plain)
    wanted = answer.strip().casefold()
    names: dict[str, str] = {}
    table = subtags()
    own = {subtag: row for subtag, row in table.items() if row[0] and not row[0].startswith("=")}
    for subtag, (english, autonym, *_) in own.items():
        names.setdefault(english.casefold(), subtag)
        names.setdefault(autonym.casefold(), subtag)
    for subtag, row in own.items():  # other names have less weight: Gaelic is one for Irish and for Scottish Gaelic
        for other in row[4].split("; "):
            names.setdefault(other.casefold(), subtag)
    for path in LANGUAGES.glob("*.yaml"):
        try:
            header = (catalogue(path.stem) or {}).get("language", {})
        except FailedHookException:  # an unfinished file
            continue
        names |= {str(header[name]).casefold(): path.stem for name in ("autonym", "english_name") if header.get(name)}
    close = [wanted] if wanted in names else difflib.get_close_matches(wanted, [name for name in names if name], n=3)
    found = dict.fromkeys(names[name] for name in close)
    return " or ".join(f"{tag} ({facts_of(tag).english_name})" for tag in found)


def _variants(language: str, script: str, region: str | None) -> list[str]:
    """Return possible catalogues of a language, the closest first."""
    return [f"{language}-{script}-{region}", f"{language}-{script}", f"{language}-{region}", language]


@functools.cache
def facts_of(answer: str) -> Facts:
    """Return the facts about the language of an answer to the first question; English for a wrong tag.

    They decide which catalogues a project uses (`texts`, first choice first): those of the tag, its script and region,
    its parent language in the table (`arz` → `ar`), English.
    """
    try:
        tag = standard_tag(answer)
    except ValueError:
        tag = "en"
    match = _TAG.fullmatch(tag)
    assert match is not None
    language, region = match["language"], match["region"]
    table = subtags()
    _, _, usual, parent, _ = table[language]
    of_region = table.get(f"{language}-{region}", [""] * 5)[2] if region else ""
    script = match["script"] or of_region or usual or (table[parent][2] if parent in table else "")
    if not script:  # the table has the script of few small languages, but a catalogue has it
        own = str(((catalogue(tag) or catalogue(language) or {}).get("language") or {}).get("script", ""))
        script = own if re.fullmatch("[A-Z][a-z]{3}", own) else ""
    chain = []
    for candidate in [
        tag,
        *_variants(language, script, region),
        *(_variants(parent, script, region) if parent else ()),
    ]:
        texts = catalogue(candidate)
        # Never fall back to another script: readers of uz-Cyrl do not get uz.
        if texts and candidate not in chain and script in ("", texts["language"].get("script")):
            chain.append(candidate)
    if "en" not in chain:
        chain.append("en")
    header = (catalogue(chain[0]) or {})["language"]
    english, autonym, *_ = table[language]
    if header.get("iso") == language:
        english, autonym = header.get("english_name") or english, header.get("autonym") or autonym
    elif chain[0] != "en":  # the pages speak the parent language, so they name it
        autonym = autonym or header["autonym"]
    return Facts(
        tag=tag,
        autonym=autonym or english,
        english_name=english,
        iso=language,
        script=script or "Zzzz",
        direction="rtl" if script in RTL_SCRIPTS else "ltr",
        texts=chain,
        reviewed=header.get("reviewed") is True and (chain[0] != "en" or language == "en"),
    )


def facts(answers: Mapping[str, str]) -> Facts:
    """Return the facts about the language of these answers."""
    answer = answers.get("language")
    return facts_of(answer if isinstance(answer, str) and answer else "en")


def flat(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, text) of all texts; the members of a list have numbers as keys."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and node:
        for number, value in enumerate(node):
            yield from flat(value, f"{path}.{number}")
    else:
        yield path, node


def _merge(base: dict, over: dict) -> dict:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
    return merged


@functools.cache
def texts_of(chain: tuple[str, ...]) -> dict:
    """Return the texts of the first catalogue, completed from the next ones."""
    merged: dict = {}
    for tag in reversed(chain):
        merged = _merge(merged, catalogue(tag) or {})
    return merged


def texts(answers: Mapping[str, str]) -> dict:
    """Return the texts for the language, completed from the next catalogues in its chain."""
    return texts_of(tuple(facts(answers).texts))


def untranslated(answers: Mapping[str, str]) -> bool:
    """Return whether the texts are English because the language has no catalogue."""
    return facts(answers).texts[0] == "en" and facts(answers).iso != "en"


def header_of(language: Facts) -> dict:
    """Return the header of the catalogue that the texts come from first."""
    return (catalogue(language.texts[0]) or {})["language"]


def project_module(name: str) -> ModuleType:
    """Import a module of the project's `kto` that needs only cookiecutter's dependencies."""
    sys.path.insert(0, str(PROJECT))
    # Compiled files in the template folder would be rendered into every project.
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return importlib.import_module(f"kto.{name}")
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(PROJECT))
