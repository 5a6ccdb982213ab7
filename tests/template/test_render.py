"""A rendered project: the files, their formats, and answers that come out as they went in."""

import functools
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
import yaml
from huggingface_hub import DatasetCard, SpaceCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rendering import (
    ANSWERS,
    LANGUAGES,
    REPOSITORY,
    TEMPLATE,
    bake,
    cookiecutter_environment,
    read_yaml,
    render,
    replay,
)

from local_extensions.languages import project_module

HOSTILE = [
    "quotes \"double\" and 'single'",
    "three \"\"\" and '''",
    "back\\slash \\n \\u0041 \\",
    "two\nlines\r\nand a\ttab",
    "emoji 👩🏽‍🌾🇳🇱",
    "مرحبا بالعالم",
    "{{ 6*7 }} {% raw %} {# gone? #}",
    "100 % $HOME ${PATH} %PATH% `id` $(id)",
    "#! <script>alert(1)</script> & | ; <!-- if owned -->",
    "{readme.what} {domain} {0}",
    "- yes: [no, ~] \u2028",
    "*Star* _of_ ~~the~~ `sea` # 1. | $x$ ![x](y) &amp; https://x.y \\",
    "1. first",
]


def own_files(project: Path) -> set[str]:
    return {path.relative_to(project).as_posix() for path in project.rglob("*") if path.is_file()}


OWNED = {
    *("README.md", "LICENSE", "settings.toml", "texts.yaml", "pyproject.toml", "setup_argilla.ipynb"),
    *("check.py", "generate.py", "vote.py", "export.py", "train.py"),
    *("prompts/starter.jsonl", "prompts/system_prompt.txt"),
    *("publish/community/announcement.md", "publish/community/consent.md", "publish/community/guidelines.md"),
    *("publish/dataset/README.md", "publish/space/.oauth.yaml", "publish/space/Dockerfile", "publish/space/README.md"),
    "publish/voting/page.json",
    *(".env.example", ".gitattributes", ".gitignore", ".github/workflows/test.yml", "tests/test_project.py"),
}
"""The files of a render outside of `kto/`."""


