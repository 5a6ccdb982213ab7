"""The content of the project's files."""

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from local_extensions.answers import default_domain, models
from local_extensions.languages import PROJECT, RARE, catalogue, facts, flat, header_of, project_module, texts
from local_extensions.literals import json_literal, to_yaml

NOT_IN_TEXTS = ("language", "defaults", "system_prompt", "starter_prompts", "prompt_frames")
"""Sections of a catalogue that are not in the project's `kto/texts.yaml`."""
ROWS = "examples.rows"
"""Key of the list of worked examples, which a project replaces as a whole."""
CELLS: Mapping[str, Sequence[tuple[str, str]]] = {
    "intro": [("# ", "title"), ("", "intro")],
    "place-text": [("## ", "place"), ("", "place_text")],
    "connect-text": [("## ", "connect"), ("", "connect_text")],
    "task-text": [("## ", "task"), ("", "task_text")],
    "records-text": [("## ", "records"), ("", "records_text")],
    "invite-text": [("## ", "invite"), ("", "invite_text")],
    "done-text": [("## ", "done")],
}
"""The notebook's text cells by id: Markdown prefixes and keys under `notebook`."""


def values(answers: Mapping[str, str]) -> dict[str, object]:
    """Return the values for placeholders; the project computes the same from its settings."""
    language = facts(answers)
    return project_module("pages").page_values(
        project={name: answers[f"project_{name}"] for name in ("name", "slug")}
        | {name: answers[name] for name in ("domain", "hub_owner", "license")},
        language=dataclasses.asdict(language),
        generation={"models": models(answers), "inference": answers["inference"]},
        annotation={"contact": ""},
    )


def page(answers: Mapping[str, str], name: str) -> str:
    """Return one page of the project (`README.md`, `space/README.md`, …), filled."""
    return (
        project_module("pages")
        .fill_page(PROJECT / "kto" / "pages" / name, texts(answers), values(answers))
        .rstrip("\n")
    )


def project_texts(answers: Mapping[str, str]) -> dict:
    """Return the content of `kto/texts.yaml`; in all languages, models also name themselves in English."""
    own = {key: value for key, value in texts(answers).items() if key not in NOT_IN_TEXTS}
    phrases = [each["technical"]["self_naming"] for each in (own, catalogue("en") or {})]
    technical = {**own["technical"], "self_naming": "".join(dict.fromkeys(phrases))}
    return {"numbers": header_of(facts(answers))["numbers"], **own, "technical": technical}


def example_texts(answers: Mapping[str, str]) -> str:
    """Return, as comments in YAML, examples of changed texts."""
    examples = {"task": ("vote", "good"), "readme": ("what",)}
    shown = {section: {key: texts(answers)[section][key] for key in keys} for section, keys in examples.items()}
    return "\n".join(f"# {line}" for line in to_yaml(shown).rstrip("\n").split("\n"))


def origin_of_texts(answers: Mapping[str, str]) -> str:
    """Return who drafted and who reviewed the texts."""
    header = header_of(facts(answers))
    return f"{header['english_name']}: drafted by {header['drafted_by']}, reviewed by {header['reviewed_by']}."


def text_names(answers: Mapping[str, str]) -> str:
    """Return, as JSON, each key that the project needs and the placeholders allowed in its text."""
    find = project_module("pages").PLACEHOLDER.findall
    needed = {key: value for key, value in (catalogue("en") or {}).items() if key not in NOT_IN_TEXTS}
    wanted: dict[str, set[str]] = {}
    for key, text in flat(needed):  # the examples are one text: a project may have more or fewer of them
        name = ROWS if key.startswith(f"{ROWS}.") else key
        wanted[name] = wanted.get(name, set()) | {*find(str(text))}
    return json.dumps({key: sorted(names) for key, names in wanted.items()}, indent=1)


def made_pages(answers: Mapping[str, str]) -> str:
    """Return the fingerprint of every page as JSON, by which the project recognises edited pages."""
    folder = PROJECT / "kto" / "pages"
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.md"))
    made = {name: project_module("pages").fingerprint(page(answers, name)) for name in names}
    return json.dumps(made, indent=1, sort_keys=True)


def voting_page(answers: Mapping[str, Any]) -> str:
    """Return what the voting page shows besides the cards, as JSON; an update says which task the settings have."""
    asking, own = project_module("questions"), project_texts(answers)
    asked = asking.questions({"task": answers.get("_task", asking.TASK)}, own)
    return project_module("vote.page_json").page_json(own, values(answers), asked)


def nb(answers: Mapping[str, str], cell: str) -> str:
    """Return the Markdown of a cell as a JSON list of lines, laid out as nbformat does."""
    fill, known = project_module("pages").fill_text, values(answers)
    filled = "\n\n".join(fill(texts(answers), f"notebook.{key}", known, prefix) for prefix, key in CELLS[cell])
    lines = ",\n".join(f"    {json_literal(line)}" for line in filled.splitlines(keepends=True))
    return f"[\n{lines}\n   ]"


