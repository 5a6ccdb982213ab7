"""The only Python that the templates call: the language catalogue, quoting for each format, and checks of the answers.

Runs wherever cookiecutter runs, so it imports nothing but the standard library and what cookiecutter itself brings.
"""

import contextlib
import dataclasses
import difflib
import functools
import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import cookiecutter
import yaml
from cookiecutter.config import get_user_config
from cookiecutter.exceptions import FailedHookException
from cookiecutter.prompt import read_user_variable
from jinja2 import Environment, TemplateSyntaxError, pass_environment
from jinja2.ext import Extension
from slugify import slugify

HERE = Path(__file__).resolve().parent
LANGUAGES = HERE / "languages"
PROJECT = HERE / "{{cookiecutter.project_slug}}"
QUESTIONS = (
    "language",
    "domain",
    "project_name",
    "project_slug",
    "hub_owner",
    "inference",
    "models",
    "system_prompt",
    "prompts",
    "license",
)
MODELS = {
    "huggingface": (
        "Qwen/Qwen3-30B-A3B-Instruct-2507, openai/gpt-oss-20b, mistralai/Mistral-Small-3.2-24B-Instruct-2506"
    ),
    "local": "Qwen/Qwen3-4B-Instruct-2507, ibm-granite/granite-4.0-micro",
    "openai-compatible": "gemma3:4b, qwen3:4b-instruct",
}
"""What is suggested by where the models run; for `local` 3 and 4 B parameters in 16 bits, 15 GB of downloads."""
NOT_IN_TEXTS = ("language", "defaults", "system_prompt", "starter_prompts", "prompt_frames")
"""What of a catalogue does not go into the project's `texts.yaml`."""
RTL_SCRIPTS = frozenset(
    ("Adlm", "Arab", "Aran", "Gara", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi")
)

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)",
    re.IGNORECASE | re.ASCII,  # İ is not i
)
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters that no text has; tabs and line ends are fine."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters that nobody sees; others are invisible by their Unicode category."""
_LONGEST_LINE = 4095
"""Bytes of a line that a terminal takes without `readline` (Linux's N_TTY_BUF_SIZE; macOS takes 1,024)."""
_HUB_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?![._-]))*(?<![._-])"
_HUB_MODEL = re.compile(rf"{_HUB_NAME}/{_HUB_NAME}(?::[a-z0-9][a-z0-9-]*)?")
_ON_THE_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/|models/|spaces/)?")
_WINDOWS_NAMES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


# --- formats: each filter returns the value as a literal of that format ---


def toml(value: object) -> str:
    """Return a string, bool or list of strings as a TOML literal. A basic string of TOML is a JSON string plus DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def json_literal(value: object) -> str:
    """Return `value` as JSON with letters as they are: `tojson` would write an emoji as two surrogates."""
    return json.dumps(value, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that people can edit them."""


def _represent_str(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_str)


def to_yaml(value: object) -> str:
    """Return `value` as YAML in block style."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10_000)


# --- languages ---


@dataclasses.dataclass(frozen=True)
class Facts:
    """What is known about a language without its catalogue; the fields are those of `[language]` in `settings.toml`."""

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
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the quick one, where it is there
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
    """Say which tag may be meant: people type the name of their language."""
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
    for subtag, row in own.items():  # second names come second: Gaelic is one of Irish and one of Scottish Gaelic
        for other in row[4].split("; "):
            names.setdefault(other.casefold(), subtag)
    for path in LANGUAGES.glob("*.yaml"):
        try:
            header = (catalogue(path.stem) or {}).get("language", {})
        except FailedHookException:  # somebody is at work on it
            continue
        names |= {str(header[name]).casefold(): path.stem for name in ("autonym", "english_name") if header.get(name)}
    close = [wanted] if wanted in names else difflib.get_close_matches(wanted, [name for name in names if name], n=3)
    found = dict.fromkeys(names[name] for name in close)
    return " or ".join(f"{tag} ({facts_of(tag).english_name})" for tag in found)


def _variants(language: str, script: str, region: str | None) -> list[str]:
    """Return the catalogues that a language may have, the nearest first."""
    return [f"{language}-{script}-{region}", f"{language}-{script}", f"{language}-{region}", language]


@functools.cache
def facts_of(answer: str) -> Facts:
    """Return the facts about the language that an answer to the first question names; English for a wrong tag.

    This is the one place that decides whose texts a project takes (`texts`, first choice first): its own catalogue, its
    region's and script's, the language that the table names as parent (`arz` → `ar`), English.
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
    if not script:  # the table knows the script of few small languages, but who writes their catalogue does
        own = str(((catalogue(tag) or catalogue(language) or {}).get("language") or {}).get("script", ""))
        script = own if re.fullmatch("[A-Z][a-z]{3}", own) else ""
    chain = []
    for candidate in [
        tag,
        *_variants(language, script, region),
        *(_variants(parent, script, region) if parent else ()),
    ]:
        texts = catalogue(candidate)
        # A text in another script is no text for these readers: uz-Cyrl does not take uz.
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
def _texts_of(chain: tuple[str, ...]) -> dict:
    merged: dict = {}
    for tag in reversed(chain):
        merged = _merge(merged, catalogue(tag) or {})
    return merged


