"""The only Python that the templates call: the language catalogue, quoting for each format, and checks of the answers.

Runs wherever cookiecutter runs, so it imports nothing but the standard library and what cookiecutter itself brings.
"""

import dataclasses
import difflib
import functools
import importlib.util
import json
import os
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

import yaml
from cookiecutter.config import get_user_config
from cookiecutter.exceptions import FailedHookException
from cookiecutter.replay import dump
from jinja2 import Environment
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
    "models",
    "system_prompt",
    "prompts",
    "inference",
    "license",
)
NOT_IN_TEXTS = ("language", "defaults", "system_prompt", "starter_prompts", "prompt_frames")
"""What of a catalogue does not go into the project's `texts.yaml`."""
RTL_SCRIPTS = frozenset(
    ("Adlm", "Arab", "Aran", "Gara", "Hebr", "Mand", "Mend", "Nkoo", "Rohg", "Samr", "Syrc", "Thaa", "Yezi")
)

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<rest>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*(?:-[a-wyz](?:-[a-z0-9]{2,8})+)*(?:-x(?:-[a-z0-9]{1,8})+)?)",
    re.IGNORECASE,
)
_HUB_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?![._-]))*(?<![._-])"
_HUB_MODEL = re.compile(rf"{_HUB_NAME}/{_HUB_NAME}(?::[a-z0-9][a-z0-9-]*)?")
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
    """What is known about a language without its catalogue; the fields are those of `[language]` in `project.toml`."""

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
    """Return the rows of `languages/subtags.tsv`: subtag → [English name, autonym, script, parent], "" for none."""
    rows = {}
    for line in (LANGUAGES / "subtags.tsv").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            subtag, *columns = line.split("\t")
            rows[subtag] = [*columns, "", "", "", ""][:4]
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
    wanted = answer.strip().casefold()
    names: dict[str, str] = {}
    for subtag, (english, autonym, *_) in subtags().items():
        if english and not english.startswith("="):
            names.setdefault(english.casefold(), subtag)
            names.setdefault(autonym.casefold(), subtag)
    for path in LANGUAGES.glob("*.yaml"):
        try:
            header = (catalogue(path.stem) or {}).get("language", {})
        except FailedHookException:  # somebody is at work on it
            continue
        names |= {str(header[name]).casefold(): path.stem for name in ("autonym", "english_name") if header.get(name)}
    close = [wanted] if wanted in names else difflib.get_close_matches(wanted, [name for name in names if name], n=3)
    return " or ".join(dict.fromkeys(names[name] for name in close))


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
    _, _, usual, parent = table[language]
    of_region = table.get(f"{language}-{region}", [""] * 4)[2] if region else ""
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
    return facts_of(answers.get("language") or "en")


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
        spec = importlib.util.spec_from_file_location(f"kto_{name}", path)
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
    is_path = _project_module("prompt_files").is_path(answer) or Path(answer).is_absolute() or _holds(path.is_file)
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
    """Return `prompts` for `project.toml`: a file is copied into the project, for it has to travel with it."""
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
        "- [ ] `name` in `project.toml`: the title of all pages",
        "",
        "Before people vote, write your texts into `texts.yaml`, under the same names and in the same shape. Keep",
        "words in {braces} and in `code` as they are; a text with a colon in it goes in quotation marks. The buttons",
        "of the voting page stay English, so name them as they are there: “Discard”, “Save as draft”.",
        "`short_description` has at most 60 characters. Figures are written like the two examples under `numbers`.",
        "`uv run check.py` says if something is missing or wrong.",
        "",
        f'When you have translated what you want, write `texts = ["{language.tag}"]` into `project.toml` and run',
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
    names = {"language": spoken, "domain": answers.get("domain", "").strip()}
    return " ".join(fill(texts(answers)["defaults"]["project_name"], names.__getitem__).split())


def default_slug(answers: Mapping[str, str]) -> str:
    """Suggest `kto-<tag>-<domain>`; a domain in other letters than Latin is left out, spelt in them it is no name."""
    domain = answers.get("domain", "")
    if any(char.isalpha() and not unicodedata.name(char, "").startswith("LATIN") for char in domain):
        domain = ""
    domain = slugify(domain, max_length=40, word_boundary=True)
    return f"kto-{facts(answers).tag.lower()}-{domain}".rstrip("-")


