"""Which rows there are, in which split: few votes, prompts that were changed or nearly repeat another."""

import itertools
import json
import sys
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering import TEMPLATE
from voting import Task, argilla, english, task

sys.path.insert(0, str(TEMPLATE))

from kto import tables
from kto.ask import prompt_sources
from kto.dataset import rows
from kto.vote.client import connect
from kto.vote.task import make_task

__all__ = ["argilla", "english", "task"]

BREAD = "How do I keep a loaf of fresh bread from going stale over the weekend?"
EDITED = "How do I keep a loaf of fresh bread from going stale over the week?"
PAINT = "How many litres of paint do I need for a wall of four by two metres?"
OTHERS = [
    "What helps against a cold?",
    "Where do tulips grow?",
    "Who repairs a bicycle?",
    "Why is the sky blue by day?",
    "Tell me a story about a lost umbrella.",
    "Name five proverbs and say what they mean.",
]


def write_prompts(task: Task, texts: list[str]) -> None:
    lines = [json.dumps({"prompt": text}) + "\n" for text in texts]
    (task.project / "prompts" / "mine.jsonl").write_text("".join(lines), encoding="utf-8")
    task.generate({text: ["In paper.", "Freeze it."] for text in texts})


@pytest.fixture
def asked(task: Task) -> Task:
    """A project with prompts of its own; two votes per answer make a row."""
    task.set(prompts='"prompts/mine.jsonl"', test_fraction="0.5")
    return task


def vote_on_all(task: Task, *people: str) -> None:
    """Let these people vote on what they have not voted on."""
    with task.together():
        for (_, answer), record in task.records().items():
            if not record["responses"]:
                for name in people:
                    task.vote(name, record, "good" if answer == "In paper." else "bad")


def exported(task: Task) -> dict[str, str]:
    """Return prompt → split."""
    found = {}
    for name in ("train", "test"):
        if (task.data / "kto" / f"{name}.parquet").exists():
            found |= {row["prompt"][-1]["content"]: name for row in task.table(f"kto/{name}.parquet")}
    return found


def seed_for(test: list[str], train: list[str]) -> int:
    """Return a seed by which chance puts these prompts there, at a fraction of a half."""

    def drawn(text: str, seed: int) -> bool:
        return rows._fraction(seed, "split", prompt_sources.prompt_id(text)) < 0.5

    return next(
        seed
        for seed in itertools.count()
        if all(drawn(text, seed) for text in test) and not any(drawn(text, seed) for text in train)
    )


# --- one vote is not enough -------------------------------------------------------------------------------------------