def texts(answers: Mapping[str, str]) -> dict:
    """Return the texts for the language: its own catalogue, and what that lacks from the next one in the chain."""
    return _texts_of(tuple(facts(answers).texts))


def project_texts(answers: Mapping[str, str]) -> dict:
    """Return what goes into the project's `texts.yaml`: everything but the answers' own defaults and the prompts."""
    own = {key: value for key, value in texts(answers).items() if key not in NOT_IN_TEXTS}
    return {"numbers": _header(facts(answers))["numbers"], **own}


def origin_of_texts(answers: Mapping[str, str]) -> str:
    """Return who drafted and who reviewed the texts, as the catalogue says."""
    header = _header(facts(answers))
    return f"{header['english_name']}: drafted by {header['drafted_by']}, reviewed by {header['reviewed_by']}."


def _header(language: Facts) -> dict:
    """Return the header of the catalogue that the texts come from first."""
    return (catalogue(language.texts[0]) or {})["language"]


# --- what the template files ask for ---


@functools.cache
def _project_module(name: str) -> ModuleType:
    """Import a module of the rendered project's `kto` that needs no more than cookiecutter brings."""
    sys.path.insert(0, str(PROJECT))
    # Compiled files in the template folder would be rendered into every project.
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        path = PROJECT / "kto" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"kto_{path.stem}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = written
        sys.path.remove(str(PROJECT))
    return module


def _pages_module() -> ModuleType:
    """Import `kto/pages.py`: the same code fills the pages here and in the project."""
    return _project_module("pages")


def values(answers: Mapping[str, str]) -> dict[str, object]:
    """Return what the placeholders of pages and texts stand for; the rendered project makes the same from its files."""
    language = facts(answers)
    return _pages_module().page_values(
        project={name: answers[f"project_{name}"] for name in ("name", "slug")}
        | {name: answers[name] for name in ("domain", "hub_owner", "license")},
        language=dataclasses.asdict(language),
        generation={"models": models(answers), "inference": answers["inference"]},
    )


def page(answers: Mapping[str, str], name: str) -> str:
    """Return one page of the project (`README.md`, `space/README.md`, …), its texts and values filled in."""
    return _pages_module().fill_page(PROJECT / "kto" / "pages" / name, texts(answers), values(answers)).rstrip("\n")


def text_names(answers: Mapping[str, str]) -> str:
    """Return, as JSON, the key of every text that the project needs and the placeholders that it may have."""
    find = _pages_module().PLACEHOLDER.findall
    needed = {key: value for key, value in (catalogue("en") or {}).items() if key not in NOT_IN_TEXTS}
    wanted = {key: sorted(set(find(str(text)))) for key, text in flat(needed)}
    return json.dumps(wanted, indent=1)


def made_pages(answers: Mapping[str, str]) -> str:
    """Return the fingerprint of every page as JSON, by which the project knows later whether somebody changed it."""
    folder = PROJECT / "kto" / "pages"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))
    made = {name: _pages_module().fingerprint(page(answers, name)) for name in names}
    return json.dumps(made, indent=1, sort_keys=True)


def _cell(answers: Mapping[str, str], cell: str) -> str:
    return _pages_module().fill_cell(cell, texts(answers), values(answers))


def nb(answers: Mapping[str, str], cell: str) -> str:
    """Return the Markdown of a cell as a JSON list of lines, laid out as nbformat does."""
    lines = ",\n".join(f"    {json_literal(line)}" for line in _cell(answers, cell).splitlines(keepends=True))
    return f"[\n{lines}\n   ]"


def cell_fingerprint(answers: Mapping[str, str], cell: str) -> str:
    """Return the fingerprint of a cell as a JSON string."""
    return json_literal(_pages_module().fingerprint(_cell(answers, cell)))


