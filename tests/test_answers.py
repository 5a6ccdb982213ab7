"""Answers that cannot be used: each gets a sentence, all at once, and nothing is written."""

import json
import tomllib
from pathlib import Path

import pytest
from rendering import bake, follow, replay

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
    ("models", "gpt2", "no model id"),
    ("models", "a/b/c", "no model id"),
    ("models", "acme/one, acme/one", "more than once"),
    ("models", "acme/one:To gether", "no model id"),
    ("prompts", "nowhere.jsonl", "cannot be read"),
    ("prompts", "what is this?", "no source of prompts"),
]


@pytest.mark.parametrize(("question", "answer", "expected"), BAD)
def test_a_bad_answer(question: str, answer: str, expected: str, tmp_path: Path) -> None:
    done = bake(tmp_path, "--no-input", "models=acme/one", f"{question}={answer}")
    assert done.status == 1
    assert expected in done.output and f"{question}:" in done.output
    assert "Traceback" not in done.output
    assert done.nothing_written


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
    toml = tomllib.loads((second.project / "project.toml").read_text(encoding="utf-8"))
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
    assert "No model" in done.output and "no language tag" in done.output


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
    toml = tomllib.loads((done.project / "project.toml").read_text(encoding="utf-8"))
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
    toml = tomllib.loads((done.project / "project.toml").read_text(encoding="utf-8"))
    assert toml["generation"]["models"] == [str(model.resolve()), "acme/one"]


def test_after_a_wrong_language_its_suggestions_are_made_again(tmp_path: Path) -> None:
    first = bake(tmp_path, "--no-input", "language=Dutch", "models=acme/one", "license=cc0-1.0")
    assert first.status == 1 and "Did you mean nl?" in first.output
    second = follow(first, "nl\n\n\n\n")
    assert second.status == 0, second.output
    toml = tomllib.loads((second.project / "project.toml").read_text(encoding="utf-8"))
    assert toml["language"]["tag"] == "nl" and toml["project"]["license"] == "cc0-1.0"
    assert toml["project"]["slug"].startswith("kto-nl-") and "English" not in toml["project"]["name"]
