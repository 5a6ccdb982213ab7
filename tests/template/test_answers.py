"""Answers that cannot be used: each gets a sentence, all at once, and nothing is written."""

import ast
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import cookiecutter
import pytest
from click.testing import CliRunner
from cookiecutter.cli import main
from rendering import REPOSITORY, bake, cookiecutter_environment, follow, replay

BAD = [
    ("language", "dutch", "nl"),
    ("language", "e", "language tag"),
    ("language", "xx-YY", "language tag"),
    ("domain", " ", "domain is empty"),
    ("project_name", "\t", "project_name is empty"),
    ("project_slug", "con", "folder"),
    ("project_slug", "a:b", "folder"),
    ("project_slug", "../up", "folder"),
    ("project_slug", "Käse", "folder"),
    ("project_slug", "", "folder"),
    ("project_slug", "x" * 97, "folder"),
    ("hub_owner", "me/you", "name on the Hub"),
    ("models", "", "No model"),
    ("models", " , ,", "No model"),
    ("models", "gpt2", "not a model id"),
    ("models", "a/b/c", "not a model id"),
    ("models", "acme/one, acme/one", "more than once"),
    ("models", "acme/one:To gether", "not a model id"),
    ("prompts", "nowhere.jsonl", "cannot be read"),
    ("prompts", "what is this?", "not a source of prompts"),
]


@pytest.mark.parametrize(("question", "answer", "expected"), BAD)
def test_a_bad_answer(question: str, answer: str, expected: str, tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "models=acme/one", f"{question}={answer}")
    assert done.status == 1
    assert expected in done.output and f"{question}:" in done.output
    assert "Traceback" not in done.output
    assert done.nothing_written


HIDDEN = [
    ("domain", "hauki\x1b[D", "control character in it (U+001B)"),
    ("system_prompt", "a\x00b".replace("\x00", "\x08"), "U+0008"),
    ("project_name", "a\x9bb", "U+009B"),
    ("project_name", "\u200b", "is empty"),
    ("domain", "\u2800\u3164 ", "is empty"),
    ("project_name", "a\udce9", "not written in UTF-8"),
    ("system_prompt", "\ud83d", "not written in UTF-8"),
    ("hub_owner", None, "is not a text"),
    ("language", False, "is not a text"),
    ("domain", True, "is not a text"),
    ("models", ["a/b", "c/d"], "is not a text"),
    ("language", "hi-İN", "Did you mean hi-IN"),
]


@pytest.mark.parametrize(("question", "answer", "expected"), HIDDEN)
def test_what_nobody_sees_or_no_file_takes_is_refused(
    question: str, answer: object, expected: str, tmp_path: Path
) -> None:
    done = replay(tmp_path, **{question: answer})  # type: ignore[arg-type]
    assert done.status == 1 and done.nothing_written
    assert f"{question}:" in done.output and expected in done.output, done.output
    assert "UnicodeEncodeError" not in done.output and "TypeError" not in done.output


def test_bytes_that_are_no_utf8_leave_nothing_behind(tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "models=acme/one", "domain=caf\udce9")  # the byte E9, as Python names it
    assert done.status == 1 and done.nothing_written
    assert "domain: “caf?” is not written in UTF-8" in done.output


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("language: no", 'Write language: "no"'),
        ("domain: yes", 'Write domain: "yes"'),
        ("hub_owner:", 'Write hub_owner: ""'),
        ("models: [acme/one, acme/two]", 'models: "acme/one, acme/two"'),
        ("project_name: 2024-12-31", 'Write project_name: "2024-12-31"'),
    ],
)
def test_what_yaml_takes_for_something_else_in_a_user_configuration(line: str, expected: str, tmp_path: Path) -> None:
    config = tmp_path / "own config.yaml"
    config.write_text(f"default_context:\n  {line}\n", encoding="utf-8")
    done = bake(tmp_path, "--no-input", "--config-file", str(config))
    assert done.status == 1 and done.nothing_written
    assert expected in done.output and str(config) in done.output and "Traceback" not in done.output


@pytest.mark.parametrize("tag", ["de-x-dorf", "en-u-nu-latn"])
def test_a_tag_that_is_accepted_can_be_used(tag: str, tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", f"language={tag}", "models=acme/one", "inference=openai-compatible")
    assert done.status == 0, done.output
    command = [sys.executable, "check.py", "pages"]
    checked = subprocess.run(command, cwd=done.project, capture_output=True, encoding="utf-8")
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "tag"),
    [
        ("Farsi", "fa (Persian)"),
        ("Tagalog", "fil (Filipino)"),
        ("Mandarin", "cmn (Mandarin Chinese)"),
        ("Castilian", "es (Spanish)"),
        ("Flemish", "nl (Dutch)"),
        ("Gaelic", "gd (Scottish Gaelic)"),
    ],
)
def test_second_names_of_a_language_are_known(typed: str, tag: str) -> None:
    from local_extensions.languages import standard_tag

    with pytest.raises(ValueError) as hint:
        standard_tag(typed)
    assert str(hint.value) == tag