def system_prompt(answers: Mapping[str, str]) -> str:
    """Return the system prompt: the answer as it is, or the catalogue's."""
    if answers["system_prompt"].strip():
        return answers["system_prompt"]
    return _pages_module().fill_text(texts(answers), "system_prompt", values(answers))


def starter_prompts(answers: Mapping[str, str]) -> str:
    """Return the starter prompts as JSONL, without the last line end: those on the community's subject come first."""
    found = texts(answers)
    own = answers["domain"].strip() not in ("", default_domain(answers))
    framed = (frame.replace("{domain}", answers["domain"].strip()) for frame in found["prompt_frames"] if own)
    return "\n".join(json_literal({"prompt": prompt}) for prompt in [*framed, *found["starter_prompts"]])


def english_prompts(answers: Mapping[str, str]) -> str:
    """Return as JSON the fingerprints of what models are told in English for want of a catalogue."""
    told = [json.loads(line)["prompt"] for line in starter_prompts(answers).split("\n")]
    if not answers["system_prompt"].strip():
        told.append(system_prompt(answers))
    return json.dumps([_pages_module().fingerprint(text) for text in told], indent=1)


def models(answers: Mapping[str, str]) -> list[str]:
    """Return the models of the comma-separated answer; a folder with its whole path, for the project moves on."""
    names = [model.strip() for model in answers["models"].split(",") if model.strip()]
    if answers.get("inference") != "local":
        return names
    folders = {name: _path(name) for name in names if not _HUB_MODEL.fullmatch(name)}
    return [
        str(folders[name].resolve()) if name in folders and _holds(folders[name].is_dir) else name for name in names
    ]


def own_prompts(answers: Mapping[str, str]) -> Path | None:
    """Return the file that the answer `prompts` names, or None if it is `starter` or a dataset on the Hub."""
    answer = answers["prompts"].strip()
    path = _path(answer)
    is_path = _project_module("ask/prompt_files").is_path(answer) or Path(answer).is_absolute() or _holds(path.is_file)
    return path if answer != "starter" and is_path else None


_start = Path.cwd()
"""Where the user is: cookiecutter changes into the template and the project while it works."""


def _path(answer: str) -> Path:
    try:
        return _start / Path(answer).expanduser()
    except RuntimeError:  # ~somebody whom this machine does not know
        return _start / answer


def _holds(test: Callable[[], bool]) -> bool:
    try:
        return test()
    except (OSError, ValueError):  # too long for a path, or a null character
        return False


def own_prompts_name(answers: Mapping[str, str]) -> str:
    """Return the name that the community's own file of prompts gets in the project, "" if there is none."""
    path = own_prompts(answers)
    if path is None:
        return ""
    suffix = path.suffix.lower()
    return f"own{suffix if suffix in ('.csv', '.tsv', '.txt') else '.jsonl'}"


def prompts_setting(answers: Mapping[str, str]) -> str:
    """Return `prompts` for `settings.toml`: a file is copied into the project, for it has to travel with it."""
    name = own_prompts_name(answers)
    return f"prompts/{name}" if name else answers["prompts"].strip()


def own_prompts_content(answers: Mapping[str, str]) -> str:
    """Return the content of the file with the community's own prompts, without the last line end."""
    path = own_prompts(answers)
    assert path is not None
    return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip("\r\n")


def untranslated(answers: Mapping[str, str]) -> bool:
    """Tell whether the project's texts are in English for want of a catalogue."""
    return facts(answers).texts[0] == "en" and facts(answers).iso != "en"


def translating(answers: Mapping[str, str]) -> str:
    """Return the page that lists what to translate, in the order in which people meet it (in English)."""
    language = facts(answers)
    first = (
        "task",
        "community",
        "space",
        "readme",
        "check",
        "generate",
        "server",
        "notebook",
        "export",
        "dataset_card",
    )
    source = project_texts(answers)
    lines = [
        f"# To translate into {language.english_name} ({language.tag})",
        "",
        "There is no catalogue for this language yet, so the texts and the prompts are in English.",
        "",
        "Before you ask the models:",
        "",
        "- [ ] `prompts/starter.jsonl`: put your own questions there, in your language",
        "- [ ] `prompts/system_prompt.txt`: say there that the models answer in your language",
        "- [ ] `name` in `settings.toml`: the title of all pages",
        "",
        "Before people vote, write your texts into `texts.yaml`, under the same names and in the same shape. Keep",
        "words in {braces} and in `code` as they are; a text with a colon in it goes in quotation marks. The buttons",
        "of the voting page stay English, so name them as they are there: “Discard”, “Save as draft”.",
        "`short_description` has at most 60 characters. Figures are written like the two examples under `numbers`.",
        "`uv run check.py` says if something is missing or wrong.",
        "",
        f'When you have translated what you want, write `texts = ["{language.tag}"]` into `settings.toml` and run',
        "`uv run update_pages.py`: it brings your texts into README, cards, community pages and notebook, as often as",
        "you like. People meet the texts in this order:",
    ]
    # `next` is shown while a project is made, `numbers` says how 1234 looks, `technical` may stay in English
    left_out = {*first, "next", "numbers", "technical"}
    for section in [*first, *(section for section in source if section not in left_out)]:
        lines += ["", f"## {section}", ""]
        entries = source[section].items() if isinstance(source[section], dict) else [(section, source[section])]
        lines += [f"- [ ] `{key}`: {' '.join(str(text).split())}" for key, text in entries]
    return "\n".join(lines)