def test_the_map_of_kto_names_every_module() -> None:
    """With the first line of each; the files that it names elsewhere are there, and its version is the template's."""
    said = (TEMPLATE / "kto" / "README.md").read_text(encoding="utf-8")
    head, _, listed = said.partition("## Modules\n\n")
    modules = runpy.run_path(str(REPOSITORY / "tools" / "make_map.py"))["modules"]()
    assert listed == f"{modules}\n"
    paths = sorted((TEMPLATE / "kto").rglob("*.py"))
    files = [path for path in paths if path.stem != "__init__"]
    assert len(re.findall("(?m)^- `", listed)) == len(files)
    folders = [path.parent.relative_to(TEMPLATE).as_posix() for path in paths if path.stem == "__init__"]
    assert re.findall("(?m)^### (.*)/$", listed) == folders
    section = head.partition("## To change something")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w/]+\.(?:py|js|yaml)|[\w/]+/)`", section)
    assert len(named) > 15
    assert {name for name in named if not any((TEMPLATE / at / name).exists() for at in (".", "kto"))} == {"X.py"}
    version = (TEMPLATE / "kto" / "VERSION").read_text(encoding="utf-8").strip()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == version


def template_files() -> set[str]:
    return {name for name in own_files(TEMPLATE) if "{" not in name and "__pycache__" not in name}


ODD = "\"a\" 'b' “c” 👩🏽‍🌾 मराठी עברית {readme.what} | `d`: #e & f"
ODD_ANSWERS = {"domain": ODD, "project_name": ODD, "system_prompt": ODD}


@pytest.fixture(scope="module")
def in_language(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return the project of a language whose free answers are `ODD`; nobody may change what is in it."""

    @functools.cache
    def made(language: str) -> Path:
        return render(tmp_path_factory.mktemp(language), language=language, **ODD_ANSWERS)

    return made


@pytest.mark.parametrize("language", [*LANGUAGES, "gsw-CH"])
def test_files(language: str, in_language: Callable[[str], Path]) -> None:
    project = in_language(language)
    extra = set() if language in LANGUAGES else {"TRANSLATING.md", "kto/english_prompts.json"}
    assert own_files(project) == template_files() | extra
    assert {name for name in own_files(project) if not name.startswith("kto/")} == OWNED | extra - {
        "kto/english_prompts.json"
    }
    for name in own_files(project):
        data = (project / name).read_bytes()
        if name.endswith(".png"):
            assert data == (TEMPLATE / name).read_bytes()
            continue
        text = data.decode("utf-8")
        assert b"\r" not in data, name
        if not name.endswith((".py", ".yml")):
            assert "{{" not in text and "{%" not in text, name
        if name.endswith((".toml",)):
            tomllib.loads(text)
        elif name.endswith((".yaml", ".yml")):
            yaml.safe_load(text)
        elif name.endswith(".json"):
            json.loads(text)
        elif name.endswith(".jsonl"):
            assert len([json.loads(line) for line in text.splitlines()]) == 32
        elif name.endswith(".py"):
            assert data == (TEMPLATE / name).read_bytes(), "Python files carry no answers"
    notebook = nbformat.read(project / "setup_argilla.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.parametrize("language", [*LANGUAGES, "gsw-CH", "pt-AO", "no"])
def test_cards_have_allowed_values(language: str, in_language: Callable[[str], Path]) -> None:
    import datasets

    resources = Path(datasets.__file__).parent / "utils" / "resources"
    allowed = {
        name: json.loads((resources / f"{name}.json").read_text("utf-8"))
        for name in ("languages", "creators", "multilingualities", "size_categories")
    }
    project = in_language(language)
    space = SpaceCard.load(project / "publish" / "space" / "README.md").data.to_dict()
    assert space["title"] == ODD
    assert space["sdk"] == "docker" and space["app_port"] == 6900
    assert len(space["short_description"]) <= 60
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {space["colorFrom"], space["colorTo"]} <= colors
    card = DatasetCard.load(project / "publish" / "dataset" / "README.md").data.to_dict()
    assert card["pretty_name"] == ODD
    assert all(isinstance(tag, str) and tag in allowed["languages"] for tag in card["language"])
    for field in ("annotations_creators", "language_creators"):
        assert set(card[field]) <= set(allowed["creators"]["annotations" if "annot" in field else "language"]), field
    assert set(card["multilinguality"]) <= set(allowed["multilingualities"])
    assert card["license"] == "cc-by-4.0" and card["task_categories"] == ["text-generation"]


def visible(page: str) -> str:
    """Return what people read on a page of GitHub or the Hub."""
    parts: list[str] = []
    parser = HTMLParser()
    parser.handle_data = parts.append  # type: ignore[method-assign]
    markdown = MarkdownIt("gfm-like", {"linkify": False, "html": True})
    parser.feed(markdown.render(page.split("\n---\n", 1)[-1] if page.startswith("---") else page))
    parser.close()
    return " ".join("".join(parts).split())


def check_exact(project: Path, answers: dict[str, str]) -> None:
    """Every free text of the answers is in the files exactly as it went in."""
    toml = tomllib.loads((project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["project"]["domain"] == answers["domain"]
    assert toml["project"]["name"] == answers["project_name"]
    prompt = (project / "prompts" / "system_prompt.txt").read_bytes().decode("utf-8")
    assert prompt == answers["system_prompt"] + "\n"
    title = " ".join(answers["project_name"].split())
    for name in ("README.md", "publish/community/announcement.md", "publish/dataset/README.md"):
        seen = visible((project / name).read_text(encoding="utf-8"))
        assert " ".join(answers["domain"].split()) in seen, name
        assert title in seen or name == "publish/community/announcement.md"
    assert SpaceCard.load(project / "publish" / "space" / "README.md").data.to_dict()["title"] == title
    assert DatasetCard.load(project / "publish" / "dataset" / "README.md").data.to_dict()["pretty_name"] == title
    nbformat.validate(nbformat.read(project / "setup_argilla.ipynb", as_version=4))
    assert json.loads((project / "publish" / "voting" / "page.json").read_text(encoding="utf-8"))["title"] == title


@pytest.mark.parametrize(
    "text", ["Food & drink!", "C# in 5 > 3 steps", "I <3 it", "#1 of $5", "[what", "R&D & co;", "what! [x]", "1. a & b"]
)
def test_what_means_nothing_in_markdown_is_not_marked(text: str) -> None:
    """Discord would show the backslash."""
    written = project_module("pages").as_typed(text)
    marks = {"[what": 1, "what! [x]": 2, "1. a & b": 1}.get(text, 0)
    assert written.replace("\\", "") == text and written.count("\\") == marks


MARKS = (
    """&amp; &#35; & # # ## < <b> </b> <!-- --> > * ** _ ` ~~ | [ ] ](y) ! \\ ; = - + 1. 12) a B $ ( ) { } : / \" '"""
)
lines = st.lists(st.sampled_from(MARKS.split() + [" "] * 15), min_size=1, max_size=9).map("".join).filter(str.strip)


