"""Which rows the table of answers has: --limit asks fewer prompts, and takes no row away; several sources."""

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generating import PROMPTS, call, check, generate, use, write_prompts
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")


@pytest.fixture(scope="module")
def server() -> Iterator[ModelServer]:
    with ModelServer(names=("acme/one", "acme/two")) as server:
        yield server


@pytest.fixture(scope="module")
def answered(rendered: Path, server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the answers of two models to five prompts."""
    project = Path(shutil.copytree(rendered, tmp_path_factory.mktemp("answered") / "p"))
    use(project, "generation", models=["acme/one", "acme/two"], prompts="prompts/mine.jsonl", base_url=server.url)
    write_prompts(project, PROMPTS)
    assert generate(project).returncode == 0
    return project


@pytest.fixture
def project(answered: Path, server: ModelServer, tmp_path: Path) -> Path:
    server.heal()
    server.chats.clear()
    return Path(shutil.copytree(answered, tmp_path / "p"))


def table(project: Path) -> list[dict]:
    return pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()


def inputs(project: Path) -> list[str]:
    return [row["input"] for row in table(project)]


# --- --limit ----------------------------------------------------------------------------------


def test_a_limit_takes_no_row_away(project: Path, server: ModelServer) -> None:
    before = table(project)
    done = generate(project, "--limit", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(table(project)) == 5 and table(project) == before and not server.chats
    assert "(prompts: 5, models: 2)" in done.stdout
    use(project, "generation", prompts=["prompts/mine.jsonl", "prompts/absent.jsonl"])  # nothing is read in vain
    assert generate(project, "--limit", "2").returncode == 0 and table(project) == before


def test_a_limit_asks_so_many_and_the_others_are_no_gaps(project: Path, server: ModelServer) -> None:
    use(project, "generation", models=["acme/one", "acme/three"])
    write_prompts(project, ["A new one", *PROMPTS, "Never asked"])
    done = generate(project, "--limit", "2")
    assert (done.returncode, done.stderr) == (0, "")  # what nobody was asked for is not missing
    asked = [("acme/one", "A new one"), ("acme/three", "A new one"), ("acme/three", PROMPTS[0])]
    assert sorted((chat.model, chat.prompt) for chat in server.chats) == sorted(asked)
    assert inputs(project) == ["A new one", *PROMPTS]
    assert [row["generations"][1] is None for row in table(project)] == [False] * 2 + [True] * 4
    assert not (project / "data/generations/gaps.jsonl").exists()


def test_a_limit_has_gaps_of_its_own(project: Path, server: ModelServer) -> None:
    use(project, "generation", models=["acme/one", "acme/three"], max_attempts=1)
    server.fail(PROMPTS[1], model="acme/three", status=400)
    done = generate(project, "--limit", "2")
    assert done.returncode == 1 and "1 answers are missing" in done.stderr
    assert len((project / "data/generations/gaps.jsonl").read_text("utf-8").splitlines()) == 1
    assert inputs(project) == PROMPTS


def test_a_list_of_gaps_that_cannot_be_deleted(project: Path) -> None:
    gaps = project / "data" / "generations" / "gaps.jsonl"
    gaps.mkdir()
    done = generate(project)
    assert done.returncode == 1 and f"{gaps} cannot be written" in done.stderr


def test_other_settings_for_a_few_prompts_leave_the_other_rows(project: Path) -> None:
    before = table(project)
    use(project, "generation", temperature=0.1)
    assert generate(project, "--limit", "2").returncode == 0
    after = table(project)
    assert inputs(project) == PROMPTS and after[2:] == before[2:]
    assert all(new["answer_id"] != old["answer_id"] for new, old in zip(after[:2], before[:2], strict=True))
    # An answer that is taken out does not come back this way.
    from kto.left_out import add, line_for
    from kto.record_ids import text_id

    add(project, [line_for(text_id(PROMPTS[4], before[4]["generations"][0]), "lead", "harmful")])
    assert generate(project, "--limit", "1").returncode == 0
    assert [row["generations"][0] is None for row in table(project)] == [False] * 4 + [True]


def test_a_clone_without_the_store(project: Path, server: ModelServer) -> None:
    before = table(project)
    for file in (project / "data").glob("answers.sqlite*"):
        file.unlink()
    assert generate(project, "--limit", "1").returncode == 0
    assert table(project) == before and not server.chats


# --- sources ----------------------------------------------------------------------------------


def add_file(project: Path, name: str, content: str) -> None:
    (project / "prompts" / name).write_text(content, encoding="utf-8")


def test_another_source_beside_the_first(project: Path, server: ModelServer) -> None:
    add_file(project, "new.jsonl", json.dumps({"prompt": "Brand new?"}) + "\n" + json.dumps({"prompt": PROMPTS[0]}))
    add_file(project, "more.csv", "id;prompt\n1;From a table?\n")
    use(project, "generation", prompts=["prompts/mine.jsonl", "prompts/new.jsonl", "prompts/more.csv"])
    checked = check(project)
    assert checked.returncode == 0 and "new.jsonl: 2" in checked.stdout and "more.csv: 1" in checked.stdout
    done = generate(project)
    assert done.returncode == 0 and "Left out: 1" in done.stdout and "of your sources" not in done.stderr
    assert inputs(project) == [*PROMPTS, "Brand new?", "From a table?"]
    assert {chat.prompt for chat in server.chats} == {"Brand new?", "From a table?"}


def test_rows_that_leave_are_said_before_anything_is_asked(project: Path, server: ModelServer) -> None:
    add_file(project, "new.jsonl", json.dumps({"prompt": "Brand new?"}))
    use(project, "generation", prompts="prompts/new.jsonl")
    done = generate(project, "--dry-run")
    assert "none of your sources any more: 5" in done.stderr and inputs(project) == PROMPTS
    assert generate(project, "--limit", "1").returncode == 0
    assert inputs(project) == ["Brand new?", *PROMPTS]
    done = generate(project)
    assert "none of your sources any more: 5" in done.stderr and inputs(project) == ["Brand new?"]
    use(project, "generation", prompts=["prompts/new.jsonl", "prompts/mine.jsonl"])
    server.chats.clear()
    assert generate(project).returncode == 0
    assert inputs(project) == ["Brand new?", *PROMPTS] and not server.chats  # nothing is paid twice


def test_what_holds_for_one_source_need_not_be_in_another(project: Path, server: ModelServer) -> None:
    """A dataset's column and filter, and the prompts of `generate.py prompts` or the starter file beside it."""
    rows = [{"vraag": "Yorùbá?", "code": "yor"}, {"vraag": "Dutch?", "code": "nld"}]
    add_file(project, "both.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    add_file(project, "plain.txt", "Plain?\n")
    add_file(project, "new.jsonl", json.dumps({"prompt": "Brand new?"}))
    names = ["prompts/both.jsonl", "prompts/new.jsonl", "prompts/plain.txt"]
    use(project, "generation", prompts=names, prompt_column="vraag")
    toml = project / "settings.toml"
    content = toml.read_text("utf-8").replace("[generation]\n", '[generation]\nprompt_filter = { code = "yor" }\n')
    toml.write_text(content, encoding="utf-8")
    done = generate(project)
    assert done.returncode == 0, done.stderr
    assert inputs(project) == ["Yorùbá?", "Brand new?", "Plain?"]
    assert done.stdout.count("so all its rows are used") == 2
    toml.write_text(content.replace("code =", "kode ="), encoding="utf-8")  # nobody has such a column
    done = generate(project)
    assert done.returncode == 1 and "no column “kode”" in done.stderr
    assert "no column “kode”" in check(project).stderr


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ([], "[generation] prompts = []"),
        (["prompts/mine.jsonl", " "], "it must not be empty"),
        ("", "it must not be empty"),
        (7, "must be a list of texts"),
        (["prompts/mine.jsonl", "prompts/absent.jsonl"], "absent.jsonl cannot be read"),
        (["what is this?", "prompts/mine.jsonl"], "“what is this?” is not a source of prompts"),
    ],
)
def test_a_list_that_cannot_be_used(project: Path, value: object, sentence: str) -> None:
    use(project, "generation", prompts=value)
    done = generate(project)
    assert done.returncode == 1 and sentence in done.stderr
    if value and isinstance(value, list) and len(value) == 2 and value[1].strip():
        assert sentence in check(project).stderr