# --- suggestions ---


def default_domain(answers: Mapping[str, str]) -> str:
    """Suggest a domain in the community's language."""
    return texts(answers)["defaults"]["domain"]


def default_project_name(answers: Mapping[str, str]) -> str:
    """Suggest a title in the community's language."""
    fill = _pages_module().fill
    language = facts(answers)
    spoken = language.english_name if untranslated(answers) else language.autonym
    names = {"language": spoken, "domain": str(answers.get("domain") or "").strip()}
    return " ".join(fill(texts(answers)["defaults"]["project_name"], names.__getitem__).split())


def default_models(answers: Mapping[str, str]) -> str:
    """Suggest models that can be used where they run: served by several providers, small, or in Ollama's library."""
    return MODELS[answers.get("inference", "huggingface")]


def base_url(answers: Mapping[str, str]) -> str:
    """Suggest the address of Ollama for servers of one's own; the others need none."""
    return "http://127.0.0.1:11434/v1" if answers["inference"] == "openai-compatible" else ""


def default_slug(answers: Mapping[str, str]) -> str:
    """Suggest `kto-<tag>-<domain>`; a domain in other letters than Latin is left out, spelt in them it is no name."""
    domain = str(answers.get("domain") or "")
    if any(char.isalpha() and not unicodedata.name(char, "").startswith("LATIN") for char in domain):
        domain = ""
    domain = slugify(domain, max_length=40, word_boundary=True)
    return f"kto-{facts(answers).tag.lower()}-{domain}".rstrip("-")


# --- checks ---


def _check_text(answers: Mapping[str, object], name: str) -> str | None:
    value = answers[name]
    if not isinstance(value, str):
        return f"{_shown(value)} is no text. Write a text."
    control = _CONTROL.search(value)
    if control:
        return (
            f"there is a control character in it (U+{ord(control[0]):04X}), perhaps from an arrow key. Type it again."
        )
    if any("\ud800" <= char <= "\udfff" for char in value):
        return (
            f"“{_shown(value)}” is not written in UTF-8. Type it again, or save the file that it comes from as UTF-8."
        )
    return None


