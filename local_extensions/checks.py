"""Checks of the answers: right after a question, and all of them before anything is written."""

import contextlib
import functools
import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping, MutableMapping

import click
from cookiecutter.exceptions import FailedHookException
from cookiecutter.prompt import read_user_variable
from jinja2 import Environment, TemplateSyntaxError, pass_environment

from local_extensions import answers as given
from local_extensions.answers import (
    HUB_MODEL,
    HUB_NAME,
    QUESTIONS,
    default_domain,
    default_project_name,
    default_slug,
    holds,
    keep_answers,
    models,
    options_given,
    own_prompts,
    path_of,
    user_config,
)
from local_extensions.languages import HERE, catalogue, project_module, standard_tag

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Control characters, except for tabs and line ends."""
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Invisible letters; other invisible characters are found by their Unicode category."""
_LONGEST_LINE = 4095
"""Bytes of a line that a terminal takes without `readline` (Linux's N_TTY_BUF_SIZE; macOS takes 1,024)."""
_ON_THE_HUB = re.compile(r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/(?:datasets/|models/|spaces/)?")
_WINDOWS_NAMES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?", re.IGNORECASE)


def _check_text(answers: Mapping[str, object], name: str) -> str | None:
    value = answers[name]
    if not isinstance(value, str):
        return f"{_shown(value)} is not a text. Write a text."
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
    """Return an answer in printable form."""
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _check_language(answers: Mapping[str, str]) -> str | None:
    try:
        standard_tag(answers["language"])
    except ValueError as hint:
        meant = f"Did you mean {hint}? " if str(hint) else ""
        return f"“{answers['language']}” is not a language tag. {meant}Use a tag such as nl, pt-BR or sw."
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
    if not owner or (re.fullmatch(HUB_NAME, owner) and len(owner) <= 96):
        return None
    return f"“{owner}” is not a name on the Hub. Use the name of your user or organisation there, or leave it empty."


def _check_models(answers: Mapping[str, str]) -> str | None:
    names = models(answers)
    if not names:
        return "No model is named. Name at least one, for example Qwen/Qwen3-30B-A3B-Instruct-2507."
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"{', '.join(twice)} is named more than once. Name each model once."
    if answers["inference"] == "openai-compatible":
        return None
    wrong = [name for name in names if not HUB_MODEL.fullmatch(name) or len(name) > 250]
    if answers["inference"] == "local":
        wrong = [name for name in wrong if not holds(path_of(name).is_dir)]
    if wrong:
        listed = ", ".join(f"“{name}”" for name in wrong)
        also = " or a folder" if answers["inference"] == "local" else ""
        return f"{listed} is not a model id. Write owner/name, owner/name:provider{also}, with commas between models."
    return None


_SOURCES = "Write starter, the id of a dataset, or a path to a JSONL, CSV or text file."


def _check_prompts(answers: Mapping[str, str]) -> str | None:
    answer = answers["prompts"].strip()
    path = own_prompts(answers)
    if path is None:
        is_id = len(answer) <= 193 and re.fullmatch(rf"{HUB_NAME}(?:/{HUB_NAME})?", answer)
        if answer == "starter" or is_id:
            return None
        return f"“{answer}” is not a source of prompts. {_SOURCES}"
    files = project_module("ask.prompt_files")
    if path.suffix.lower() in files.OTHER_FILES:
        return f"{path} is not a readable file of prompts. {_SOURCES}"
    try:
        found, wrong = files.read(path.read_bytes(), path.suffix, files.Selection("prompt"))
    except OSError as error:
        return f"{path} cannot be read ({error.strerror}). Check the path of the prompts."
    except ValueError:
        return f"“{answer}” is not a path. Check the path of the prompts."
    except files.NoColumn as error:
        return (
            f"{path} has no column “prompt”, but: {', '.join(error.columns)}. Call the one with the prompts “prompt”."
        )
    if wrong:
        fill_text, english = project_module("pages").fill_text, catalogue("en") or {}
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
def choices(name: str) -> list[str]:
    """Return the choices of a question."""
    return json.loads((HERE / "cookiecutter.json").read_text(encoding="utf-8"))[name]


def _check_choice(answers: Mapping[str, str], name: str) -> str | None:
    """Check a choice: cookiecutter does not check the answers in a replay file."""
    allowed = choices(name)
    if answers[name] in allowed:
        return None
    return f"“{answers[name]}” is none of the choices. Choose one of these: {', '.join(allowed)}."


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
    """Return question → what is wrong with the answer and what to do."""
    wrong = {name: _check_text(answers, name) for name in QUESTIONS}
    texts = {name: "" if wrong[name] else str(answers[name]) for name in QUESTIONS}
    for name, check in _CHECKS.items():
        wrong[name] = wrong[name] or check(texts)
    return {question: problem for question, problem in wrong.items() if problem}


def _check_folder(answers: Mapping[str, str]) -> str | None:
    """Say that the project's folder exists, before cookiecutter makes it."""
    options = options_given()
    if not options or options.get("overwrite_if_exists") or options.get("skip_if_file_exists"):
        return None
    folder = given.start / str(options.get("output_dir") or ".") / answers["project_slug"]
    if not holds(folder.exists):
        return None
    return f"There is a folder {folder} already. Choose another name, or move that folder away."


def _is_asked() -> bool:
    """Return whether a person answers the questions at a terminal."""
    options = options_given()
    return bool(options) and not options.get("no_input") and sys.stdin.isatty() and sys.stdout.isatty()


@pass_environment
def check_configuration(environment: Environment) -> str:
    """Stop before the first question if an answer in the user's configuration or in an option cannot be used.

    YAML reads `no` as false, a list as a choice, and nothing as null, so cookiecutter would ask other questions. And it
    renders these answers as Jinja, whose errors would be tracebacks.

    Raises
    ------
    FailedHookException
        The message names the file and what to write there.
    """
    answers = user_config().get("default_context") or {}
    assert isinstance(answers, Mapping)
    wrong = []
    for name in QUESTIONS:
        value = answers.get(name, "")
        chosen = name in ("inference", "license")  # of these a list may name some
        if isinstance(value, list) and not (chosen and value):
            text = choices(name)[0] if chosen else ", ".join(map(str, value))
            wrong.append(f'{name} is a list. Write one text: {name}: "{text}"')
        elif isinstance(value, bool):
            said = "yes" if value else "no"
            wrong.append(f'{name} is {str(value).lower()}, which YAML takes {said} for. Write {name}: "{said}"')
        elif not isinstance(value, str | int | float | list):  # null, a table, a date
            text = "" if value is None or isinstance(value, dict) else value
            wrong.append(f'{name} is not a text. Write {name}: "{text}"')
    path = options_given().get("config_file") or os.environ.get("COOKIECUTTER_CONFIG") or "~/.cookiecutterrc"
    options = options_given().get("extra_context")  # of cruft it is a text
    no_code = [_no_code(environment, answers), _no_code(environment, options if isinstance(options, Mapping) else {})]
    for where, found in ((f"in {path} (default_context)", wrong + no_code[0]), ("on the command line", no_code[1])):
        if found:
            listed = "\n".join(f"  - {problem}" for problem in found)
            raise FailedHookException(f"Some answers {where} cannot be used:\n{listed}")
    return ""


def _no_code(environment: Environment, answers: Mapping[str, object]) -> list[str]:
    """Return what is wrong with answers that cookiecutter renders as Jinja."""
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
    """Return the answers together with those of a replay file, which cookiecutter does not pass on."""
    path = options_given().get("replay_file")
    kept: Mapping[str, str] = {}
    if path:
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
            kept = json.loads((given.start / str(path)).read_text(encoding="utf-8"))["cookiecutter"]
    return {**kept, **answers}


def check(answers: MutableMapping[str, str], name: str) -> str:
    """At a terminal, ask a question again until its answer can be used.

    Pasted addresses of pages on the Hub become the names in them.
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
    """Return what is wrong with one answer, given the answers before it."""
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
    """Say that several lines were pasted, and drop the others, which would answer the next questions."""
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


def project_folder(answers: Mapping[str, str]) -> str:
    """Return the name of the project's folder; raise `FailedHookException` for unusable answers in a replay file."""
    check_answers(answers)
    return answers["project_slug"]


def check_answers(answers: Mapping[str, str]) -> str:
    """Stop before anything is written if answers cannot be used; report all problems at once.

    Cookiecutter prints the `FailedHookException` as one message and leaves with status 1.
    """
    answers = _whole(answers)
    if not set(QUESTIONS) <= answers.keys():  # an older replay file; `project_folder` looks at all of them
        return ""
    wrong = problems(answers)
    if "project_slug" not in wrong and (exists := _check_folder(answers)):
        wrong["project_slug"] = exists
    if wrong:
        listed = "\n".join(f"  - {question}: {problem}" for question, problem in wrong.items())
        ask_again = list(wrong)
        if "language" in wrong:  # suggestions were English and will be in the language
            suggested = {"domain": default_domain, "project_name": default_project_name, "project_slug": default_slug}
            ask_again += [name for name, suggest in suggested.items() if answers[name] == suggest(answers)]
        go_on = keep_answers(answers, ask_again)
        raise FailedHookException(
            f"Some answers cannot be used:\n{listed}\nYour other answers are kept. "
            f"Run this; it asks only for {', '.join(dict.fromkeys(ask_again))}:\n    {go_on}"
        )
    return ""
