"""Whatever the answers are, and however they come: a whole project, or a refusal that leaves nothing behind.

`KTO_HOSTILE=500` looks at so many sets of answers in place of 100.
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import pytest
import yaml
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from rendering import ANSWERS, LANGUAGES, QUESTIONS, REPOSITORY, TEMPLATE, Bake, bake_here, read_yaml
from test_render import check_exact

sys.path.insert(0, str(TEMPLATE))

from kto.settings import load as load_settings

from local_extensions import rendering as extensions

SETS = int(os.environ.get("KTO_HOSTILE", "100"))
PRIVATE = ("_extensions", "_copy_without_render")
WORDS = r"""
' " \""" \u0041 \ ` ´ “ { } {{ }} {% %} {# #} {0} {domain} {{6*7}} {%raw%} {{cookiecutter}} {{nowhere.at_all}}
{readme.what} ${HOME} %PATH% $(id) --- - # ? | > ~ = , ; && [a] ] [[x]] !!python/object:os.system &a *a null no 1e3
0x10 2024-01-01 <b> </script> <!-- --> &amp; ]]> ![x](y) [x](javascript:1) _a_ ** |a| 1. <> 👩🏽‍🌾 🇳🇱 İ ﷺ हिन्दी ελ
עברית 中文 ꦗ 𞤀 con AUX.txt nul .. ../x / /etc/passwd C:\x . .git
"""
PIECES = (
    *WORDS.split(),
    *("'''", "\n---\n", "\n# ", "- a\n", ": ", " #", "\t", "\n", "\r", "\r\n", "\u2028", " ", "a" * 300, "é" * 999),
    *("\u200b", "\u200d", "\u202e", "\u2067", "\u2069", "\ufeff", "\ufffe", "\U000e0041", "\U0010ffff", "e\u0301"),
)
"""Means something in Jinja, TOML, YAML, Markdown, HTML, a shell or a file system, or in none."""
REFUSED = ("\x00", "\x07", "\x1b[D", "\x7f", "\x85", "\x9b", "\ud800", "\udce9")
LETTERS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)
ODD = st.lists(st.sampled_from(PIECES) | LETTERS, min_size=1, max_size=5).map("".join)
TEXT = st.tuples(ODD, st.sampled_from((*REFUSED, *("",) * 72))).map("".join)
FITTING = {
    "language": st.sampled_from((*LANGUAGES, "gsw-CH", "PT_br", "yo")) | st.sampled_from(("de-x-dorf", "xx", "hi-İN")),
    "project_slug": st.sampled_from(("kto-test", "a", "x" * 96, "x" * 97, "a--b", "con", "com1.x", "a.git", "A")),
    "hub_owner": st.sampled_from(("", "ann", "Ann_1", "@ann", "https://huggingface.co/ann", "-a", "a/b")),
    "models": st.sampled_from(
        ("acme/one", "a/b:c, d/e", "a/b, a/b", "gemma3:4b", "https://hf.co/a/b", ", ,", "x" * 300)
    ),
    "prompts": st.sampled_from(
        ("starter", "acme/data", "data", "nowhere.jsonl", "x.parquet", "/", "https://hf.co/datasets/a/b")
    ),
    "inference": st.sampled_from(("huggingface", "local", "openai-compatible", "Local", "")),
    "license": st.sampled_from(("cc-by-4.0", "cc0-1.0", "odc-by", "mit", "")),
}
"""What questions with few right answers get, besides texts that are none of them."""
NO_TEXT = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), st.lists(TEXT, max_size=2)),
    st.dictionaries(st.sampled_from(("a", "__prompt__", "local")), TEXT, max_size=2),
)


def answers_of(other: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return sets in which some questions have an answer that nobody expects; the others have the usual one."""
    of = {name: FITTING[name] | FITTING[name] | TEXT if name in FITTING else TEXT for name in QUESTIONS}
    texts = st.fixed_dictionaries({}, optional={name: of[name] for name in ("domain", "project_name", "system_prompt")})
    others = st.sampled_from(QUESTIONS).flatmap(lambda name: st.fixed_dictionaries({name: of[name] | other}))
    return st.one_of(texts, st.builds(lambda some, one: some | one, texts, others))