def _shown(value: object) -> str:
    """Return an answer as a message may repeat it: whatever it is, it can be printed."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _check_language(answers: Mapping[str, str]) -> str | None:
    try:
        standard_tag(answers["language"])
    except ValueError as hint:
        meant = f"Did you mean {hint}? " if str(hint) else ""
        return f"“{answers['language']}” is no language tag. {meant}Use a tag such as nl, pt-BR or sw."
    return None


def _check_slug(answers: Mapping[str, str]) -> str | None:
    slug = answers["project_slug"]
    usable = re.fullmatch(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*", slug) and len(slug) <= 96
    if usable and not _WINDOWS_NAMES.fullmatch(slug) and not slug.endswith((".git", ".ipynb")):
        return None
    return (
        f"“{slug}” cannot be the name of a folder and of a dataset. Use small letters a to z and digits, "
        f"with single hyphens between them, for example “{default_slug(answers)}”."
    )


def _check_owner(answers: Mapping[str, str]) -> str | None:
    owner = answers["hub_owner"]
    if not owner or (re.fullmatch(_HUB_NAME, owner) and len(owner) <= 96):
        return None
    return f"“{owner}” is no name on the Hub. Use the name of your user or organisation there, or leave it empty."


def _check_models(answers: Mapping[str, str]) -> str | None:
    names = models(answers)
    if not names:
        return "No model is named. Name at least one, for example Qwen/Qwen3-30B-A3B-Instruct-2507."
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"{', '.join(twice)} is named more than once. Name each model once."
    if answers["inference"] == "openai-compatible":
        return None
    wrong = [name for name in names if not _HUB_MODEL.fullmatch(name) or len(name) > 250]
    if answers["inference"] == "local":
        wrong = [name for name in wrong if not _holds(_path(name).is_dir)]
    if wrong:
        listed = ", ".join(f"“{name}”" for name in wrong)
        also = " or a folder" if answers["inference"] == "local" else ""
        return f"{listed} is no model id. Write owner/name, owner/name:provider{also}, with commas between models."
    return None


_SOURCES = "Write starter, the id of a dataset, or a path to a JSONL, CSV or text file."


def _check_prompts(answers: Mapping[str, str]) -> str | None:
    answer = answers["prompts"].strip()
    path = own_prompts(answers)
    if path is None:
        is_id = len(answer) <= 193 and re.fullmatch(rf"{_HUB_NAME}(?:/{_HUB_NAME})?", answer)
        if answer == "starter" or is_id:
            return None
        return f"“{answer}” is no source of prompts. {_SOURCES}"
    files = _project_module("ask/prompt_files")
    if path.suffix.lower() in files.OTHER_FILES:
        return f"{path} is no file of prompts that can be read. {_SOURCES}"
    try:
        found, wrong = files.read(path.read_bytes(), path.suffix, "prompt", files.Filter())
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}). Check the path of the prompts."
    except ValueError:
        return f"“{answer}” is no path. Check the path of the prompts."
    except files.NoColumn as error:
        return (
            f"{path} has no column “prompt”, but: {', '.join(error.columns)}. Call the one with the prompts “prompt”."
        )
    if wrong:
        fill_text, english = _pages_module().fill_text, catalogue("en") or {}
        listed = [f"line {line}: {fill_text(english, f'generate.{why.text}', why.values)}" for line, why in wrong[:5]]
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        return f"{path}: {'; '.join(listed)}{more}. Correct these lines; the file must be written in UTF-8."
    if not found:
        return f"{path} is empty. Write at least one prompt."
    return None


def _check_filled(answers: Mapping[str, str], name: str) -> str | None:
    if any(unicodedata.category(char)[0] not in "ZC" and char not in _BLANK for char in answers[name]):
        return None
    return f"{name} is empty. Write a few words."


@functools.cache
def _choices(name: str) -> list[str]:
    return json.loads((HERE / "cookiecutter.json").read_text(encoding="utf-8"))[name]


def _check_choice(answers: Mapping[str, str], name: str) -> str | None:
    """Cookiecutter itself checks no answer of a file for `--replay`."""
    choices = _choices(name)
    if answers[name] in choices:
        return None
    return f"“{answers[name]}” is none of the choices. Choose one of these: {', '.join(choices)}."


_CHECKS: Mapping[str, Callable[[Mapping[str, str]], str | None]] = {
    "language": _check_language,
    "domain": functools.partial(_check_filled, name="domain"),
    "project_name": functools.partial(_check_filled, name="project_name"),
    "project_slug": _check_slug,
    "hub_owner": _check_owner,
    "models": _check_models,
    "prompts": _check_prompts,
    "inference": functools.partial(_check_choice, name="inference"),
    "license": functools.partial(_check_choice, name="license"),
}


def problems(answers: Mapping[str, object]) -> dict[str, str]:
    """Return everything that is wrong with the answers themselves: question → what is wrong and what to do."""
    found = {name: _check_text(answers, name) for name in QUESTIONS}
    texts = {name: "" if found[name] else str(answers[name]) for name in QUESTIONS}
    for name, check in _CHECKS.items():
        found[name] = found[name] or check(texts)
    return {question: problem for question, problem in found.items() if problem}


def _check_folder(answers: Mapping[str, str]) -> str | None:
    """Say that the project's folder is there already; only while cookiecutter has not made it."""
    options = _options()
    if not options or options.get("overwrite_if_exists") or options.get("skip_if_file_exists"):
        return None
    folder = _start / str(options.get("output_dir") or ".") / answers["project_slug"]
    if not _holds(folder.exists):
        return None
    return f"There is a folder {folder} already. Choose another name, or move that folder away."


# --- on the way ---


def _options() -> Mapping[str, object]:
    """Return the options of the command that renders, cookiecutter's or cruft's; none where code calls cookiecutter."""
    context = click.get_current_context(silent=True)
    return context.params if context else {}