@settings(max_examples=300)
@given(text=lines)
@pytest.mark.parametrize("place", ["# {}", "{}", "{}!", "About: {}.", "- “{}” and {}", "**{}**, {} [x](y)"])
def test_a_text_is_shown_as_it_was_typed(place: str, text: str) -> None:
    page = place.replace("{}", project_module("pages").as_typed(text))
    shown = re.sub(r"^[#-] |[*]{2}|\(y\)|(?<= )\[(?=x)|(?<=x)\](?=\(y)", "", place)
    assert visible(page) == " ".join(shown.replace("{}", " ".join(text.split())).split())


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", ["en", "ar"])
def test_hostile_answers(language: str, text: str, tmp_path: Path) -> None:
    answers = {"language": language, "domain": text, "project_name": text, "system_prompt": text}
    done = replay(tmp_path, **answers)
    assert done.status == 0, done.output
    check_exact(done.project, answers)


@pytest.mark.parametrize("language", LANGUAGES)
def test_any_domain_fits_into_the_sentences_of_every_language(
    language: str, in_language: Callable[[str], Path]
) -> None:
    """Also the project itself makes the same pages from these answers as the template did."""
    project = in_language(language)
    check_exact(project, ODD_ANSWERS)
    prompts = [json.loads(line)["prompt"] for line in (project / "prompts" / "starter.jsonl").open(encoding="utf-8")]
    assert [ODD in prompt for prompt in prompts] == [True] * 8 + [False] * 24
    before = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = subprocess.run([sys.executable, "check.py", "pages"], cwd=project, capture_output=True, encoding="utf-8")
    unchanged = read_yaml(project / "kto" / "texts.yaml")["pages"]["unchanged"]
    assert done.stdout == unchanged + "\n", done.stderr
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == before


def test_typed_answers_come_out_as_they_went_in(tmp_path: Path) -> None:
    hostile = "a \"b\" 'c' \\d {{ 6*7 }} {% x %} #} %PATH% $HOME 👍 مرحبا"
    typed = ["nl", hostile, hostile, "kto-typed", "", "1", "acme/one", hostile, "starter", "1"]
    done = bake(tmp_path, typed="\n".join(typed) + "\n")
    assert done.status == 0, done.output
    check_exact(done.project, {"domain": hostile, "project_name": hostile, "system_prompt": hostile})