# --- checks ---


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
    files = _project_module("prompt_files")
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
    if answers[name].strip():
        return None
    return f"{name} is empty. Write a few words."


def problems(answers: Mapping[str, str]) -> dict[str, str]:
    """Return everything that is wrong with the answers themselves: question → what is wrong and what to do."""
    found = {
        "language": _check_language(answers),
        "domain": _check_filled(answers, "domain"),
        "project_name": _check_filled(answers, "project_name"),
        "project_slug": _check_slug(answers),
        "hub_owner": _check_owner(answers),
        "models": _check_models(answers),
        "prompts": _check_prompts(answers),
    }
    return {question: problem for question, problem in found.items() if problem}


def replay_file() -> Path:
    """Return the file where cookiecutter keeps the answers for `--replay`."""
    return Path(get_user_config()["replay_dir"]) / f"{HERE.name}.json"


def keep_answers(answers: Mapping[str, object], ask_again: list[str]) -> None:
    """Save the answers for `cookiecutter … --replay`, which then asks only the questions in `ask_again`.

    Cookiecutter asks for whatever a replay file lacks. Without `_extensions` in it, it takes them from the template
    again, which the questions need.
    """
    kept = {key: value for key, value in answers.items() if key in QUESTIONS and key not in ask_again}
    path = replay_file()
    dump(str(path.parent), path.stem, {"cookiecutter": kept | {"__checked": ""}})


def command() -> str:
    """Return the command that renders this template, as it was called (start.py says how)."""
    return os.environ.get("KTO_COMMAND") or f"cookiecutter {shlex.quote(str(HERE))}"


def check_answers(answers: Mapping[str, str]) -> str:
    """Stop before anything is written if an answer cannot be used; all problems at once.

    Raises
    ------
    FailedHookException
        Cookiecutter prints it as one message and leaves with status 1.
    """
    found = problems(answers)
    if found:
        listed = "\n".join(f"  - {question}: {problem}" for question, problem in found.items())
        ask_again = list(found)
        if "language" in found:  # what was suggested in English will be suggested in the language
            suggested = {"domain": default_domain, "project_name": default_project_name, "project_slug": default_slug}
            ask_again += [name for name, suggest in suggested.items() if answers[name] == suggest(answers)]
        keep_answers(answers, ask_again)
        raise FailedHookException(
            f"Some answers cannot be used:\n{listed}\nYour other answers are kept. "
            f"Run this; it asks only for {', '.join(dict.fromkeys(ask_again))}:\n    {command()} --replay"
        )
    return ""


def hook_answers(answers: Mapping[str, str]) -> str:
    """Return what the hook has to know, as JSON in ASCII that fits between the quotes of `r\"\"\"…\"\"\"`."""
    return json.dumps(
        {
            "problems": problems(answers),
            "models": models(answers),
            "inference": answers["inference"],
            "replay": str(replay_file()),
            "command": command(),
        }
    )


def next_steps(answers: Mapping[str, str]) -> str:
    """Return what the hook at the end prints, as JSON in ASCII: a title, (text, command) steps, a last line."""

    def text(key: str) -> str:
        return _pages_module().fill_text(texts(answers), key, values(answers)).replace("`", "")

    key = {"huggingface": "step_key", "local": "step_local", "openai-compatible": "step_server_address"}
    steps = [
        (text("next.enter"), f"cd {answers['project_slug']}"),
        (text("next.keep"), 'git init && git add . && git commit -m "KTO"'),
        (text("readme.before"), "pip install uv || pipx install uv"),
        (text(f"readme.{key[answers['inference']]}"), ""),
        (text("readme.step_check"), "uv run check.py"),
        (text("readme.step_generate"), "uv run generate.py --limit 8"),
    ]
    return json.dumps({"title": text("next.title"), "steps": steps, "more": text("next.more")})


class KtoExtension(Extension):
    """Gives the functions above to cookiecutter's templates."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        global _start
        if not Path.cwd().is_relative_to(HERE):
            _start = Path.cwd()
        environment.filters |= {"toml": toml, "json": json_literal, "yaml": to_yaml}
        environment.globals |= {
            function.__name__: function
            for function in (
                cell_fingerprint,
                check_answers,
                default_domain,
                default_project_name,
                default_slug,
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
                prompts_setting,
                starter_prompts,
                system_prompt,
                text_names,
                translating,
                untranslated,
            )
        }
