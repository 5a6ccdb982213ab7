"""The answers: their meaning, suggestions, and how they are saved for another try."""

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

import click
from cookiecutter.config import get_user_config
from slugify import slugify

from local_extensions.languages import HERE, PROJECT, facts, project_module, texts, untranslated

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
"""Suggested models by `inference`; for `local` 3 and 4 B parameters in 16 bits, 15 GB of downloads."""
HUB_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9]|[._-](?![._-]))*(?<![._-])"
HUB_MODEL = re.compile(rf"{HUB_NAME}/{HUB_NAME}(?::[a-z0-9][a-z0-9-]*)?")
start = Path.cwd()
"""The user's folder; cookiecutter itself changes into the template and the project."""


def remember_start() -> None:
    """Remember the current folder as the user's, unless cookiecutter has changed into the template already."""
    global start
    if not Path.cwd().is_relative_to(HERE):
        start = Path.cwd()


def path_of(answer: str) -> Path:
    """Return the path that an answer names, relative to the user's folder."""
    try:
        return start / Path(answer).expanduser()
    except RuntimeError:  # ~somebody whom this machine does not know
        return start / answer


def holds(test: Callable[[], bool]) -> bool:
    """Return the result of a test of a path, False if it cannot be a path."""
    try:
        return test()
    except (OSError, ValueError):  # too long for a path, or a null character
        return False


def models(answers: Mapping[str, str]) -> list[str]:
    """Return the models of the comma-separated answer; folders as absolute paths."""
    names = [model.strip() for model in answers["models"].split(",") if model.strip()]
    if answers.get("inference") != "local":
        return names
    folders = {name: path_of(name) for name in names if not HUB_MODEL.fullmatch(name)}
    return [str(folders[name].resolve()) if name in folders and holds(folders[name].is_dir) else name for name in names]


def own_prompts(answers: Mapping[str, str]) -> Path | None:
    """Return the file that the answer `prompts` names, or None if it is `starter` or a dataset on the Hub."""
    answer = answers["prompts"].strip()
    path = path_of(answer)
    is_path = project_module("ask.prompt_files").is_path(answer) or Path(answer).is_absolute() or holds(path.is_file)
    return path if answer != "starter" and is_path else None


def default_domain(answers: Mapping[str, str]) -> str:
    """Suggest a domain in the community's language."""
    return texts(answers)["defaults"]["domain"]


def default_project_name(answers: Mapping[str, str]) -> str:
    """Suggest a title in the community's language."""
    fill = project_module("pages").fill
    language = facts(answers)
    spoken = language.english_name if untranslated(answers) else language.autonym
    names = {"language": spoken, "domain": str(answers.get("domain") or "").strip()}
    return " ".join(fill(texts(answers)["defaults"]["project_name"], names.__getitem__).split())


def default_models(answers: Mapping[str, str]) -> str:
    """Suggest models: served by several providers, small, or in Ollama's library."""
    return MODELS[answers.get("inference", "huggingface")]


def default_slug(answers: Mapping[str, str]) -> str:
    """Suggest `kto-<tag>-<domain>`; a domain in another script is left out."""
    domain = str(answers.get("domain") or "")
    if any(char.isalpha() and not unicodedata.name(char, "").startswith("LATIN") for char in domain):
        domain = ""
    domain = slugify(domain, max_length=40, word_boundary=True)
    return f"kto-{facts(answers).tag.lower()}-{domain}".rstrip("-")


def base_url(answers: Mapping[str, str]) -> str:
    """Suggest the address of Ollama for one's own server; other kinds of inference need none."""
    return "http://127.0.0.1:11434/v1" if answers["inference"] == "openai-compatible" else ""


def own_prompts_name(answers: Mapping[str, str]) -> str:
    """Return the name of the community's own prompts file in the project, "" if there is none."""
    path = own_prompts(answers)
    if path is None:
        return ""
    suffix = path.suffix.lower()
    return f"own{suffix if suffix in ('.csv', '.tsv', '.txt') else '.jsonl'}"


def prompts_setting(answers: Mapping[str, str]) -> str:
    """Return `prompts` for `settings.toml`; a file is copied into the project."""
    name = own_prompts_name(answers)
    return f"prompts/{name}" if name else answers["prompts"].strip()


def own_prompts_content(answers: Mapping[str, str]) -> str:
    """Return the content of the community's own prompts file, without the last line end."""
    path = own_prompts(answers)
    assert path is not None
    return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").rstrip("\r\n")


def options_given() -> Mapping[str, object]:
    """Return the command-line options of cookiecutter or cruft; {} if it is called as a function."""
    context = click.get_current_context(silent=True)
    return context.params if context else {}


def user_config() -> Mapping[str, object]:
    """Return cookiecutter's configuration of this user."""
    options = options_given()
    return get_user_config(options.get("config_file"), bool(options.get("default_config")))


def answers_file(answers: Mapping[str, object]) -> Path:
    """Return the file that saves these answers, in the folder of cookiecutter's own replay files."""
    name = hashlib.sha256(json.dumps([answers[name] for name in QUESTIONS]).encode()).hexdigest()[:12]
    try:
        folder = Path(str(user_config()["replay_dir"])).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir())
    return folder.absolute() / f"kto-answers-{name}.json"


def keep_answers(answers: Mapping[str, object], ask_again: list[str]) -> str:
    """Save the answers, and return the command that asks only the questions in `ask_again`.

    Cookiecutter asks for the answers that a replay file lacks. Without `_extensions` in it, it takes those of the
    template, which the questions need.
    """
    path = answers_file(answers)
    path.write_text(json.dumps({"cookiecutter": _kept(answers, ask_again)}, indent=2), encoding="utf-8")
    return command(path)


def _kept(answers: Mapping[str, object], ask_again: list[str]) -> dict[str, object]:
    names = [name for name in QUESTIONS if name not in ask_again]
    # Skip the checks of these questions, but not the check of all answers.
    return {name: answers[name] for name in names} | {f"__check_{name}": "" for name in ["configuration", *names]}


def command(path: Path) -> str:
    """Return the command that renders this template with the answers in a file, in the form used this time."""
    options = options_given()
    words: list[str] = []
    template = str(options.get("template") or HERE)
    if holds((start / template).exists):  # else an address, or an abbreviation such as gh:
        template = str((start / template).absolute())
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
    """Return the command for cookiecutter, which may run in a temporary environment (uvx, pipx run)."""
    parts = Path(sys.prefix).parts
    if any(part.startswith(("archive-v", "environments-v")) for part in parts):
        return ["uvx", "cookiecutter"]
    if "pipx" in parts and "venvs" not in parts:
        return ["pipx", "run", "cookiecutter"]
    return ["cookiecutter"] if shutil.which("cookiecutter") else [sys.executable, "-m", "cookiecutter"]


def hook_answers(answers: Mapping[str, str]) -> str:
    """Return the data for the hook, as ASCII JSON that fits into `r\"\"\"…\"\"\"`."""
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
