"""Votes on a real Argilla become rows; what happens when votes change, vanish, tie, or are not there."""

import csv
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest
from argilla_server import ArgillaServer
from hypothesis import given
from hypothesis import strategies as st
from rendering import TEMPLATE, render
from standin_hub import StandinHub, User
from voting import SYSTEM_PROMPT, Task, argilla, english, task

sys.path.insert(0, str(TEMPLATE))

from kto.dataset import privacy, rows, votes

__all__ = ["argilla", "english", "task"]

PROMPTS = [
    "How do I keep bread fresh?",
    "What helps against a cold?",
    "Where do tulips grow?",
    "Who repairs a bicycle?",
]
PEOPLE = ["amina", "piet", "wanjiku"]


@pytest.fixture
def voted(task: Task) -> Task:
    """Four prompts, two answers each; three people have voted on most of them."""
    task.generate({prompt: [f"one to {prompt}", f"two to {prompt}"] for prompt in PROMPTS})
    task.setup()
    with task.together():
        cast(task)
    return task


def cast(task: Task) -> None:
    records = task.records()
    for prompt in PROMPTS[:3]:
        one, two = records[prompt, f"one to {prompt}"], records[prompt, f"two to {prompt}"]
        for name in PEOPLE:
            task.vote(name, one, "good")
        task.vote("amina", two, "bad", reasons=["unsafe", "off_topic"], comment=f'Amina, {prompt}\n"really"')
        task.vote("piet", two, "bad")
        task.vote("wanjiku", two, "good", status="draft")
    tie, single = (records[PROMPTS[3], f"{which} to {PROMPTS[3]}"] for which in ("one", "two"))
    task.vote("amina", tie, "good")
    task.vote("piet", tie, "bad")
    task.vote("wanjiku", tie, "good", status="discarded")
    task.vote("piet", single, "bad", status="discarded")


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_votes_and_rows(voted: Task) -> None:
    done = voted.export_command()
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    public = pq.read_table(voted.data / "votes" / "train.parquet")
    assert public.schema.equals(privacy.public_schema())
    table = pq.read_table(voted.data / "private" / "votes" / "train.parquet")
    assert table.schema.equals(votes.schema())
    assert public.to_pylist() == privacy.public_votes(table.to_pylist())
    cast_votes = table.to_pylist()
    assert len(cast_votes) == 3 * 5 + 2
    now = datetime.now(UTC)
    for vote in cast_votes:
        assert re.fullmatch(r"annotator-[0-9a-f]{10}", vote["annotator"])
        assert now - timedelta(minutes=10) < vote["inserted_at"] <= vote["updated_at"] < now
        assert vote["prompt"] == [
            {"role": "system", "content": SYSTEM_PROMPT},
            {"role": "user", "content": vote["prompt"][1]["content"]},
        ]
        answer = vote["completion"][0]["content"]
        assert vote["completion"] == [{"role": "assistant", "content": answer}]
        assert vote["generation_model"] == ["acme/" + answer.split()[0]]
    assert len({vote["annotator"] for vote in cast_votes}) == 3
    assert len({vote["vote_id"] for vote in cast_votes}) == len(cast_votes)
    assert sum(vote["reasons"] == ["off_topic", "unsafe"] for vote in cast_votes) == 3

    found = datasets.load_dataset("parquet", data_dir=str(voted.data / "kto"), cache_dir=str(voted.data / "cache"))
    table = pq.read_table(voted.data / "kto" / "train.parquet")
    assert table.schema.equals(rows.schema())
    every = [row for split in found.values() for row in split]
    assert len(every) == 6 and len({row["prompt_id"] for row in every}) == 3
    for row in every:
        good = row["completion"][0]["content"].startswith("one")
        assert row["label"] is good
        assert (row["n_votes"], row["agreement"]) == ((3, 1.0) if good else (2, 1.0))
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]

    for line in ("Prompts: 3", "Votes: 17", "People who voted: 3", "Left out because of a tie: 1", "Thumbs up: 3"):
        assert line in done.stdout.splitlines()
    card = (voted.project / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\| Agreement \(Krippendorff's α\) \| 0\.\d\d \|", card)


def test_nobody_can_be_recognised(voted: Task) -> None:
    assert voted.export_command().returncode == 0
    private = voted.data / "private"
    public = {name: data for name, data in tree(voted.project).items() if "/private/" not in name}
    for path, _ in public.items():
        if path.endswith(".parquet") and "generations" not in path:
            text = str(pq.read_table(voted.project / path).to_pylist())
            assert not any(name in text for name in [*PEOPLE, "Amina", "really"]), path
    assert not any("Amina" in data.decode("utf-8", "replace") for name, data in public.items())
    with (private / "votes" / "comments.csv").open(encoding="utf-8", newline="") as file:
        comments = list(csv.DictReader(file))
    assert sorted(each["comment"] for each in comments) == [f'Amina, {prompt}\n"really"' for prompt in PROMPTS[:3]]
    assert {each["annotator"] for each in comments} < {vote["annotator"] for vote in voted.table("votes/train.parquet")}
    if sys.platform != "win32":
        assert stat.S_IMODE((private / "pseudonym_key").stat().st_mode) == 0o600
    # Without the key, a name and its pseudonym have nothing to do with each other.
    assert votes.pseudonym(b"a" * 32, "amina") != votes.pseudonym(b"b" * 32, "amina")
    (private / "pseudonym_key").write_text("", encoding="utf-8")
    done = voted.export()
    assert done.returncode == 1 and "pseudonym_key cannot be used" in done.stderr


def test_a_second_export_changes_nothing(voted: Task) -> None:
    assert voted.export().returncode == 0
    before = tree(voted.data)
    assert voted.export().returncode == 0
    after = tree(voted.data)
    assert after.keys() == before.keys()
    for name in ("votes/train.parquet", "private/votes/train.parquet", "kto/train.parquet"):
        assert after[name] == before[name]
    assert after["private/votes/comments.csv"] == before["private/votes/comments.csv"]
    assert after["private/pseudonym_key"] == before["private/pseudonym_key"]
    assert not [name for name in after if name.endswith(".tmp")]


def counted(task: Task) -> dict[tuple[str, str], bool]:
    """Return (pseudonym, answer) → vote."""
    return {
        (vote["annotator"], vote["completion"][0]["content"]): vote["vote"]
        for vote in task.table("votes/train.parquet")
    }


def replaced(task: Task) -> list[dict]:
    path = task.data / "private" / "votes" / "replaced.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_changed_withdrawn_and_lost_votes(voted: Task) -> None:
    assert voted.export().returncode == 0
    before, records = counted(voted), voted.records()
    one = [records[prompt, f"one to {prompt}"] for prompt in PROMPTS]
    voted.vote("amina", one[0], "bad")  # changes her mind
    voted.vote("amina", one[1], "good", status="discarded")  # withdraws it
    voted.vote("wanjiku", one[3], "good")  # decides the tie
    owner = voted.person("owner")
    (piet,) = [user["id"] for user in owner.get("/api/v1/users").json()["items"] if user["username"] == "piet"]
    owner.delete(f"/api/v1/users/{piet}").raise_for_status()  # and with it, in Argilla, his 7 votes
    del voted.people["piet"]

    done = voted.export()
    assert done.returncode == 0
    assert done.stderr == "Votes that Argilla does not have any more: 7. They stay in the dataset.\n"
    after = counted(voted)
    assert len(after) == len(before) == 17
    (amina,) = {who for who, _ in before if before.get((who, f"one to {PROMPTS[3]}"), False)}
    assert before[amina, f"one to {PROMPTS[0]}"] and not after[amina, f"one to {PROMPTS[0]}"]
    assert (amina, f"one to {PROMPTS[1]}") not in after
    changed = {(amina, f"one to {PROMPTS[0]}"), (amina, f"one to {PROMPTS[1]}")}
    assert {key: after[key] for key in before.keys() - changed} == {key: before[key] for key in before.keys() - changed}
    assert [(old["annotator"], old["completion"][0]["content"], old["vote"]) for old in replaced(voted)] == [
        (amina, f"one to {PROMPTS[0]}", True),
        (amina, f"one to {PROMPTS[1]}", True),
    ]
    labels = {row["completion"][0]["content"]: row for row in every_row(voted)}
    assert labels[f"one to {PROMPTS[3]}"]["label"] and labels[f"one to {PROMPTS[3]}"]["n_votes"] == 3
    assert labels[f"one to {PROMPTS[0]}"]["agreement"] == pytest.approx(2 / 3)

    assert voted.export().returncode == 0
    assert counted(voted) == after and len(replaced(voted)) == 2


def every_row(task: Task) -> list[dict]:
    return [row for path in sorted((task.data / "kto").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_an_argilla_that_has_forgotten_everything(voted: Task) -> None:
    """A Space lost its disk; vote.py is run again, and some people vote again."""
    assert voted.export().returncode == 0
    before = counted(voted)
    voted.person("owner").delete(f"/api/v1/datasets/{voted.dataset_id}").raise_for_status()
    done = voted.export()
    assert done.returncode == 1 and "Run vote.py first" in done.stderr
    voted.setup()
    assert voted.export().returncode == 0
    assert counted(voted) == before

    record = voted.records()[PROMPTS[0], f"one to {PROMPTS[0]}"]
    voted.vote("piet", record, "bad")
    voted.vote("amina", record, "good")
    done = voted.export()
    assert "not have any more: 15." in done.stderr
    after = counted(voted)
    differing = [key for key in before if after[key] != before[key]]
    assert len(after) == len(before) and len(differing) == 1 and differing[0][1] == f"one to {PROMPTS[0]}"
    assert len(replaced(voted)) == 1


# --- nothing to write -------------------------------------------------------------------------------------------------


def test_no_votes_yet(task: Task) -> None:
    done = task.export()
    assert done.returncode == 1 and "Run vote.py first." in done.stderr
    task.generate({"Question?": ["one", "two"]})
    task.setup()
    record = next(iter(task.records().values()))
    task.vote("amina", record, "good", status="draft")
    task.vote("piet", record, "bad", status="discarded")
    card = (task.project / "publish" / "dataset" / "README.md").read_bytes()
    done = task.export("--push")
    assert done.returncode == 1  # this is said first
    assert done.stderr.startswith("This project has no owner on the Hub.")
    done = task.export_command()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Nobody has voted yet. Drafts and discarded records do not count.\n"
    assert not (task.data / "votes").exists() and not (task.data / "kto").exists()
    assert (task.project / "publish" / "dataset" / "README.md").read_bytes() == card


def test_only_ties_then_one_class_then_both(task: Task) -> None:
    task.set(min_votes="1")
    task.generate({"Question?": ["one", "two"]})
    task.setup()
    one, two = (task.records()["Question?", answer] for answer in ("one", "two"))
    task.vote("amina", one, "good")
    task.vote("piet", one, "bad")
    done = task.export()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("All answers with enough votes are ties: 1. The votes are kept;")
    assert len(task.table("votes/train.parquet")) == 2 and not (task.data / "kto").exists()
    task.vote("wanjiku", one, "good")
    done = task.export()
    assert done.returncode == 0
    assert done.stderr.startswith("Every row has the same label.")
    assert len(task.table("kto/train.parquet")) == 1
    task.vote("wanjiku", two, "bad")
    done = task.export()
    assert (done.returncode, done.stderr) == (0, "")
    assert not (task.data / "kto" / "test.parquet").exists()  # one prompt is too few to hold any back


def test_all_votes_withdrawn_and_only_a_tie_left(task: Task) -> None:
    task.generate({"Question?": ["one", "two"], "Another?": ["one", "two"]})
    task.setup()
    task.set(test_fraction="0.5", seed="2", min_votes="1")
    records = task.records()
    for record in records.values():
        task.vote("amina", record, "good")
    assert task.export().returncode == 0
    assert task.table("kto/train.parquet") and task.table("kto/test.parquet")
    for record in records.values():
        task.vote("amina", record, "good", status="discarded")
    done = task.export()
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.startswith("Nobody has voted yet.")
    assert list((task.data / "kto").iterdir()) == [] and task.table("votes/train.parquet") == []
    assert "| Votes | 0 |" in (task.project / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")
    one = records["Question?", "one"]
    task.vote("amina", one, "good")
    assert task.export().returncode == 0 and task.table("kto/train.parquet")
    task.vote("piet", one, "bad")
    done = task.export()
    assert done.returncode == 1 and done.stderr.startswith("All answers with enough votes are ties: 1.")
    assert list((task.data / "kto").iterdir()) == []


# --- forgetting -------------------------------------------------------------------------------------------------------

NO_ARGILLA = {"ARGILLA_API_URL": "http://127.0.0.1:9"}


def names(task: Task) -> set[str]:
    """Return the pseudonyms in everything that an export writes, the list of those to leave out excepted."""
    found = {vote["annotator"] for vote in [*task.table("votes/train.parquet"), *replaced(task)]}
    with (task.data / "private" / "votes" / "comments.csv").open(encoding="utf-8", newline="") as file:
        return found | {comment["annotator"] for comment in csv.DictReader(file)}


def test_a_person_is_forgotten(voted: Task) -> None:
    voted.set(min_votes="1")
    assert voted.export().returncode == 0
    one = voted.records()[PROMPTS[0], f"one to {PROMPTS[0]}"]
    voted.vote("amina", one, "bad")
    assert voted.export().returncode == 0
    (amina,) = {old["annotator"] for old in replaced(voted)}
    assert len(names(voted)) == 3

    done = voted.export_command("--forget", "amina", **NO_ARGILLA)  # what is here is enough
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "The votes and comments of amina are taken out" in done.stdout and "Votes: 10" in done.stdout.splitlines()
    everything = {name: data for name, data in tree(voted.data).items() if name != "private/forgotten.txt"}
    assert not any(amina.encode() in data for data in everything.values())
    assert not any(b"really" in data for name, data in everything.items() if "generations" not in name)
    assert (voted.data / "private" / "forgotten.txt").read_text(encoding="utf-8") == amina + "\n"
    assert len(names(voted)) == 2
    rows_after = every_row(voted)
    assert max(row["n_votes"] for row in rows_after) == 2

    voted.vote("amina", one, "good", comment="again")  # Argilla still has her votes; they stay away
    done = voted.export()
    assert (done.returncode, done.stderr) == (0, "")
    assert len(names(voted)) == 2 and every_row(voted) == rows_after

    assert voted.export("--forget", amina).returncode == 0  # once more, now by the invented name
    done = voted.export("--forget", "amina 2")
    assert done.returncode == 1 and done.stderr.startswith("Nobody called amina 2 has voted.")
    assert len(names(voted)) == 2 and every_row(voted) == rows_after


def test_who_was_never_exported_and_who_was_the_last(task: Task) -> None:
    task.set(min_votes="1")
    task.generate({"Question?": ["one", "two"]})
    task.setup()
    record = task.records()["Question?", "one"]
    task.vote("amina", record, "good")
    assert task.export().returncode == 0
    task.vote("piet", record, "good")
    assert task.export("--forget", "piet").returncode == 0  # known to Argilla alone
    assert len(task.table("votes/train.parquet")) == 1
    task.person("owner").delete(f"/api/v1/datasets/{task.dataset_id}").raise_for_status()
    (amina,) = {vote["annotator"] for vote in task.table("votes/train.parquet")}
    done = task.export("--forget", amina)
    assert (done.returncode, done.stderr) == (0, "")
    assert task.table("votes/train.parquet") == [] and list((task.data / "kto").iterdir()) == []


def test_who_is_forgotten_is_told_where_the_votes_still_are(task: Task, argilla: ArgillaServer) -> None:
    task.set(min_votes="1", hub_owner='"ann"', slug='"thumbs"')
    task.generate({"Question?": ["one", None]})
    task.setup()
    for name in ("wanjiru", "piet"):
        task.vote(name, task.records()["Question?", "one"], "good", comment=f"really, says {name}")
    assert task.export().returncode == 0
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=All"]):
        identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org"]
        subprocess.run(["git", *identity, *words], cwd=task.project, check=True, capture_output=True)
    done = task.export("--forget", "wanjiru")
    assert done.returncode == 0
    assert "these files as they were: data/votes/train.parquet. To take them out" in done.stderr
    assert "ann/thumbs on the Hub, if it is there" in done.stderr and "super_squash_history('ann/thumbs'" in done.stderr

    delete, clear = re.findall(r'uv run python -c "([^"]+)"', done.stdout)  # what it says can be done
    assert task.run("-c", delete).returncode == 0
    users = task.person("owner").get("/api/v1/users").json()["items"]
    (record,) = task.records().values()
    assert "wanjiru" not in {user["username"] for user in users} and len(record["responses"]) == 1
    shutil.copytree(argilla.home, task.project / ".argilla")
    assert task.run("-c", clear).returncode == 0
    assert b"says wanjiru" not in (task.project / ".argilla" / "argilla.db").read_bytes()
    assert (task.export().returncode, len(task.table("votes/train.parquet"))) == (0, 1)
    (person,) = (task.data / "private" / "forgotten.txt").read_text(encoding="utf-8").split()
    assert "still has the account of NAME, with" in task.export("--forget", person).stdout


def test_comments_and_spreadsheets(voted: Task) -> None:
    record = voted.records()[PROMPTS[0], f"one to {PROMPTS[0]}"]
    formula = '=HYPERLINK("http://example.org";"x")'
    voted.vote("piet", record, "bad", comment=formula)
    assert voted.export().returncode == 0
    path = voted.data / "private" / "votes" / "comments.csv"
    with path.open(encoding="utf-8", newline="") as file:
        comments = list(csv.DictReader(file))
    assert "'" + formula in [each["comment"] for each in comments]
    before = path.read_bytes()

    with path.open("w", encoding="utf-8-sig", newline="") as file:  # as a spreadsheet saves it
        writer = csv.DictWriter(file, comments[0], delimiter=";")
        writer.writeheader()
        writer.writerows(comments)
    voted.person("owner").delete(f"/api/v1/datasets/{voted.dataset_id}").raise_for_status()
    voted.setup()
    assert voted.export().returncode == 0
    assert sorted(path.read_bytes().split(b"\n")) == sorted(before.split(b"\n"))

    path.write_text("vote_id,comment\n1,x\n", encoding="utf-8")
    done = voted.export()
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path} cannot be read, or it lacks one of these columns: vote_id, annotator,")


# --- more of what may happen ------------------------------------------------------------------------------------------


def test_output_elsewhere_and_a_split_that_is_gone(voted: Task, tmp_path: Path) -> None:
    output = tmp_path / "another place"
    voted.set(test_fraction="0.5", seed="2")
    assert voted.export("--output", str(output)).returncode == 0
    assert sorted(tree(output)) == ["kto/test.parquet", "kto/train.parquet", "votes/train.parquet"]
    assert sorted(path.name for path in voted.data.iterdir()) == ["generations", "private"]
    voted.set(test_fraction="0.0")
    for path in (output / "kto").iterdir():  # without the rows of before, chance decides again
        path.unlink()
    assert voted.export("--output", str(output)).returncode == 0
    assert sorted(tree(output)) == ["kto/train.parquet", "votes/train.parquet"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda task: (task.data / "votes" / "train.parquet").write_bytes(b"PAR1 no"), "cannot be read"),
        (
            lambda task: pq.write_table(
                pq.read_table(task.data / "votes" / "train.parquet", columns=["vote", "prompt"]),
                task.data / "votes" / "train.parquet",
            ),
            "cannot be read",
        ),
        (lambda task: (task.project / "publish" / "dataset" / "README.md").write_text("# Mine\n"), "numbers"),
        (lambda task: (task.data / "kto" / "train.parquet").unlink() or block(task.data / "kto"), "cannot be written"),
    ],
)
def test_damage_is_said_and_not_made_worse(voted: Task, spoil: Callable[[Task], object], sentence: str) -> None:
    assert voted.export().returncode == 0
    spoil(voted)
    before = (voted.data / "votes" / "train.parquet").read_bytes()
    done = voted.export()
    assert done.returncode == 1
    assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert (voted.data / "votes" / "train.parquet").read_bytes() == before


def block(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("a file where a folder should be")


def test_what_people_wrote_into_the_card_stays(voted: Task) -> None:
    path = voted.project / "publish" / "dataset" / "README.md"
    path.write_text(path.read_text(encoding="utf-8") + "\nOur own words.\n", encoding="utf-8")
    for _ in range(2):
        assert voted.export().returncode == 0
        card = path.read_text(encoding="utf-8")
        assert card.count("| Votes | 17 |") == 1 and card.endswith("\nOur own words.\n")
    path.unlink()
    assert voted.export().returncode == 0
    assert "| Votes | 17 |" in path.read_text(encoding="utf-8")


def test_help(task: Task) -> None:
    done = task.run("export.py", "--help", ARGILLA_API_URL="http://127.0.0.1:9")
    assert done.returncode == 0 and "--output DIR" in done.stdout
    assert [line.split()[0] for line in done.stdout.partition("Commands:\n")[2].splitlines()] == [
        "forget",
        "leave-out",
        "push",
    ]
    done = task.run("export.py", "forget", "--help")
    assert done.returncode == 0 and "Usage: export.py forget " in done.stdout
    done = task.run("export.py", "forget")
    assert (done.returncode, done.stderr) == (2, "NAME needs a value. --help shows which.\n")


# --- a server that is stopped -----------------------------------------------------------------------------------------


def test_votes_of_a_stopped_server_are_read_from_its_database(tmp_path: Path, english: None) -> None:
    with ArgillaServer(render(tmp_path)) as server:
        task = Task(server.project_dir, server.url, server.api_key)
        task.people["owner"] = task._client(server.api_key)
        task.generate({prompt: [f"one to {prompt}", f"two to {prompt}"] for prompt in PROMPTS})
        task.setup()
        with task.together():
            cast(task)
        cast_again = next(iter(task.records().values()))
        task.vote("piet", cast_again, "bad", comment="=2+2")
        running = task.export("--output", str(tmp_path / "running"))
        assert running.returncode == 0, running.stderr
        private = tree(task.data / "private")
        for client in task.people.values():
            client.close()
        server.stop(kill=True)  # what it has not moved into the file yet is in the log beside it
        votes_of_a_killed_one = task.export("--output", str(tmp_path / "stopped"))
    assert (votes_of_a_killed_one.returncode, votes_of_a_killed_one.stderr) == (0, "")
    assert tree(tmp_path / "stopped") == tree(tmp_path / "running") and tree(task.data / "private") == private

    shutil.rmtree(task.data / "private" / "votes")
    (task.data / "private" / "argilla.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "argilla", None)  # it takes a second to import
        alone = task.export("--output", str(tmp_path / "alone"))
    assert alone.returncode == 0, "all that is needed is in the database"
    assert tree(tmp_path / "alone") == tree(tmp_path / "running") and tree(task.data / "private") == private
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ARGILLA_API_KEY", "of another Argilla")
        assert f"{server.url}" in task.export().stderr
    (task.project / ".argilla").rename(tmp_path / "elsewhere")
    done = task.export()
    assert done.returncode == 1 and server.url in done.stderr


# --- merging, for any history -----------------------------------------------------------------------------------------

TIMES = st.integers(0, 5).map(lambda n: datetime(2026, 1, 1, n, tzinfo=UTC))
STATES = st.dictionaries(  # who and what → when and how
    st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), st.tuples(TIMES, st.booleans()), max_size=6
)


def as_votes(state: dict, server: str) -> list[dict]:
    return [
        {
            "vote_id": f"{server}/{who}/{what}",
            "record_id": what,
            "annotator": who,
            "vote": vote,
            "reasons": [],
            "inserted_at": time,
            "updated_at": time,
        }
        for (who, what), (time, vote) in state.items()
    ]


@given(st.lists(st.tuples(st.sampled_from(["old", "new"]), STATES), max_size=5))
def test_the_newest_vote_counts_and_none_is_lost(history: list[tuple[str, dict]]) -> None:
    kept: list[dict] = []
    log: list[dict] = []
    newest: dict[tuple[str, str], datetime] = {}
    seen: set[tuple] = set()
    for server, state in history:
        kept, out = votes.merge(kept, as_votes(state, server), set())
        log += out
        for key, (time, _) in state.items():
            newest[key] = max(time, newest.get(key, time))
        seen |= {(vote["annotator"], vote["record_id"], vote["vote"]) for vote in kept}
        assert {(vote["annotator"], vote["record_id"]): vote["updated_at"] for vote in kept} == newest
        assert len(kept) == len(newest)
    assert seen == {(vote["annotator"], vote["record_id"], vote["vote"]) for vote in [*kept, *log]}
    assert votes.merge(kept, [], set()) == (kept, [])


@given(STATES, st.data())
def test_withdrawn_votes_move_to_the_log(state: dict, data: st.DataObject) -> None:
    kept = as_votes(state, "s")
    withdrawn = {vote["vote_id"] for vote in kept if data.draw(st.booleans())}
    after, log = votes.merge(kept, [], withdrawn)
    assert {vote["vote_id"] for vote in log} == withdrawn
    assert {vote["vote_id"] for vote in after} == {vote["vote_id"] for vote in kept} - withdrawn


# --- the Hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def owned(voted: Task) -> Task:
    voted.set(hub_owner='"ann"', slug='"thumbs"', test_fraction="0.5", seed="2")
    return voted


def load_back(task: Task, env: dict[str, str], *name: str) -> Any:
    code = """
import json, sys, datasets
found = datasets.load_dataset(*sys.argv[1:])
print(json.dumps({split: [dict(row) for row in rows] for split, rows in found.items()}, default=str))
"""
    done = task.run("-c", code, "ann/thumbs", *name, **env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_push_and_load_back(owned: Task, tmp_path: Path) -> None:
    with StandinHub() as hub:
        env = hub.env(tmp_path / "hub")
        done = owned.export_command("--push", **env)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"On the Hub: {hub.url}/datasets/ann/thumbs" in done.stdout
        assert hub.repos["datasets/ann/thumbs"].private
        found = load_back(owned, env)  # without a name: the rows
        assert sorted(found) == ["test", "train"]
        assert found == {name: owned.table(f"kto/{name}.parquet") for name in ("train", "test")}
        pushed = load_back(owned, env, "votes")["train"]
        here = owned.table("votes/train.parquet")
        days = ("inserted_at", "updated_at")  # no more
        assert len(pushed) == 17 and pushed == [vote | {name: str(vote[name]) for name in days} for vote in here]
        files = hub.repos["datasets/ann/thumbs"].commits[-1].files
        card = files["README.md"].data.decode()
        assert "| Votes | 17 |" in card and "config_name: votes" in card and "dataset_info:" in card
        assert "pretty_name:" in card and "license: cc-by-4.0" in card
        everything = b"".join(blob.data for blob in files.values())
        assert not any(name.encode() in everything for name in ["Amina", "amina", "piet", "wanjiku"])

        assert owned.export_command("--push", **env).returncode == 0  # a second time
        assert load_back(owned, env) == found

        # Public now, and without a test split: neither is taken back.
        hub.repos["datasets/ann/thumbs"].info |= {"private": False, "visibility": "public"}
        owned.set(test_fraction="0.0")
        for path in (owned.data / "kto").iterdir():
            path.unlink()
        assert owned.export_command("--push", **env).returncode == 0
        assert not hub.repos["datasets/ann/thumbs"].private
        assert sorted(load_back(owned, {**env, "HF_DATASETS_CACHE": str(tmp_path / "fresh")})) == ["train"]
        assert hub.unexpected == []


def test_what_the_hub_may_say(owned: Task, tmp_path: Path) -> None:
    with StandinHub() as hub:
        env = hub.env(tmp_path / "hub")
        done = owned.export_command("--push", **{**env, "HF_TOKEN": ""})
        assert done.returncode == 1 and done.stderr.startswith("There is no token for the Hub.")
        assert not (owned.data / "votes").exists()
        done = owned.export_command("--push", **{**env, "HF_TOKEN": "wrong"})
        assert done.returncode == 1 and done.stderr.startswith("The Hub does not accept the token.")
        assert (owned.data / "kto" / "train.parquet").exists()  # what is here is written, only not there
        hub.users["reader"] = User("ann", role="read")
        done = owned.export_command("--push", **{**env, "HF_TOKEN": "reader"})
        assert done.returncode == 1 and done.stderr.startswith("The token may not write to ann/thumbs.")
        done = owned.export_command("--push", **{**env, "HF_ENDPOINT": "http://127.0.0.1:9"})
        assert done.returncode == 1 and done.stderr.startswith("The Hub cannot be reached (")
        done = owned.export_command("--push", **{**env, "HF_HUB_OFFLINE": "1"})
        assert done.returncode == 1 and done.stderr.startswith("HF_HUB_OFFLINE is set")
        assert hub.repos == {}