def _is_asked() -> bool:
    """Tell whether a person answers the questions at a terminal."""
    options = _options()
    return bool(options) and not options.get("no_input") and sys.stdin.isatty() and sys.stdout.isatty()


def _user_config() -> Mapping[str, object]:
    options = _options()
    return get_user_config(options.get("config_file"), bool(options.get("default_config")))


@pass_environment
def check_configuration(environment: Environment) -> str:
    """Stop before the first question if an answer in this user's configuration, or in an option, cannot be one.

    YAML reads `no` as false, a list as a choice, and nothing as null: cookiecutter would ask other questions than ours.
    And it renders these answers as Jinja, whose errors would be tracebacks.

    Raises
    ------
    FailedHookException
        The message names the file and what to write there.
    """
    answers = _user_config().get("default_context") or {}
    assert isinstance(answers, Mapping)
    wrong = []
    for name in QUESTIONS:
        value = answers.get(name, "")
        chosen = name in ("inference", "license")  # of these a list may name some
        if isinstance(value, list) and not (chosen and value):
            text = _choices(name)[0] if chosen else ", ".join(map(str, value))
            wrong.append(f'{name} is a list. Write one text: {name}: "{text}"')
        elif isinstance(value, bool):
            said = "yes" if value else "no"
            wrong.append(f'{name} is {str(value).lower()}, which YAML takes {said} for. Write {name}: "{said}"')
        elif not isinstance(value, str | int | float | list):  # null, a table, a date
            text = "" if value is None or isinstance(value, dict) else value
            wrong.append(f'{name} is no text. Write {name}: "{text}"')
    path = _options().get("config_file") or os.environ.get("COOKIECUTTER_CONFIG") or "~/.cookiecutterrc"
    options = _options().get("extra_context")  # of cruft it is a text
    no_code = [_no_code(environment, answers), _no_code(environment, options if isinstance(options, Mapping) else {})]
    for where, found in ((f"in {path} (default_context)", wrong + no_code[0]), ("on the command line", no_code[1])):
        if found:
            listed = "\n".join(f"  - {problem}" for problem in found)
            raise FailedHookException(f"Some answers {where} cannot be used:\n{listed}")
    return ""


def _no_code(environment: Environment, answers: Mapping[str, object]) -> list[str]:
    """Return what is wrong with answers that cookiecutter will render: in those, `{{`, `{%` and `{#` begin code."""
    wrong = []
    for name in QUESTIONS:
        try:
            environment.parse(str(answers.get(name, "")))
        except TemplateSyntaxError as error:
            wrong.append(
                f"{name}: cookiecutter reads code after {{{{, {{% and {{#, and this is none ({error.message}). "
                "Leave the answer out here, and type it at its question."
            )
    return wrong