def test_defaults_are_in_the_language_and_complete(tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "language=nl")
    assert done.status == 0, done.output
    toml = tomllib.loads((done.project / "settings.toml").read_text(encoding="utf-8"))
    nl = read_yaml(REPOSITORY / "languages" / "nl.yaml")
    assert toml["project"]["domain"] == nl["defaults"]["domain"]
    assert done.project.name.startswith("kto-nl-") and done.project.name.isascii()
    assert toml["project"]["hub_owner"] == ""
    lines = (done.project / "prompts" / "starter.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == nl["starter_prompts"], "frames want a subject of one's own"
    assert toml["language"]["texts"] == ["nl", "en"]
    assert "drafted by a language model, reviewed by nobody yet" in (done.project / "kto" / "texts.yaml").read_text(
        "utf-8"
    )
    assert not done.output.startswith("Traceback")


@pytest.mark.parametrize(
    ("answer", "tag", "direction", "iso"),
    [
        ("ger", "de", "ltr", "de"),
        ("PT_br", "pt-BR", "ltr", "pt"),
        ("quy", "quy", "ltr", "quy"),
        ("he", "he", "rtl", "he"),
        ("pa-PK", "pa-PK", "rtl", "pa"),
        ("uz-arab", "uz-Arab", "rtl", "uz"),
        ("zh-TW", "zh-TW", "ltr", "zh"),
        ("ks", "ks", "rtl", "ks"),
    ],
)
def test_language_facts(answer: str, tag: str, direction: str, iso: str, tmp_path: Path) -> None:
    toml = tomllib.loads((render(tmp_path, language=answer) / "settings.toml").read_text(encoding="utf-8"))
    language = toml["language"]
    assert (language["tag"], language["direction"], language["iso"]) == (tag, direction, iso)


@pytest.mark.parametrize(
    ("language", "domain", "slug"),
    [
        ("vi", "đời sống", "kto-vi-doi-song"),
        ("ka", "მეფუტკრეობა", "kto-ka"),
        ("sr-Latn", "pčele", "kto-sr-latn-pcele"),
    ],
)
def test_suggested_name(language: str, domain: str, slug: str, tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", f"language={language}", f"domain={domain}")
    assert done.project.name == slug, done.output


def test_own_prompts_travel_with_the_project(tmp_path: Path) -> None:
    source = tmp_path / "ours.jsonl"
    source.write_bytes("\ufeff".encode() + '{"prompt": "Hoe gaat het? 👋"}\r\n{"prompt": "\\"Wat\\"?"}\r\n'.encode())
    project = render(tmp_path / "baked", prompts=str(source))
    settings = tomllib.loads((project / "settings.toml").read_text("utf-8"))
    assert settings["generation"]["prompts"] == ["prompts/own.jsonl"]
    rows = [json.loads(line) for line in (project / "prompts" / "own.jsonl").read_text("utf-8").splitlines()]
    assert [row["prompt"] for row in rows] == ["Hoe gaat het? 👋", '"Wat"?']


def test_no_owner_means_nothing_pretends_to_be_published(tmp_path: Path) -> None:
    without = render(tmp_path / "a", hub_owner="")
    owned = render(tmp_path / "b", hub_owner="ann")
    assert "load_dataset" not in (without / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert 'load_dataset("ann/kto-test"' in (owned / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_project_passes_its_own_tests(language: str, in_language: Callable[[str], Path]) -> None:
    project = in_language(language)
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # a project has pytest alone
    for command in (["pytest", "-q", "-p", "no:cacheprovider"], ["ruff", "check", "--no-cache", "."]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, env=env, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_it_renders_on_a_console_with_an_old_code_page(tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "language=ar", env={"PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"})
    assert done.status == 0, done.output
    assert (done.project / "README.md").read_text(encoding="utf-8")


def test_two_projects_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cookiecutter.main import cookiecutter

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"replay_dir": str(tmp_path / "replay")}), encoding="utf-8")
    for language in ("nl", "ar"):
        cookiecutter(
            str(REPOSITORY),
            no_input=True,
            extra_context={**ANSWERS, "language": language, "project_slug": f"kto-{language}"},
            output_dir=str(tmp_path),
            config_file=str(config),
        )
        toml = tomllib.loads((tmp_path / f"kto-{language}" / "settings.toml").read_text(encoding="utf-8"))
        assert toml["language"]["tag"] == language


TWO_VERSIONS = """
import sys
from pathlib import Path
from cookiecutter.main import cookiecutter

template, out = map(Path, sys.argv[1:])
catalogue = template / "languages" / "nl.yaml"
for version in ("before", "after"):
    cookiecutter(str(template), no_input=True, extra_context={"language": "nl"}, output_dir=str(out / version))
    text = catalogue.read_text(encoding="utf-8").replace("good: 👍 ", "good: 👍 Ja, ")
    catalogue.write_text(text, encoding="utf-8")
"""


def test_two_versions_of_the_template_in_one_process(tmp_path: Path) -> None:
    """As `cruft update` renders them: the old commit and the new one, from the same folder."""
    template = tmp_path / "template"
    shutil.copytree(REPOSITORY, template, ignore=shutil.ignore_patterns(".git", ".tools", "tests", "*_cache"))
    env = cookiecutter_environment(tmp_path / "home")
    command = [sys.executable, "-c", TWO_VERSIONS, str(template), str(tmp_path)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    files = [next((tmp_path / version).glob("*/kto/texts.yaml")) for version in ("before", "after")]
    texts = [read_yaml(file)["task"]["good"] for file in files]
    assert "Ja, " not in texts[0] and texts[1] == texts[0].replace("👍 ", "👍 Ja, ")


def test_the_next_steps_are_commands_of_every_shell(tmp_path: Path) -> None:
    """Windows PowerShell 5.1 knows neither && nor ||; git wants to know who commits."""
    (tmp_path / "empty").mkdir()
    nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "HOME": str(tmp_path / "empty")}
    done = bake(tmp_path, "--no-input", "models=acme/one", env=nobody)
    assert done.status == 0, done.output
    assert "&&" not in done.output and "||" not in done.output
    lines = [line.strip() for line in done.output.splitlines()]
    first = lines.index("git init")
    assert lines[first + 1 : first + 5] == [
        'git config user.name "NAME"',
        'git config user.email "ADDRESS"',
        "git add .",
        'git commit -m "KTO"',
    ]
    for page in (done.project / "README.md", REPOSITORY / "README.md"):
        text = page.read_text(encoding="utf-8")
        assert "&&" not in text and "||" not in text