def typed(folder: Path, answers: dict[str, Any]) -> Bake:
    """Give the answers as a person at a terminal does: nobody renders them before they are used."""
    template = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    file = folder / "answers.json"
    whole = {name: template[name] for name in PRIVATE} | {"__checked": ""} | ANSWERS | answers
    file.write_text(json.dumps({"cookiecutter": whole}), encoding="utf-8")
    return bake_here(folder, "--replay-file", str(file))


def given_as_options(folder: Path, answers: dict[str, Any]) -> Bake:
    return bake_here(folder, "--no-input", *(f"{name}={answer}" for name, answer in (ANSWERS | answers).items()))


def configured(folder: Path, answers: dict[str, Any]) -> Bake:
    """Give the answers in a configuration of cookiecutter's."""
    file = folder / "config.yaml"
    content = {"replay_dir": str(folder / "replay"), "default_context": ANSWERS | answers}
    file.write_text(yaml.dump(content), encoding="utf-8")
    return bake_here(folder, "--no-input", env={"COOKIECUTTER_CONFIG": str(file)})


def check_refusal(done: Bake) -> None:
    assert done.status == 1 and done.nothing_written, done.output
    if "is not a valid choice" in done.output or "but the choices are" in done.output:
        return  # cookiecutter itself; start.py makes a sentence of it
    assert "Traceback" not in done.output, done.output
    assert any(said in done.output for said in ("cannot be used", "Nothing was written", "Unable to render")), (
        done.output
    )


def check_project(done: Bake) -> None:
    """Every file can be read by what reads it."""
    project = done.project
    settings = load_settings(project)
    assert set(settings.generation.models) and settings.project.slug == project.name
    texts = read_yaml(project / "kto" / "texts.yaml")
    assert {"readme", "errors", "task"} <= texts.keys()
    for line in (project / "prompts" / "starter.jsonl").read_text("utf-8").rstrip("\n").split("\n"):
        assert json.loads(line)["prompt"].strip()
    nbformat.validate(nbformat.read(project / "setup_argilla.ipynb", as_version=4))
    for page in ("publish/dataset/README.md", "publish/space/README.md"):
        facts = yaml.load((project / page).read_text("utf-8").split("\n---\n")[0], yaml.CSafeLoader)
        assert facts["license"] and all(isinstance(facts.get(name, ""), str) for name in ("title", "pretty_name"))


SETS_OF_ANSWERS = st.one_of(
    st.tuples(st.just(typed), answers_of(st.nothing())),
    st.tuples(st.just(typed), answers_of(NO_TEXT)),
    st.tuples(st.just(given_as_options), answers_of(st.nothing())),
    st.tuples(st.just(configured), answers_of(NO_TEXT)),
)


@pytest.mark.filterwarnings("ignore:Invalid default received")  # cookiecutter suggests another one then
@settings(max_examples=SETS, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SETS_OF_ANSWERS)
@example((configured, {"inference": []}))
@example((configured, {"system_prompt": "{%"}))
@example((typed, {"inference": "Local"}))
@example((typed, {"license": "a: b"}))
@example((typed, {"project_slug": "a/b"}))
def test_any_answers(tmp_path: Path, case: tuple[Callable[[Path, dict[str, Any]], Bake], dict[str, Any]]) -> None:
    way, answers = case
    folder = tmp_path / "try"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with mock.patch.object(logging.getLogger("cookiecutter.hooks"), "disabled", True):  # as start.py does
        done = way(folder, answers)
    event(f"{way.__name__}: {'a project' if done.status == 0 else 'refused'}")
    if done.status:
        check_refusal(done)
        return
    check_project(done)
    if way is typed:
        whole = ANSWERS | answers
        check_exact(done.project, whole | {"system_prompt": extensions.system_prompt(whole)})