def test_an_answer_with_few_votes_is_no_row(asked: Task) -> None:
    """Without the setting (a project of an earlier version) it takes two, or one where Argilla asks for one."""
    write_prompts(asked, OTHERS[:1])
    asked.setup()
    records = asked.records()
    for name in ("amina", "piet"):
        asked.vote(name, records[OTHERS[0], "In paper."], "good")
    asked.vote("amina", records[OTHERS[0], "Freeze it."], "bad")
    path = asked.project / "settings.toml"
    lines = [line for line in path.read_text(encoding="utf-8").split("\n") if not line.startswith("min_votes = ")]
    for setting, min_submitted, kept in [
        (None, 2, 1),
        (None, 1, 2),
        (None, 3, 1),
        ("2", 1, 1),
        ("1", 2, 2),
        ("3", 2, 0),
    ]:
        changed = [f"min_submitted = {min_submitted}" if each.startswith("min_submitted") else each for each in lines]
        if setting:
            changed.insert(changed.index("[export]") + 1, f"min_votes = {setting}")
        path.write_text("\n".join(changed), encoding="utf-8")
        done = asked.export()
        assert len(exported_rows(asked)) == kept
        if kept:
            assert done.returncode == 0
            assert f"Left out because of too few votes: {2 - kept}" in done.stdout.splitlines()
            card = (asked.project / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")
            assert f"| Left out because of too few votes | {2 - kept} |" in card
            assert all(row["n_votes"] >= (1 if kept == 2 else 2) for row in exported_rows(asked))
        else:
            assert done.returncode == 1 and "answers with fewer: 2." in done.stderr
        assert len(asked.table("votes/train.parquet")) == 3, "the votes are there all the same"


def test_a_new_project_asks_for_two_votes(task: Task) -> None:
    assert "\nmin_votes = 2 " in (task.project / "settings.toml").read_text(encoding="utf-8")


def exported_rows(task: Task) -> list[tables.Row]:
    return [row for name in set(exported(task).values()) for row in task.table(f"kto/{name}.parquet")]


# --- an exported prompt stays where it is -----------------------------------------------------------------------------


def test_a_prompt_keeps_its_split(asked: Task) -> None:
    write_prompts(asked, OTHERS[:4])
    asked.set(seed=str(seed_for(OTHERS[:2], OTHERS[2:4])))
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    assert asked.export().returncode == 0
    before = exported(asked)
    assert before == dict.fromkeys(OTHERS[:2], "test") | dict.fromkeys(OTHERS[2:4], "train")

    asked.set(seed=str(seed_for(OTHERS[2:5], [*OTHERS[:2], OTHERS[5]])))  # chance would turn all of them round
    write_prompts(asked, OTHERS)
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    for fraction in ("0.5", "0.0", "0.9"):
        assert asked.export().returncode == 0
        assert exported(asked) == before | {OTHERS[4]: "test", OTHERS[5]: "train"}
        asked.set(test_fraction=fraction)


def test_a_prompt_that_was_left_out_for_a_while_keeps_its_split(asked: Task) -> None:
    write_prompts(asked, OTHERS[:3])
    asked.set(seed=str(seed_for(OTHERS[:1], OTHERS[1:3])))
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    assert asked.export().returncode == 0
    before = exported(asked)
    records = asked.records()
    mine = [records[OTHERS[0], answer] for answer in ("In paper.", "Freeze it.")]
    for record in mine:
        asked.vote("piet", record, "good", status="discarded")
    asked.set(test_fraction="0.0")
    assert asked.export().returncode == 0
    assert OTHERS[0] not in exported(asked)
    for record in mine:
        asked.vote("piet", record, "good" if record["fields"]["answer"] == "In paper." else "bad")
    assert asked.export().returncode == 0
    assert exported(asked) == before


# --- prompts that say nearly the same ---------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_edited_prompt_follows_the_exported_one(asked: Task, split: str) -> None:
    write_prompts(asked, [BREAD, *OTHERS[:2]])
    in_test, in_train = (BREAD, EDITED) if split == "test" else (EDITED, BREAD)
    asked.set(seed=str(seed_for([in_test, OTHERS[0]], [in_train, OTHERS[1]])))
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    assert asked.export().returncode == 0
    assert exported(asked)[BREAD] == split
    write_prompts(asked, [EDITED, *OTHERS[:2]])  # corrected; it comes first now
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    done = asked.export()
    assert done.returncode == 0
    assert exported(asked) == {BREAD: split, EDITED: split, OTHERS[0]: "test", OTHERS[1]: "train"}
    # The votes on what it said before stay and are counted.
    assert "Votes: 16" in done.stdout.splitlines()
    assert "Of these, on prompts that have been changed or taken out since: 4" in done.stdout.splitlines()


@pytest.mark.parametrize("first", [BREAD, EDITED])
def test_new_prompts_follow_the_first_in_the_file(asked: Task, first: str) -> None:
    second = EDITED if first == BREAD else BREAD
    write_prompts(asked, [OTHERS[0], first, OTHERS[1], second])
    asked.set(seed=str(seed_for([first, OTHERS[0]], [second, OTHERS[1]])))
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    assert asked.export().returncode == 0
    assert exported(asked) == {first: "test", second: "test", OTHERS[0]: "test", OTHERS[1]: "train"}


def test_pairs_of_an_earlier_version_are_left_out_of_test(asked: Task) -> None:
    """What is in train has been trained on; the other one would test what a model has read."""
    write_prompts(asked, [BREAD, EDITED, *OTHERS[:2]])
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    asked.set(seed=str(seed_for([BREAD, OTHERS[0]], [EDITED, OTHERS[1]])))
    assert asked.export().returncode == 0
    as_drawn(asked, {BREAD: "test", EDITED: "train", OTHERS[0]: "test", OTHERS[1]: "train"})
    for _ in range(2):  # it stays so
        done = asked.export()
        assert done.returncode == 0
        assert exported(asked) == {EDITED: "train", OTHERS[0]: "test", OTHERS[1]: "train"}
        line = "Left out of test because train has almost the same prompt"
        assert f"{line}: 2" in done.stdout.splitlines()
        assert f"| {line} | 2 |" in (asked.project / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")


def as_drawn(task: Task, wanted: dict[str, str]) -> None:
    """Write the rows as an earlier version did, which knew nothing of near duplicates."""
    every = exported_rows(task)
    for name in ("train", "test"):
        part = [row for row in every if wanted[row["prompt"][-1]["content"]] == name]
        tables.write_rows(task.data / "kto" / f"{name}.parquet", part, rows.schema())
    (task.data / "private" / "votes" / "splits.csv").unlink(missing_ok=True)


WORDS = st.lists(
    st.sampled_from(["bread", "tulip", "cold", "bicycle", "paint", "umbrella", "proverb"]), min_size=4, max_size=6
)


@given(st.lists(WORDS.map(" ".join), min_size=1, max_size=12, unique=True), st.data())
def test_no_test_prompt_is_nearly_one_of_train(texts: list[str], data: st.DataObject) -> None:
    by_id = {f"p{n}": text for n, text in enumerate(texts)}
    before = {id: data.draw(st.sampled_from(["train", "test"])) for id in by_id if data.draw(st.booleans())}
    from kto.dataset.labels import Rule, decide_all
    from kto.dataset.rows import KnownPrompts

    known = KnownPrompts(by_id, before, 0.7, 5)
    votes = [
        {
            "record_id": id,
            "prompt_id": id,
            "prompt": [{"role": "user", "content": text}],
            "completion": [],
            "generation_model": ["m"],
            "annotator": "a",
            "vote": True,
        }
        for id, text in by_id.items()
    ]
    found = rows.make_splits(decide_all(votes, Rule(min_votes=1)), 0.5, 0, known)
    parts = [{row["prompt_id"] for row in part} for part in (found.train, found.test, found.left_out)]
    assert sorted(itertools.chain(*parts)) == sorted(by_id), "each in one place"
    assert found.train
    assert not known.near(parts[1], parts[0]), "none in test is like one in train"
    assert known.near(parts[2], parts[0]) == parts[2], "only such are left out"
    if any(name == "train" for name in before.values()):
        assert {id: found.by_prompt[id] for id in before} == before


# --- wordings that are no longer in use -------------------------------------------------------------------------------


def queue(task: Task, name: str) -> set[tuple[str, str]]:
    """Return (prompt, answer) of what the page shows this person under Pending."""
    scopes = ("response", "record")
    terms = [
        {"type": "terms", "scope": {"entity": each, "property": "status"}, "values": ["pending"]} for each in scopes
    ]
    url = f"/api/v1/me/datasets/{task.dataset_id}/records/search"
    answer = task.person(name).post(url, json={"filters": {"and": terms}}, params={"limit": 1000}).raise_for_status()
    fields = [each["record"]["fields"] for each in answer.json()["items"]]
    assert answer.json()["total"] == len(fields)
    return {(each["prompt"], each["answer"]) for each in fields}


def test_answers_to_an_earlier_wording_leave_the_queue(asked: Task) -> None:
    asked.set(min_submitted="3")
    write_prompts(asked, [BREAD, OTHERS[0]])
    asked.setup()
    for name in ("amina", "bea"):
        asked.vote(name, asked.records()[BREAD, "In paper."], "good")
    asked.vote("piet", asked.records()[BREAD, "In paper."], "bad", status="draft")
    before = asked.records()
    write_prompts(asked, [EDITED, OTHERS[0]])
    done = asked.run("vote.py")
    assert (done.returncode, done.stderr) == (0, "")
    new = {(prompt, answer) for prompt in (EDITED, OTHERS[0]) for answer in ("In paper.", "Freeze it.")}
    assert queue(asked, "wanjiku") == new and queue(asked, "piet") == new
    assert "Answers to prompts that you have changed or taken out: 2." in done.stdout
    after = asked.records()
    for key, record in before.items():  # the responses are what they were
        assert after[key]["responses"] == record["responses"] and after[key]["fields"] == record["fields"]
        assert after[key]["status"] == record["status"]
    assert asked.export().returncode == 0
    assert len(asked.table("votes/train.parquet")) == 2 and exported(asked) == {BREAD: "train"}
    progress = asked.person("owner").get(f"/api/v1/datasets/{asked.dataset_id}/progress").json()
    assert (progress["total"], progress["completed"], progress["pending"]) == (5, 1, 4)

    write_prompts(asked, [BREAD, EDITED, OTHERS[0]])  # it was right after all
    done = asked.run("vote.py")
    assert done.returncode == 0 and "changed or taken out" not in done.stdout
    assert queue(asked, "wanjiku") == new | {(BREAD, "In paper."), (BREAD, "Freeze it.")}


def test_an_argilla_that_goes_on_asking(asked: Task) -> None:
    """A Space: its queue knows no outdated answers. How to take them out is said, and loses no vote."""
    for path in (asked.project / "kto" / "vote").glob("outdated.py"):  # a mark that our server does not know either
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('OUTDATED = "outdated"', 'OUTDATED = "elsewhere"'), encoding="utf-8")
    write_prompts(asked, [BREAD, OTHERS[0]])
    asked.setup()
    record = asked.records()[BREAD, "In paper."]
    asked.vote("amina", record, "good")
    asked.export()
    write_prompts(asked, [EDITED, OTHERS[0]])
    done = asked.run("vote.py")
    assert done.returncode == 0 and (BREAD, "In paper.") in queue(asked, "piet")
    assert done.stderr.count("\n") == 1 and "uv run vote.py outdated" in done.stderr and asked.url in done.stderr

    asked.vote("piet", record, "good")  # after the export
    done = asked.run("-m", "kto.vote.outdated")
    assert (done.returncode, done.stdout) == (1, "Answers deleted in Argilla: 1\n") and "Run export.py" in done.stderr
    assert (BREAD, "In paper.") in asked.records() and (BREAD, "Freeze it.") not in asked.records()
    assert asked.export().returncode == 0
    done = asked.run("-m", "kto.vote.outdated")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Answers deleted in Argilla: 1\n", "")
    assert set(asked.records()) == {(p, a) for p in (EDITED, OTHERS[0]) for a in ("In paper.", "Freeze it.")}
    asked.export()
    assert len(asked.table("votes/train.parquet")) == 2 and exported(asked) == {BREAD: "train"}


def test_prompts_that_cannot_be_read_take_nothing_out(asked: Task) -> None:
    write_prompts(asked, [BREAD])
    asked.setup()
    write_prompts(asked, [EDITED])
    (asked.project / "prompts" / "mine.jsonl").unlink()
    done = asked.run("vote.py")
    assert done.returncode == 0 and len(queue(asked, "piet")) == 4


# --- how many votes Argilla asks for ----------------------------------------------------------------------------------


def test_a_changed_number_of_votes_reaches_argilla(asked: Task) -> None:
    write_prompts(asked, OTHERS[:1])
    asked.setup()
    vote_on_all(asked, "amina", "piet")
    assert queue(asked, "wanjiku") == set()
    asked.set(min_submitted="3")
    done = asked.export()
    assert done.returncode == 0 and "Argilla asks for 2 votes per answer, settings.toml for 3" in done.stderr
    done = asked.run("vote.py")
    assert done.returncode == 0, done.stderr
    assert "Argilla asked for 2 votes per answer, and now asks for 3." in done.stdout
    dataset = asked.person("owner").get(f"/api/v1/datasets/{asked.dataset_id}").json()
    assert dataset["distribution"] == {"strategy": "overlap", "min_submitted": 3}
    deadline = time.monotonic() + 60  # Argilla does it in the background
    while len(queue(asked, "wanjiku")) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(queue(asked, "wanjiku")) == 2, "they are asked for again"
    done = asked.export()
    assert (done.returncode, done.stderr) == (0, "")


def test_an_argilla_that_keeps_its_number_of_votes(
    asked: Task, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some do, once people have voted."""
    write_prompts(asked, OTHERS[:1])
    asked.setup()
    client = connect(asked.config)
    asked.set(min_submitted="3")
    refusal = httpx.Response(422, json={"detail": "there are responses"}, request=httpx.Request("PATCH", asked.url))
    request = client.sdk.http_client.request

    def refuse(method: str, *arguments: Any, **keywords: Any) -> httpx.Response:
        return refusal if method == "PATCH" else request(method, *arguments, **keywords)

    monkeypatch.setattr(client.sdk.http_client, "request", refuse)
    dataset = make_task(client, asked.config)
    assert "keeps asking for 2 votes per answer" in capsys.readouterr().err
    assert str(dataset.id) == asked.dataset_id