def test_new_prompts_go_beside_the_others(project: Path, server: ModelServer) -> None:
    use(project, "generation", prompts=["prompts/mine.jsonl", "prompts/new.jsonl"])  # before the file is there
    text = "Which questions should I ask before I rent a flat in another town?"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "reply", lambda body: f"1. {text}\n2. {PROMPTS[0]}")
        from kto.ask import prompts as make_prompts

        done = call(make_prompts, project, "--count", "1", "--output", str(project / "prompts" / "new.jsonl"))
    assert done.returncode == 0, done.stderr
    assert 'prompts = ["prompts/mine.jsonl", "prompts/new.jsonl"]' in done.stdout
    assert generate(project).returncode == 0
    assert inputs(project) == [*PROMPTS, text]


# --- a dry run --------------------------------------------------------------------------------


def test_a_dry_run_leaves_the_store_as_it_is(project: Path, server: ModelServer) -> None:
    """Also where the table has answers that the store lacks, and the language of others is still to be checked."""
    store = project / "data" / "answers.sqlite"
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute("DELETE FROM answers WHERE rowid < 4")
        database.execute("DELETE FROM requests")
        database.execute("DELETE FROM judgements")
        database.commit()
        rows = [*database.iterdump()]
    content = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    done = generate(project, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "") and not server.chats
    assert "Asking for 0 answers" in done.stdout  # those that the table has are none to ask for
    assert {path: path.read_bytes() for path in project.rglob("*") if path.is_file()} == content
    with contextlib.closing(sqlite3.connect(store)) as database:
        assert [*database.iterdump()] == rows
    store.write_bytes(b"no store" * 1000)
    done = generate(project, "--dry-run")
    assert done.returncode == 1 and str(store) in done.stderr
