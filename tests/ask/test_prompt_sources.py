"""Where prompts come from, through the front door: check.py says beforehand what generate.py would not take."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from generating import run, use
from huggingface_hub import HfApi
from model_server import ModelServer
from rendering import bake
from standin_hub import TOKEN, StandinHub

pytest_plugins = ["generating_fixtures"]

YORUBA = [f"Kí ni nọ́mbà {number}?" for number in range(8)]
DUTCH = [f"Wat is getal {number}?" for number in range(8)]
CONFIGS = """---
configs:
- config_name: yor
  data_files: yor.jsonl
- config_name: nld
  data_files: nld.jsonl
---
"""


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def conversation(question: str, **names: str) -> list[dict]:
    role, content, user = names.get("role", "role"), names.get("content", "content"), names.get("user", "user")
    system = {role: "system", content: "Be kind."}
    said = [(user, question), ("assistant", "I do not know."), (user, "Why not?")]
    return [system, *({role: who, content: text} for who, text in said)]


@pytest.fixture(scope="module")
def hub() -> Iterator[StandinHub]:
    """Datasets as people publish them: one configuration per language, one column for it, conversations."""
    both = [("yor", text) for text in YORUBA] + [("nld", text) for text in DUTCH]
    rows = [{"language_code": code, "prompt": text, "n": number % 2} for number, (code, text) in enumerate(both)]
    files = {
        "ann/configs": {
            "README.md": CONFIGS,
            "yor.jsonl": lines([{"prompt": text} for text in YORUBA]),
            "nld.jsonl": lines([{"prompt": text} for text in DUTCH]),
        },
        "ann/column": {"train.jsonl": lines(rows)},
        "ann/chats": {"train.jsonl": lines([{"messages": conversation(text)} for text in YORUBA])},
    }
    with StandinHub() as hub:
        api = HfApi(endpoint=hub.url, token=TOKEN)
        for name, content in files.items():
            api.create_repo(name, repo_type="dataset")
            for path, text in content.items():
                api.upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=name, repo_type="dataset")
        yield hub


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer(names=("acme/one",)) as server:
        yield server


def setting(project: Path, **settings: object) -> None:
    """Write settings into `[generation]` as a person would, those that are not there yet, too."""
    path = project / "settings.toml"
    text = path.read_text(encoding="utf-8")
    for name, value in settings.items():
        text = re.sub(rf"(?m)^{name} = .*\n", "", text)
        toml = json.dumps(value, ensure_ascii=False)
        if isinstance(value, dict):
            toml = "{ " + ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items()) + " }"
        text = text.replace("[generation]\n", f"[generation]\n{name} = {toml}\n")
    path.write_text(text, encoding="utf-8")


def asked(project: Path, server: ModelServer, *arguments: str, env: dict[str, str] | None = None) -> list[str]:
    """Run check.py, which must find nothing, and generate.py; return the prompts that the model was asked."""
    setting(project, base_url=server.url, models=["acme/one"])
    done = run(project, "check.py", env=env)
    assert done.returncode == 0, done.stderr
    server.chats.clear()
    done = run(project, "generate.py", *arguments, env=env)
    assert done.returncode == 0, done.stderr
    return [chat.prompt for chat in server.chats]


@pytest.mark.parametrize(
    ("settings", "arguments", "expected"),
    [
        ({"prompts": "ann/configs", "prompt_config": "yor"}, [], YORUBA),
        ({"prompts": "ann/column", "prompt_filter": {"language_code": "yor"}}, ["--limit", "3"], YORUBA[:3]),
        ({"prompts": "ann/column", "prompt_filter": {"language_code": ["yor", "fra"], "n": 1}}, [], YORUBA[1::2]),
        ({"prompts": "ann/column", "prompt_split": "train[:5]"}, ["--limit", "3"], YORUBA[:3]),
        ({"prompts": "ann/column", "prompt_split": "train[6:9]"}, [], [*YORUBA[6:], DUTCH[0]]),
        ({"prompts": "ann/chats", "prompt_column": "messages"}, ["--limit", "2"], YORUBA[:2]),
    ],
)
def test_datasets_as_people_publish_them(
    project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path, settings: dict, arguments: list, expected: list
) -> None:
    setting(project, **settings)
    assert sorted(asked(project, server, *arguments, env=hub.env(tmp_path / "hub"))) == sorted(expected)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"prompts": "ann/configs"}, r"several configurations.*prompt_config\): (yor, nld|nld, yor)"),
        ({"prompts": "ann/configs", "prompt_config": "ibo"}, r"several configurations.*prompt_config\): (yor|nld)"),
        ({"prompts": "ann/column", "prompt_split": "test"}, "no split “test”.*: train"),
        ({"prompts": "ann/column", "prompt_split": "train[:5"}, "ann/column cannot be read"),
        ({"prompts": "ann/column", "prompt_column": "vraag"}, r"no column “vraag”.*: language_code, prompt, n"),
        ({"prompts": "ann/column", "prompt_filter": {"lang": "yor"}}, "no column “lang”, which prompt_filter"),
        ({"prompts": "ann/column", "prompt_filter": {"n": [["a"]]}}, r"\[generation\] prompt_filter = "),
        ({"prompts": "./nothere"}, "nothere cannot be read"),
        ({"prompts": "nothere.json"}, r"nothere\.json cannot be read"),
        ({"prompts": "prompts.xlsx"}, r"“prompts\.xlsx” is not a source of prompts"),
    ],
)
def test_check_finds_it_first(
    project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path, settings: dict, sentence: str
) -> None:
    setting(project, base_url=server.url, models=["acme/one"])
    setting(project, **settings)
    done = run(project, "check.py", env=hub.env(tmp_path / "hub"))
    assert done.returncode == 1 and re.search(sentence, done.stderr), done.stderr


def test_a_filter_that_fits_nothing(project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path) -> None:
    setting(project, base_url=server.url, prompts="ann/column", prompt_filter={"language_code": "yo"})
    env = hub.env(tmp_path / "hub")
    assert "there is no prompt that fits" in run(project, "check.py", env=env).stdout
    done = run(project, "generate.py", env=env)
    assert done.returncode == 1 and done.stderr.endswith("(language_code). Other rows have: yor, nld\n")


# --- files ------------------------------------------------------------------------------------


def test_files_have_filters_and_conversations_too(project: Path, server: ModelServer) -> None:
    rows = [
        {"prompt": conversation("Kí ni?"), "language_code": "yor"},
        {"prompt": conversation("Ta ni?", role="from", content="value", user="human"), "language_code": "yor"},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "Níbo?"}]}], "language_code": "yor"},
        {"prompt": "Wat?", "language_code": "nld"},
    ]
    (project / "prompts" / "mine.jsonl").write_text(lines(rows), encoding="utf-8")
    setting(project, prompt_filter={"language_code": "yor"})
    assert sorted(asked(project, server)) == ["Kí ni?", "Níbo?", "Ta ni?"]
    (project / "prompts" / "mine.csv").write_text("n;prompt\n1;Hoe?\n2;Wie?\n", encoding="utf-8")
    setting(project, prompts="prompts/mine.csv", prompt_filter={"n": 2})
    assert asked(project, server) == ["Wie?"]


def test_a_long_cell(project: Path, server: ModelServer) -> None:
    long = "Vat samen: " + "lang " * 40_000
    (project / "prompts" / "mine.csv").write_text(f'id,prompt\n1,"{long}"\n2,Kort?\n', encoding="utf-8")
    setting(project, prompts="prompts/mine.csv")
    assert sorted(asked(project, server)) == ["Kort?", long]


def test_a_long_comment_is_read_again(project: Path, tmp_path: Path) -> None:
    """The file of comments holds whole answers, and models write long ones."""
    from kto.tables import read_csv

    path = tmp_path / "comments.csv"
    path.write_text(f'answer,comment\n"{"x" * 200_000}",ok\n', encoding="utf-8")
    assert [len(row["answer"]) for row in read_csv(path, ("answer", "comment"))] == [200_000]


def test_a_column_of_another_name_leaves_the_project_green(project: Path) -> None:
    (project / "prompts" / "mine.jsonl").write_text('{"vraag": "Hoe?"}\n', encoding="utf-8")
    use(project, "generation", prompt_column="vraag")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "prompts or settings"]
    done = subprocess.run(command, cwd=project, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stdout
    (project / "prompts" / "mine.jsonl").write_text('{"prompt": "Hoe?"}\n', encoding="utf-8")
    assert subprocess.run(command, cwd=project, capture_output=True).returncode == 1


# --- the template's question ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nothere.csv", "nothere.txt", "./nothere", "nothere.tsv", "nothere.parquet"])
def test_a_path_that_does_not_exist_is_no_dataset(tmp_path: Path, name: str) -> None:
    done = bake(tmp_path, "--no-input", "models=acme/one", f"prompts={name}")
    assert done.status == 1 and done.nothing_written
    assert "prompts: " in done.output and "nothere" in done.output and "Traceback" not in done.output


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("ours.CSV", '\ufeffid;prompt\r\n1;"Hoe,\r\nzo?"\r\n2;Wie?\r\n', ["Hoe,\nzo?", "Wie?"]),
        ("ours.tsv", "prompt\tid\nHoe?\t1\n", ["Hoe?"]),
        ("ours.txt", "Hoe?\n\n  {{ cookiecutter.domain }} {% Wie?\n", ["Hoe?", "{{ cookiecutter.domain }} {% Wie?"]),
        ("ours.ndjson", '{"prompt": "Hoe?"}\n', ["Hoe?"]),
    ],
)
def test_the_question_takes_what_the_settings_take(
    tmp_path: Path, server: ModelServer, name: str, content: str, expected: list[str]
) -> None:
    (tmp_path / name).write_bytes(content.encode())
    options = ["models=acme/one", "inference=openai-compatible", f"prompts={tmp_path / name}"]
    done = bake(tmp_path / "baked", "--no-input", *options)
    assert done.status == 0, done.output
    assert sorted(asked(done.project, server)) == sorted(expected)


def test_a_table_without_prompts_is_refused_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "ours.csv").write_text("nummer,vraag\n1,Hoe?\n", encoding="utf-8")
    done = bake(tmp_path / "baked", "--no-input", "models=acme/one", f"prompts={tmp_path / 'ours.csv'}")
    assert done.status == 1 and done.nothing_written
    assert "no column “prompt”, but: nummer, vraag" in done.output