def _whole(answers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the answers with those that a replay file holds: cookiecutter knows only what it asks for this time."""
    path = _options().get("replay_file")
    kept: Mapping[str, str] = {}
    if path:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            kept = json.loads((_start / str(path)).read_text(encoding="utf-8"))["cookiecutter"]
    return {**kept, **answers}


def check(answers: MutableMapping[str, str], name: str) -> str:
    """Ask a question again, right after it, until its answer can be used; only where a person answers at a terminal.

    Addresses of pages on the Hub, which people paste, become the names that they lead to.
    """
    if isinstance(answers.get(name), str) and name in _PASTED:
        answers[name] = _PASTED[name](answers[name])
    while name in answers and _is_asked():
        problem = _pasted() or _problem(_whole(answers), name)
        if problem is None:
            break
        click.echo(f"  {problem}")
        answers[name] = read_user_variable(name, "")
        if name in _PASTED:
            answers[name] = _PASTED[name](answers[name])
    return ""


def _models_of(text: str) -> str:
    return ", ".join(_ON_THE_HUB.sub("", name.strip()).rstrip("/") for name in text.split(","))


_PASTED: Mapping[str, Callable[[str], str]] = {
    "hub_owner": lambda text: _ON_THE_HUB.sub("", text.strip()).strip("@/"),
    "models": _models_of,
    "prompts": lambda text: _ON_THE_HUB.sub("", text.strip()),
}


def _problem(answers: Mapping[str, str], name: str) -> str | None:
    """Return what is wrong with one answer, as far as it can be told from the questions before it."""
    problem = _check_text(answers, name)
    if problem is None and len(answers[name].encode()) >= _LONGEST_LINE and "readline" not in sys.modules:
        hint = "Press Enter, and write it into prompts/system_prompt.txt later." if name == "system_prompt" else ""
        problem = f"{name} is longer than a line at this terminal can be. {hint}".rstrip()
    if problem is None and name in _CHECKS:
        problem = _CHECKS[name](answers)
    if problem is None and name == "project_slug":
        problem = _check_folder(answers)
    return problem


def _pasted() -> str | None:
    """Say that several lines were pasted, and forget the further ones: they would answer the next questions."""
    try:
        import fcntl
        import termios
    except ImportError:  # Windows
        return None
    try:
        waiting = int.from_bytes(fcntl.ioctl(sys.stdin, termios.FIONREAD, bytes(4)), sys.byteorder)
        if waiting <= 1:  # an Enter that came early
            return None
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
    except (OSError, termios.error):
        return None
    return "That was more than one line, and an answer is one. Type it again, in one line."


def answers_file(answers: Mapping[str, object]) -> Path:
    """Return the file that keeps these answers for the next try: beside cookiecutter's own, and none of them."""
    name = hashlib.sha256(json.dumps([answers[name] for name in QUESTIONS]).encode()).hexdigest()[:12]
    try:
        folder = Path(str(_user_config()["replay_dir"])).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    return folder.absolute() / f"kto-answers-{name}.json"


def keep_answers(answers: Mapping[str, object], ask_again: list[str]) -> str:
    """Save the answers, and return the command that asks only the questions in `ask_again`.

    Cookiecutter asks for whatever a replay file lacks. Without `_extensions` in it, it takes them from the template
    again, which the questions need.
    """
    path = answers_file(answers)
    path.write_text(json.dumps({"cookiecutter": _kept(answers, ask_again)}, indent=2), encoding="utf-8")
    return command(path)


def _kept(answers: Mapping[str, object], ask_again: list[str]) -> dict[str, object]:
    names = [name for name in QUESTIONS if name not in ask_again]
    # With the check of a question that is not asked; the check of all answers is made again.
    return {name: answers[name] for name in names} | {f"__check_{name}": "" for name in ["configuration", *names]}


def command(path: Path) -> str:
    """Return the command that renders this template with the answers in a file, called as it was called this time."""
    options = _options()
    words: list[str] = []
    template = str(options.get("template") or HERE)
    if _holds((_start / template).exists):  # else an address, or an abbreviation such as gh:
        template = str((_start / template).absolute())
    called = os.environ.get("KTO_COMMAND", "")  # start.py says how it was called
    if not called:
        words += [*_program(), template]
    for name in ("checkout", "directory", "config_file"):
        if options.get(name):
            words += [f"--{name.replace('_', '-')}", str(options[name])]
    output = str(options.get("output_dir") or ".")
    if output != "." and not (called and Path(output) == HERE.parent):
        words += ["--output-dir", output]
    words += ["--replay-file", str(path)]
    return f"{called} {subprocess.list2cmdline(words) if os.name == 'nt' else shlex.join(words)}".lstrip()


def _program() -> list[str]:
    """Return how cookiecutter is called here: it may run in an environment that is gone when it ends."""
    parts = Path(sys.prefix).parts
    if any(part.startswith(("archive-v", "environments-v")) for part in parts):
        return ["uvx", "cookiecutter"]
    if "pipx" in parts and "venvs" not in parts:
        return ["pipx", "run", "cookiecutter"]
    return ["cookiecutter"] if shutil.which("cookiecutter") else [sys.executable, "-m", "cookiecutter"]


def project_folder(answers: Mapping[str, str]) -> str:
    """Return the name of the project's folder.

    Raises
    ------
    FailedHookException
        An answer cannot be used: one of a file for `--replay` that nobody has checked.
    """
    check_answers(answers)
    return answers["project_slug"]


def check_answers(answers: Mapping[str, str]) -> str:
    """Stop before anything is written if an answer cannot be used; all problems at once.

    Raises
    ------
    FailedHookException
        Cookiecutter prints it as one message and leaves with status 1.
    """
    answers = _whole(answers)
    if not set(QUESTIONS) <= answers.keys():  # an older file for `--replay`; `project_folder` looks at all of them
        return ""
    found = problems(answers)
    if "project_slug" not in found and (exists := _check_folder(answers)):
        found["project_slug"] = exists
    if found:
        listed = "\n".join(f"  - {question}: {problem}" for question, problem in found.items())
        ask_again = list(found)
        if "language" in found:  # what was suggested in English will be suggested in the language
            suggested = {"domain": default_domain, "project_name": default_project_name, "project_slug": default_slug}
            ask_again += [name for name, suggest in suggested.items() if answers[name] == suggest(answers)]
        go_on = keep_answers(answers, ask_again)
        raise FailedHookException(
            f"Some answers cannot be used:\n{listed}\nYour other answers are kept. "
            f"Run this; it asks only for {', '.join(dict.fromkeys(ask_again))}:\n    {go_on}"
        )
    return ""


def hook_answers(answers: Mapping[str, str]) -> str:
    """Return what the hook has to know, as JSON in ASCII that fits between the quotes of `r\"\"\"…\"\"\"`."""
    return json.dumps(
        {
            "models": models(answers),
            "inference": answers["inference"],
            "answers": _kept(answers, []),
            "file": str(answers_file(answers)),
            "command": command(answers_file(answers)),
            "code": str(PROJECT),
        }
    )


def _identity() -> list[str]:
    """Return what git has to be told before it commits, with a place for name and address; [] if it knows them."""
    git = shutil.which("git")
    if git is None:
        return []
    return [
        f'git config {name} "{value}"'
        for name, value in (("user.name", "NAME"), ("user.email", "ADDRESS"))
        if subprocess.run([git, "config", name], capture_output=True).returncode
    ]


def next_steps(answers: Mapping[str, str]) -> str:
    """Return what the hook at the end prints, as JSON in ASCII: a title, steps (text, commands), a last line."""

    def text(key: str) -> str:
        return _pages_module().fill_text(texts(answers), key, values(answers)).replace("`", "")

    key = {"huggingface": "step_key", "local": "step_local", "openai-compatible": "step_server_address"}
    # One command a line: `&&` and `||` are none in Windows PowerShell 5.1.
    steps: list[tuple[str, list[str]]] = [
        (text("next.enter"), [f"cd {answers['project_slug']}"]),
        (text("next.keep"), ["git init", *_identity(), "git add .", 'git commit -m "KTO"']),
        (text("readme.before"), ["pip install uv"]),
        (text(f"readme.{key[answers['inference']]}"), []),
        (text("readme.step_check"), ["uv run check.py"]),
        (text("readme.step_generate"), ["uv run generate.py --limit 8"]),
    ]
    return json.dumps({"title": text("next.title"), "steps": steps, "more": text("next.more")})


def _edit_lines() -> None:
    """Let arrow keys and long lines work at the questions, and a pasted text of several lines be one answer."""
    with contextlib.suppress(ImportError):  # Windows edits lines by itself
        import readline

        readline.parse_and_bind("set enable-bracketed-paste on")


class KtoExtension(Extension):
    """Gives the functions above to cookiecutter's templates."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """Let the answers be checked before the first folder is made, wherever they come from.

        Cookiecutter removes no more than the last folder of `a/b`, and nothing after an error of its own.
        """
        return "{{ project_folder(cookiecutter) }}" if source == PROJECT.name else source

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if sys.version_info < (3, 11):  # noqa: UP036 - whoever has an older one reads this
            raise FailedHookException(
                f"This is Python {sys.version.split()[0]}. Run cookiecutter with Python 3.11 or newer, "
                "for example: uvx --python 3.12 cookiecutter …"
            )
        if tuple(map(int, re.findall(r"\d+", cookiecutter.__version__)[:2])) < (2, 3):
            # Older ones take no choices from a file of answers that lacks them, or do not load this extension with it.
            raise FailedHookException(
                f"This is cookiecutter {cookiecutter.__version__}. Use cookiecutter 2.3 or newer, "
                "for example: uvx cookiecutter …"
            )
        cached: tuple[Any, ...] = (subtags, catalogue, facts_of, _texts_of, _project_module, _choices)
        for function in cached:
            function.cache_clear()  # `cruft update` renders two versions of this folder in one process
        if sys.stdin and sys.stdin.isatty():
            _edit_lines()
        global _start
        if not Path.cwd().is_relative_to(HERE):
            _start = Path.cwd()
        environment.filters |= {"toml": toml, "json": json_literal, "yaml": to_yaml}
        environment.globals |= {
            function.__name__: function
            for function in (
                base_url,
                cell_fingerprint,
                check,
                check_answers,
                check_configuration,
                default_domain,
                default_models,
                default_project_name,
                default_slug,
                english_prompts,
                facts,
                hook_answers,
                made_pages,
                models,
                nb,
                next_steps,
                own_prompts,
                origin_of_texts,
                own_prompts_content,
                own_prompts_name,
                page,
                problems,
                project_texts,
                project_folder,
                prompts_setting,
                starter_prompts,
                system_prompt,
                text_names,
                translating,
                untranslated,
            )
        }
