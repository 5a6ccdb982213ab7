"""Answers and prompts that are taken out for good, by a command or in Argilla, and votes that their authors delete."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from earlier_project import put_into
from generating import DUTCH, ENGLISH, generate, run, use, write_prompts
from kto.ask.prompt_sources import prompt_id
from kto.record_ids import text_id
from kto.vote import outdated
from kto.vote.client import connect
from kto.vote.task import make_task
from model_server import ModelServer
from rendering import render
from standin_hub import StandinHub
from test_splits import queue
from voting import Task, argilla, english, task

__all__ = ["argilla", "english", "task"]

PEOPLE = ("amina", "piet")
BREAD, TULIPS = "How do I keep bread fresh?", "Where do tulips grow?"
ANSWERS = {BREAD: ["In paper.", "Freeze it."], TULIPS: ["In gardens.", "No."]}
PAPER = (BREAD, "In paper.")


@pytest.fixture
def voted(task: Task) -> Task:
    """Two people have voted on four answers to two prompts, and that was exported."""
    write_prompts(task.project, list(ANSWERS))
    task.set(prompts='"prompts/mine.jsonl"', test_fraction="0.0", min_submitted="3")
    task.generate(ANSWERS)
    task.setup()
    with task.together():
        for (_, answer), record in task.records().items():
            for name in PEOPLE:
                task.vote(name, record, "good" if answer.startswith("In") else "bad")
    assert task.export().returncode == 0
    return task


def left_out(project: Path) -> list[dict[str, Any]]:
    path = project / "prompts" / "left_out.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def answers(task: Task, name: str) -> list[str]:
    """Return the answers in the rows of a table of votes, or of the dataset."""
    return sorted(row["completion"][0]["content"] for row in task.table(name))


def votes_and_rows(task: Task) -> tuple[list[str], list[str]]:
    return answers(task, "votes/train.parquet"), answers(task, "kto/train.parquet")


def delete(task: Task, name: str, what: str) -> None:
    task.person(name).delete(f"/api/v1/{what}").raise_for_status()


EVERYTHING = (
    ["Freeze it."] * 2 + ["In gardens."] * 2 + ["In paper."] * 2 + ["No."] * 2,
    sorted(text for texts in ANSWERS.values() for text in texts),
)
WITHOUT_PAPER = tuple([text for text in texts if text != "In paper."] for texts in EVERYTHING)

# --- deleted in Argilla -----------------------------------------------------------------------------------------------


def test_a_record_deleted_in_argilla_does_not_come_back(voted: Task, capsys: pytest.CaptureFixture[str]) -> None:
    record = voted.records()[PAPER]
    delete(voted, "owner", f"records/{record['id']}")
    for _ in range(2):
        voted.setup()
        assert PAPER not in voted.records() and len(voted.records()) == 3
    said = capsys.readouterr().out
    assert said.count("deleted in Argilla: 1.") == 1
    (line,) = left_out(voted.project)
    assert (line["id"], line["who"], line["reason"]) == (record["external_id"], "lead", "deleted_in_argilla")
    done = voted.export()
    assert (done.returncode, done.stderr) == (0, "") and votes_and_rows(voted) == WITHOUT_PAPER


def test_rows_of_a_record_deleted_in_argilla_leave_with_the_next_export(voted: Task) -> None:
    delete(voted, "owner", f"records/{voted.records()[PAPER]['id']}")
    done = voted.export()
    assert votes_and_rows(voted) == WITHOUT_PAPER
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.count("deleted in Argilla: 1.") == 1
    assert "Answers and prompts that were taken out for good: 1" in done.stdout.splitlines()
    assert answers(voted, "private/votes/train.parquet") == EVERYTHING[0], "it is only left out"
    assert "In paper." not in str(voted.table("generations/train.parquet"))
    done = voted.export()
    assert "in Argilla" not in done.stdout and len(left_out(voted.project)) == 1
    voted.setup()
    assert len(voted.records()) == 3

    # The lead thinks again: the line goes, and what it named comes back.
    (voted.project / "prompts" / "left_out.jsonl").unlink()
    assert voted.export().returncode == 0 and votes_and_rows(voted) == EVERYTHING
    voted.generate(ANSWERS)  # from the store, see below
    voted.setup()
    assert PAPER in voted.records()


def test_a_record_deleted_before_any_export(task: Task) -> None:
    task.generate(ANSWERS)
    task.setup()
    delete(task, "owner", f"records/{task.records()[PAPER]['id']}")
    task.setup()
    assert PAPER not in task.records()


def test_a_response_deleted_by_its_author(voted: Task) -> None:
    voted.set(min_votes="1")
    before = voted.table("votes/train.parquet")
    response = next(each for each in voted.records()[PAPER]["responses"])
    for name in PEOPLE:  # whose it is
        if voted.person(name).delete(f"/api/v1/responses/{response['id']}").is_success:
            break
    done = voted.export()
    after = voted.table("votes/train.parquet")
    assert len(after) == len(before) - 1 and votes_and_rows(voted)[0].count("In paper.") == 1
    assert done.returncode == 0 and done.stderr == ""
    log = (voted.data / "private" / "votes" / "replaced.jsonl").read_text("utf-8")
    assert [json.loads(line)["vote_id"] for line in log.splitlines()] == [response["id"]]
    (row,) = [row for row in voted.table("kto/train.parquet") if row["completion"][0]["content"] == "In paper."]
    assert row["n_votes"] == 1 and left_out(voted.project) == []
    voted.vote(name, voted.records()[PAPER], "bad")  # and once more
    assert voted.export().returncode == 0 and len(voted.table("votes/train.parquet")) == len(before)


@pytest.mark.parametrize("lost", ["account", "dataset", "records", "older copy"])
def test_what_is_no_deletion(voted: Task, lost: str) -> None:
    owner = voted.person("owner")
    before = votes_and_rows(voted)
    if lost == "account":
        (piet,) = [each["id"] for each in owner.get("/api/v1/users").json()["items"] if each["username"] == "piet"]
        delete(voted, "owner", f"users/{piet}")
        del voted.people["piet"]
    elif lost == "dataset":
        delete(voted, "owner", f"datasets/{voted.dataset_id}")
        voted.setup()
    elif lost == "records":
        for record in voted.records().values():
            delete(voted, "owner", f"records/{record['id']}")
    else:
        record, other = list(voted.records().values())[:2]
        delete(voted, "owner", f"records/{record['id']}")
        for name in PEOPLE:
            voted.person(name).delete(f"/api/v1/responses/{other['responses'][0]['id']}")
        memory = voted.data / "private" / "argilla.json"  # it has seen what is not there yet
        seen = json.loads(memory.read_text("utf-8"))
        memory.write_text(json.dumps(seen | {"activity": "2999-01-01T00:00:00"}), "utf-8")
    done = voted.export()
    assert done.returncode == 0 and left_out(voted.project) == [] and votes_and_rows(voted) == before
    assert "They stay in the dataset." in done.stderr
    voted.setup()
    assert len(voted.records()) == 4


def test_what_the_project_deletes_itself_is_no_decision(voted: Task) -> None:
    """On a Space, answers to a changed prompt are deleted; it may come back."""
    write_prompts(voted.project, [TULIPS])
    voted.generate({TULIPS: ANSWERS[TULIPS]})
    done = voted.run("-m", "kto.vote.outdated")
    assert (done.returncode, done.stdout) == (0, "Answers deleted in Argilla: 2\n")
    assert voted.export().returncode == 0 and votes_and_rows(voted) == EVERYTHING and left_out(voted.project) == []
    write_prompts(voted.project, list(ANSWERS))
    voted.generate(ANSWERS)
    voted.setup()
    assert len(voted.records()) == 4
    assert voted.export().returncode == 0 and votes_and_rows(voted) == EVERYTHING


# --- the command ------------------------------------------------------------------------------------------------------


def test_an_answer_is_taken_out(voted: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    records = voted.records()
    id = records[PAPER]["external_id"]
    monkeypatch.setenv("ARGILLA_API_URL", "http://127.0.0.1:9")  # Argilla is gone
    done = voted.export("--leave-out", id[:8], "--reason", "personal_data")
    assert (done.returncode, done.stderr) == (0, "") and f"{id} is taken out for good" in done.stdout
    (line,) = left_out(voted.project)
    assert {name: line[name] for name in ("id", "who", "reason")} == {
        "id": id,
        "who": "lead",
        "reason": "personal_data",
    }
    assert votes_and_rows(voted) == WITHOUT_PAPER
    assert answers(voted, "private/votes/train.parquet") == EVERYTHING[0]
    table = {row["input"]: row for row in voted.table("generations/train.parquet")}
    assert table[BREAD]["generations"] == [None, "Freeze it."] and "In paper." not in str(table)
    card = (voted.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert "| Answers and prompts that were taken out for good | 1 |" in card and "| Votes | 6 |" in card
    assert "paper" not in (voted.project / "prompts" / "left_out.jsonl").read_text("utf-8")
    again = voted.export("--leave-out", id, "--reason", "asked")
    assert again.returncode == 0 and left_out(voted.project) == [line]

    monkeypatch.delenv("ARGILLA_API_URL")
    assert PAPER in {(each["fields"]["prompt"], each["fields"]["answer"]) for each in voted.records().values()}
    voted.generate(ANSWERS)  # a table that another machine made
    done = voted.run("vote.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "taken out for good: 1. They are not shown to anybody any more" in done.stdout
    assert queue(voted, "wanjiku") == {(prompt, text) for prompt in ANSWERS for text in ANSWERS[prompt]} - {PAPER}
    assert voted.records()[PAPER]["responses"] == records[PAPER]["responses"], "Argilla keeps what people did"
    assert voted.export().returncode == 0 and votes_and_rows(voted) == WITHOUT_PAPER


def test_a_prompt_is_taken_out(voted: Task) -> None:
    id = voted.table("kto/train.parquet")[0]["prompt_id"]
    gone = next(row["input"] for row in voted.table("generations/train.parquet") if row["prompt_id"] == id)
    (kept,) = ANSWERS.keys() - {gone}
    done = voted.export("--leave-out", id.upper(), "--reason", "wrong_prompt")
    assert done.returncode == 0 and f"still in {voted.project / 'prompts' / 'mine.jsonl'}" in done.stderr
    assert [row["input"] for row in voted.table("generations/train.parquet")] == [kept]
    assert votes_and_rows(voted)[1] == sorted(ANSWERS[kept])
    voted.generate(ANSWERS)
    voted.setup()
    outdated.leave_queue(make_task(connect(voted.config), voted.config), voted.config)
    assert queue(voted, "wanjiku") == {(kept, text) for text in ANSWERS[kept]}
    assert voted.export().returncode == 0 and votes_and_rows(voted)[1] == sorted(ANSWERS[kept])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--leave-out", "ffffffff", "--reason", "asked"], "No answer and no prompt here has the id ffffffff."),
        (["--leave-out", "", "--reason", "asked"], "No answer and no prompt here has the id"),
        (["--leave-out", "ffffffff"], "--leave-out and --reason go together."),
        (["--reason", "asked"], "--leave-out and --reason go together."),
        (["--leave-out", "ffffffff", "--reason", "asked", "--forget", "piet"], "do not go together"),
    ],
)
def test_what_cannot_be_taken_out(task: Task, options: list[str], said: str) -> None:
    task.generate(ANSWERS)
    done = task.export(*options)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert left_out(task.project) == [] and not (task.data / "votes").exists()


@pytest.mark.parametrize(("words", "missing"), [(["ffffffff"], "--reason"), (["--reason", "asked"], "ID")])
def test_the_command_names_what_it_lacks(task: Task, words: list[str], missing: str) -> None:
    done = task.export_command("leave-out", *words)
    assert done.returncode == 2 and f"{missing} needs a value." in done.stderr and "Traceback" not in done.stderr


GOOD_LINE = '{"id": "0123456789abcdef", "who": "annotator-0123456789", "day": "2026-01-31", "reason": "asked"}'


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (("0123456789abcdef", "How are you?"), '"id"'),
        (("annotator-0123456789", "Amina"), '"who"'),
        (("01-31", "02-31"), '"day"'),
        (('"asked"', '"because"'), '"reason"'),
        (('"asked"', '"asked", "text": "How are you?"'), '"text"'),
        (('"asked"', '"asked", "also": ["How are you?"]'), '"also"'),
        (("{", "<<<<<<< HEAD {"), "JSON"),
        (('"id": "0123456789abcdef", ', ""), '"id"'),
    ],
)
def test_lines_that_are_wrong_are_named(task: Task, change: tuple[str, str], named: str) -> None:
    path = task.project / "prompts" / "left_out.jsonl"
    path.write_text("\ufeff" + "\r\n".join([GOOD_LINE, "", GOOD_LINE.replace(*change), GOOD_LINE]), "utf-8")
    task.generate(ANSWERS)
    done = task.export("--leave-out", "ffffffff", "--reason", "asked")
    assert done.returncode == 1 and str(path) in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("  - ")] == [f"  - 3: {named}"]
    done = generate(task.project, "--dry-run")
    assert done.returncode == 1 and f"  - 3: {named}" in done.stderr


# --- where it still is ------------------------------------------------------------------------------------------------


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_git_and_the_hub_still_have_it(voted: Task, tmp_path: Path) -> None:
    git(voted.project, "init", "--quiet")
    git(voted.project, "add", ".")
    git(voted.project, "commit", "--quiet", "--message=All")
    voted.set(hub_owner='"ann"', slug='"thumbs"')
    with StandinHub() as hub:
        env = hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"}
        assert voted.export_command("--push", **env).returncode == 0
        assert b"In paper." in b"".join(hub.repos["datasets/ann/thumbs"].files.values())
        id = voted.records()[PAPER]["external_id"]
        done = voted.export_command("--leave-out", id, "--reason", "copyright", "--push", **env)
        assert done.returncode == 0, done.stderr
        assert b"In paper." not in b"".join(hub.repos["datasets/ann/thumbs"].files.values())
        assert not hub.unexpected
    in_git, on_hub = done.stderr.splitlines()
    for name in ("data/generations/train.parquet", "data/kto/train.parquet", "data/votes/train.parquet"):
        assert name in in_git
    assert "data/private" not in in_git.replace("copy of", "") and "prompts/" not in in_git
    assert on_hub.startswith("ann/thumbs on the Hub") and "super_squash_history('ann/thumbs', repo_type" in on_hub


# --- the models -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("left out"), language="nl", inference="openai-compatible")


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        server.reply = lambda body: f"{body['model']}: {DUTCH}"
        yield server


def table(project: Path) -> dict[str, list[str | None]]:
    rows = pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()
    return {row["input"]: row["generations"] for row in rows}


def test_nothing_is_asked_or_paid_again(rendered: Path, server: ModelServer, tmp_path: Path, english: None) -> None:
    use(rendered, "generation", models=["acme/one", "acme/two"], prompts="prompts/mine.jsonl")
    use(rendered, "project", hub_owner="ann", slug="brood")
    prompts = ["Hoe houd ik brood vers?", "Waar groeien tulpen?", "Wie plakt mijn band?"]
    write_prompts(rendered, prompts)
    assert generate(rendered, "--base-url", server.url).returncode == 0
    before = table(rendered)
    (rendered / "data" / "answers.sqlite").unlink()  # a clone has the table only
    answer = before[prompts[0]][0]
    for id in (text_id(prompts[0], str(answer)), prompt_id(prompts[1])):
        done = run(rendered, "export.py", "--leave-out", id, "--reason", "harmful")
        assert done.returncode == 0, done.stderr
    wanted = {prompts[0]: [None, before[prompts[0]][1]], prompts[2]: before[prompts[2]]}
    assert table(rendered) == wanted
    asked = len(server.chats)
    with StandinHub() as hub:
        env = hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"}
        for store in ("it was in the table", "lost"):
            if store == "lost":
                for path in (rendered / "data").glob("answers.sqlite*"):
                    path.unlink()
                use(rendered, "generation", max_tokens=2000)
            done = run(rendered, "generate.py", "--base-url", server.url, "--push", env=env)
            assert done.returncode == 0, done.stdout + done.stderr
            assert len(server.chats) == asked and table(rendered) == wanted
        published = hub.repos["datasets/ann/brood-generations"].files
        (name,) = [name for name in published if name.endswith(".parquet")]
        (tmp_path / "pushed.parquet").write_bytes(published[name])
        assert {
            row["input"]: row["generations"] for row in pq.read_table(tmp_path / "pushed.parquet").to_pylist()
        } == wanted


def test_it_comes_back_without_being_paid_again(rendered: Path, server: ModelServer, english: None) -> None:
    write_prompts(rendered, ["Wat eet een egel?"])
    use(rendered, "generation", models=["acme/one", "acme/two"], prompts="prompts/mine.jsonl")
    assert generate(rendered, "--base-url", server.url).returncode == 0
    before, asked = table(rendered), len(server.chats)
    (rendered / "data" / "answers.sqlite").unlink()
    (texts,) = before.values()
    id = text_id("Wat eet een egel?", str(texts[1]))
    assert run(rendered, "export.py", "--leave-out", id, "--reason", "harmful").returncode == 0
    assert table(rendered) == {"Wat eet een egel?": [texts[0], None]}
    (rendered / "prompts" / "left_out.jsonl").unlink()
    assert generate(rendered, "--base-url", server.url).returncode == 0
    assert table(rendered) == before and len(server.chats) == asked


def test_a_record_of_an_earlier_version(task: Task, server: ModelServer) -> None:
    """Its id is that of the answer as it was cleaned then."""
    dataset = task.config.annotation.dataset
    put_into(task.project)
    task.set(dataset=f'"{dataset}"')
    id, prompt = "81187ff073036cd30aec80abd2fc85ef", "Hoe houd ik brood vers?"  # acme/two, with [THINK], voted on
    assert id in {vote["record_id"] for vote in task.table("votes/train.parquet")}
    done = task.export("--leave-out", id, "--reason", "harmful")
    assert done.returncode == 0, done.stderr
    assert id not in {vote["record_id"] for vote in task.table("votes/train.parquet")}
    server.reply = lambda body: ENGLISH
    generate(task.project, "--base-url", server.url)
    assert (prompt, "acme/two") not in {(chat.prompt, chat.model) for chat in server.chats}
    assert table(task.project)[prompt][1] is None
    task.setup()
    assert id not in {each["external_id"] for each in task.records().values()}
    assert all(
        prompt != each[0] or "acme/two" not in str(record["metadata"]) for each, record in task.records().items()
    )