def test_the_command_to_go_on_opens_the_answers_of_this_run(tmp_path: Path) -> None:
    """Also with a configuration that keeps its own replay files, and with a template behind a link."""
    link = tmp_path / "another name"
    link.symlink_to(REPOSITORY, target_is_directory=True)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"replay_dir": str(tmp_path / "own")}), encoding="utf-8")
    (tmp_path / "own").mkdir()
    older = tmp_path / "own" / "another name.json"
    older.write_text('{"cookiecutter": {"language": "de"}}', encoding="utf-8")
    answers = ["--config-file", str(config), "language=fr", "domain=cuisine"]
    first = bake(tmp_path, "--no-input", *answers, "models=oops", template=link)
    assert first.status == 1 and older.read_text(encoding="utf-8") == '{"cookiecutter": {"language": "de"}}'
    second = follow(first, "acme/one\n")
    assert second.status == 0, second.output
    toml = tomllib.loads((second.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["language"]["tag"] == "fr" and toml["project"]["domain"] == "cuisine"
    assert toml["generation"]["models"] == ["acme/one"]


def test_a_folder_that_is_there_is_said_with_a_way_on(tmp_path: Path) -> None:
    (tmp_path / "out" / "kto-taken").mkdir(parents=True)
    first = bake(tmp_path, "--no-input", "models=acme/one", "project_slug=kto-taken")
    assert first.status == 1 and "There is a folder" in first.output
    second = follow(first, "kto-free\n")
    assert second.status == 0, second.output
    assert sorted(path.name for path in second.folder.iterdir()) == ["kto-free", "kto-taken"]


def test_pasted_addresses_of_the_hub_become_names(tmp_path: Path) -> None:
    models = "https://huggingface.co/openai/gpt-oss-20b, huggingface.co/acme/one"
    answers = [
        f"models={models.split(',')[0]}, acme/one",
        "hub_owner=@me",
        "prompts=https://huggingface.co/datasets/a/b",
    ]
    done = bake(tmp_path, "--no-input", *answers)
    assert done.status == 0, done.output
    toml = tomllib.loads((done.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["generation"]["models"] == ["openai/gpt-oss-20b", "acme/one"]
    assert toml["project"]["hub_owner"] == "me" and toml["generation"]["prompts"] == ["a/b"]


@pytest.mark.parametrize(
    ("inference", "models", "address"),
    [
        ("huggingface", 3, ""),
        ("local", 2, ""),
        ("openai-compatible", 2, "http://127.0.0.1:11434/v1"),
    ],
)
def test_the_suggested_models_follow_where_they_run(inference: str, models: int, address: str, tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", f"inference={inference}")
    assert done.status == 0, done.output
    generation = tomllib.loads((done.project / "settings.toml").read_text(encoding="utf-8"))["generation"]
    assert len(generation["models"]) == models and generation["base_url"] == address
    if inference == "local":
        assert len({name.split("/")[0] for name in generation["models"]}) == 2
    elif inference == "openai-compatible":
        assert all("/" not in name for name in generation["models"])


def test_start_py_refuses_in_sentences(tmp_path: Path) -> None:
    """What cookiecutter prints below them does not reach whoever came by start.py."""
    env = cookiecutter_environment(tmp_path / "home") | {"KTO_COMMAND": "python3 start.py"}
    for answer, said in (
        ("inference=ollama", "inference, but the choices are"),
        ("project_slug=A B", "name of a folder"),
    ):
        command = [sys.executable, str(REPOSITORY / "tools" / "render.py"), str(REPOSITORY)]
        done = subprocess.run(
            [*command, "--no-input", "-o", str(tmp_path), answer], capture_output=True, encoding="utf-8", env=env
        )
        assert done.returncode == 1 and said in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
    assert "python3 start.py --replay-file" in done.stdout or "--output-dir" in done.stdout


def test_all_bad_answers_are_reported_at_once(tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "language=klingonish", "project_slug=A B", "models=x", "hub_owner=-")
    assert done.status == 1 and done.nothing_written
    for question in ("language", "project_slug", "models", "hub_owner"):
        assert f"- {question}:" in done.output


def test_a_second_run_asks_only_for_the_bad_answers(tmp_path: Path) -> None:
    first = bake(tmp_path, "--no-input", "language=nl", "domain=koken 👩‍🍳", "models=oops", "project_slug=kto-nl-koken")
    assert first.status == 1 and "--replay" in first.output
    second = follow(first, "acme/one\n")
    assert second.status == 0, second.output
    toml = tomllib.loads((second.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["project"]["domain"] == "koken 👩‍🍳"
    assert toml["generation"]["models"] == ["acme/one"]
    assert toml["language"]["tag"] == "nl"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"prompt": "ok"}\n{"prompt": }\n', "line 2"),
        (b'{"prompt": "ok"}\n\n{"text": "no"}\n["x"]\n{"prompt": " "}\n', "line 3"),
        (b'{"prompt": "caf\xe9"}\n', "UTF-8"),
        (b"\n\n", "empty"),
    ],
)
def test_a_malformed_prompts_file(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(content)
    done = bake(tmp_path / "baked", "--no-input", "models=acme/one", f"prompts={path}")
    assert done.status == 1 and done.nothing_written
    assert expected in done.output


def test_replayed_answers_are_checked_too(tmp_path: Path) -> None:
    done = replay(tmp_path, models="", language="nope")
    assert done.status == 1 and done.nothing_written
    assert "No model" in done.output and "not a language tag" in done.output


def test_a_folder_is_a_model_where_the_models_run_on_this_machine(tmp_path: Path) -> None:
    model = tmp_path / "my model"
    model.mkdir()
    done = bake(tmp_path / "a", "--no-input", f"models={model}", "inference=local")
    assert done.status == 0, done.output
    done = bake(tmp_path / "b", "--no-input", f"models={model}", "inference=huggingface")
    assert done.status == 1


def test_a_server_names_its_models_as_it_likes(tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "models=llama3.1:8b, my model", "inference=openai-compatible")
    assert done.status == 0, done.output
    toml = tomllib.loads((done.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["generation"]["models"] == ["llama3.1:8b", "my model"]


def test_the_help_of_each_question_has_two_lines() -> None:
    from rendering import QUESTIONS, REPOSITORY

    prompts = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))["__prompts__"]
    assert list(prompts) == QUESTIONS and len(QUESTIONS) == 10
    for help_text in prompts.values():
        text = help_text["__prompt__"] if isinstance(help_text, dict) else help_text
        assert len(text.splitlines()) == 2


@pytest.mark.parametrize(
    "answers",
    [
        {"prompts": "x" * 300},
        {"prompts": "~nobody-here/x.jsonl"},
        {"models": "~nobody-here/x", "inference": "local"},
        {"models": "x" * 5000, "inference": "local"},
    ],
)
def test_a_path_that_is_none(answers: dict[str, str], tmp_path: Path) -> None:
    given = {"models": "acme/one"} | answers
    done = bake(tmp_path, "--no-input", *(f"{name}={value}" for name, value in given.items()))
    assert done.status == 1 and done.nothing_written
    assert "Traceback" not in done.output and "cannot be used" in done.output


def test_relative_paths_start_where_the_user_is(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "Hi?"}\n', encoding="utf-8")
    (tmp_path / "a").mkdir()
    answers = ["models=../model, acme/one", "inference=local", "prompts=../prompts.jsonl"]
    done = bake(tmp_path / "a", "--no-input", *answers, cwd=tmp_path / "a")
    assert done.status == 0, done.output
    assert (done.project / "prompts" / "own.jsonl").read_text(encoding="utf-8") == '{"prompt": "Hi?"}\n'
    toml = tomllib.loads((done.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["generation"]["models"] == [str(model.resolve()), "acme/one"]


def test_after_a_wrong_language_its_suggestions_are_made_again(tmp_path: Path) -> None:
    first = bake(tmp_path, "--no-input", "language=Dutch", "models=acme/one", "license=cc0-1.0")
    assert first.status == 1 and "Did you mean nl (Dutch)?" in first.output
    second = follow(first, "nl\n\n\n\n")
    assert second.status == 0, second.output
    toml = tomllib.loads((second.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["language"]["tag"] == "nl" and toml["project"]["license"] == "cc0-1.0"
    assert toml["project"]["slug"].startswith("kto-nl-") and "English" not in toml["project"]["name"]


@pytest.mark.parametrize(
    ("module", "name", "value", "said"),
    [
        (cookiecutter, "__version__", "2.2.3", "This is cookiecutter 2.2.3. Use cookiecutter 2.3 or newer, for "),
        (cookiecutter, "__version__", "2.1.1", "This is cookiecutter 2.1.1. Use cookiecutter 2.3 or newer, for "),
        (sys, "version_info", (3, 10, 13), "Run cookiecutter with Python 3.11 or newer, for example: uvx --python "),
    ],
)
def test_what_is_too_old_says_so_in_a_sentence(
    module: ModuleType, name: str, value: object, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2.1.1 and 2.2.3 render, but not with the command that they print after a refusal: tried; so was Python 3.10."""
    monkeypatch.setenv("COOKIECUTTER_CONFIG", cookiecutter_environment(tmp_path / "home")["COOKIECUTTER_CONFIG"])
    monkeypatch.setattr(module, name, value)
    done = CliRunner().invoke(main, [str(REPOSITORY), "--no-input", "-o", str(tmp_path / "out"), "models=acme/one"])
    assert done.exit_code == 1 and done.output.startswith("This is ") and said in done.output, done.output
    assert done.output.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_older_python_can_read_what_says_that_it_is_too_old() -> None:
    for path in ("start.py", "tools/render.py", *(REPOSITORY / "local_extensions").glob("*.py")):
        ast.parse((REPOSITORY / path).read_text(encoding="utf-8"), feature_version=(3, 10))