def version() -> str:
    """Return the version of `kto/`."""
    return (PROJECT / "kto" / "VERSION").read_text(encoding="utf-8").strip()


def system_prompt(answers: Mapping[str, str]) -> str:
    """Return the system prompt: the answer as it is, or the catalogue's."""
    if answers["system_prompt"].strip():
        return answers["system_prompt"]
    return project_module("pages").fill_text(texts(answers), "system_prompt", values(answers))


def starter_prompts(answers: Mapping[str, str]) -> str:
    """Return the starter prompts as JSONL without the last line end, those on the domain first."""
    catalogue_texts = texts(answers)
    own = answers["domain"].strip() not in ("", default_domain(answers))
    framed = (frame.replace("{domain}", answers["domain"].strip()) for frame in catalogue_texts["prompt_frames"] if own)
    return "\n".join(json_literal({"prompt": prompt}) for prompt in [*framed, *catalogue_texts["starter_prompts"]])


def english_prompts(answers: Mapping[str, str]) -> str:
    """Return as JSON the fingerprints of English prompts of a project without a catalogue."""
    told = [json.loads(line)["prompt"] for line in starter_prompts(answers).split("\n")]
    if not answers["system_prompt"].strip():
        told.append(system_prompt(answers))
    return json.dumps([project_module("pages").fingerprint(text) for text in told], indent=1)


def translating(answers: Mapping[str, str]) -> str:
    """Return the list of texts to translate, in the order in which people see them."""
    language = facts(answers)
    first = (
        "task",
        "examples",
        "page",
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
        "words in {braces} and in `code` as they are; a text with a colon in it goes in quotation marks. The voting",
        "page is yours whole (`page`), and its buttons want short words. Argilla's own page keeps its English buttons,",
        "so name these as they are there: “Discard”, “Save as draft”. The examples (`rows`) are also the practice of",
        "the voting page: copy the list from `kto/texts.yaml`, and put your own questions and answers into it.",
        "`short_description` has at most 60 characters. Figures are written like the two examples under `numbers`.",
        "`uv run check.py` says if something is missing or wrong.",
        "",
        f'When you have translated what you want, write `texts = ["{language.tag}"]` into `settings.toml` and run',
        "`uv run check.py pages`: it brings your texts into README, cards, community pages and the voting page, as",
        "often as you like.",
        "People meet the texts in this order:",
    ]
    # `next` is shown while a project is made, `numbers` says how 1234 looks
    left_out = {*first, "next", "numbers"}
    for section in [*first, *(section for section in source if section not in left_out)]:
        entries = [(key, text) for key, text in source[section].items() if not RARE.match(f"{section}.{key}")]
        if entries:
            lines += ["", f"## {section}", ""]
            lines += [f"- [ ] `{key}`: {_in_a_line(text)}" for key, text in entries]
    return "\n".join(lines)


def _in_a_line(text: object) -> str:
    if isinstance(text, list):  # of the examples
        return " · ".join(f"{row['question']} {row['answer']} ({row['vote']}: {row['why']})" for row in text)
    return " ".join(str(text).split())


def _identity() -> list[str]:
    """Return the commands that set git's name and address, [] if they are set."""
    git = shutil.which("git")
    if git is None:
        return []
    return [
        f'git config {name} "{value}"'
        for name, value in (("user.name", "NAME"), ("user.email", "ADDRESS"))
        if subprocess.run([git, "config", name], capture_output=True).returncode
    ]


def next_steps(answers: Mapping[str, str]) -> str:
    """Return the output of the last hook, as ASCII JSON: a title, steps (text, commands), a last line."""

    def text(key: str) -> str:
        return project_module("pages").fill_text(texts(answers), key, values(answers)).replace("`", "")

    key = {"huggingface": "step_key", "local": "step_local", "openai-compatible": "step_server_address"}
    # One command a line: `&&` and `||` are none in Windows PowerShell 5.1.
    steps: list[tuple[str, list[str]]] = [
        (text("next.enter"), [f"cd {answers['project_slug']}"]),
        (text("next.keep"), ["git init", *_identity(), "git add .", 'git commit -m "KTO"']),
        # It needs no package, so the Python that is there will do.
        (text("next.look"), [f"{'py' if os.name == 'nt' else 'python3'} vote.py practice"]),
        (text("readme.before"), ["pip install uv"]),
        (text(f"readme.{key[answers['inference']]}"), []),
        (text("readme.step_check"), ["uv run check.py"]),
        (text("readme.step_generate"), ["uv run generate.py --limit 8"]),
    ]
    return json.dumps({"title": text("next.title"), "steps": steps, "more": text("next.more")})
