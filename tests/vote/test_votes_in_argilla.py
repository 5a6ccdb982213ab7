"""What the voting page's server writes is what Argilla's own handlers write: every row and column of every table."""

import contextlib
import itertools
import json
import re
import sqlite3
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from argilla_server import ROOT, TEMPLATE
from voting import Task, argilla, english, task
from voting_service import WORKSPACE, make_line

sys.path.insert(0, str(TEMPLATE))

from kto.questions import questions
from kto.record_ids import text_id
from kto.vote.client import connect
from kto.vote.overlap import Overlap
from kto.vote.task import make_task
from kto.vote.voting_server import database, links
from kto.vote.voting_server.service import Service

__all__ = ["argilla", "english", "task"]

QUESTIONS = {f"Question {number}?": [f"one {number}", f"two {number}"] for number in range(2)}
PEOPLE = ("amina", "piet", "wanjiku")
ASKED = questions({"task": 2}, yaml.safe_load((ROOT / "languages" / "en.yaml").read_text("utf-8")))
RULE = Overlap(2, asks_third=True, measured=0.1)  # that of the server, whose project has just been rendered
LONG = 'ä\u0301 "quoted" \\ 👍🏽 \u2028 عربي\n' * 40

# Who votes on which answer, and what they say: None takes the vote back.
STEPS: list[tuple[str, int, str | None, dict[str, Any]]] = [
    ("amina", 0, "good", {}),
    ("amina", 0, "good", {}),  # the same again changes nothing but the time of the last activity
    ("amina", 1, "bad", {}),
    ("amina", 1, "bad", {"reasons": ["off_topic"]}),
    ("amina", 1, "bad", {"reasons": ["not_true", "off_topic"]}),
    ("amina", 1, "bad", {"reasons": ["not_true", "off_topic"], "comment": "Why?"}),
    ("amina", 1, "bad", {"reasons": ["not_true", "off_topic"], "comment": LONG}),
    ("amina", 1, "bad", {"reasons": ["not_true"], "comment": LONG}),
    ("amina", 1, "bad", {}),
    ("piet", 0, "bad", {"reasons": ["unsafe"]}),  # two differ: a third vote is wanted
    ("piet", 0, "good", {}),  # completes
    ("piet", 0, None, {}),  # re-opens
    ("piet", 0, None, {}),
    ("piet", 0, "good", {}),  # completes again
    ("wanjiku", 0, "bad", {"comment": " beyond the overlap "}),
    ("wanjiku", 0, None, {}),  # complete without it
    ("wanjiku", 0, "skip", {}),
    ("amina", 0, "skip", {}),  # re-opens
    ("amina", 0, "skip", {"comment": "Who is this?"}),
    ("amina", 0, "good", {}),  # completes
    ("wanjiku", 0, "good", {}),
    ("amina", 0, None, {}),  # two are left
    ("piet", 0, None, {}),  # re-opens
    ("wanjiku", 0, None, {}),
    ("amina", 0, "bad", {"reasons": ["unsafe", "off_topic", "not_true"]}),
    ("piet", 0, "bad", {"comment": "   "}),  # no comment
    ("amina", 2, "skip", {}),
    ("piet", 2, "skip", {}),
    ("wanjiku", 2, "skip", {}),
    ("amina", 2, "good", {}),
    ("amina", 2, "bad", {}),
    ("amina", 2, "good", {"comment": "1"}),
    ("piet", 2, "good", {"comment": "0"}),
    ("wanjiku", 3, "good", {}),
    ("wanjiku", 3, None, {}),
    ("wanjiku", 3, "bad", {"reasons": ["off_topic"], "comment": "No"}),
    ("wanjiku", 3, None, {}),
    ("wanjiku", 3, "bad", {}),
    ("amina", 3, "good", {}),
    ("piet", 3, "good", {}),
    ("piet", 1, "good", {}),
    ("wanjiku", 1, "good", {"comment": "null"}),
    ("piet", 1, "skip", {}),
    ("amina", 1, "skip", {}),
    ("amina", 1, "good", {}),
    ("amina", 1, None, {}),
    ("amina", 1, "good", {"aspects": {"language": "natural"}}),
    ("amina", 1, "good", {"aspects": {"language": "wrong"}, "reasons": ["useful", "complete"]}),
    ("amina", 1, "good", {"aspects": {"language": "understandable"}, "reasons": ["complete"], "comment": "Hm"}),
    ("piet", 1, "bad", {}),  # a third vote is wanted, again
    ("piet", 1, "bad", {"reasons": ["personal_data"]}),  # nobody else is to see it
    ("piet", 1, "bad", {"reasons": ["not_true"]}),  # re-opens
    ("wanjiku", 1, "bad", {"reasons": ["unpublishable", "not_true"], "aspects": {"language": "natural"}}),
    ("wanjiku", 1, "bad", {}),  # complete with the third vote
    ("piet", 2, None, {}),  # re-opens
]


class Side:
    """One of two datasets with the same answers."""

    def __init__(self, task: Task, name: str) -> None:
        task.set(dataset=f'"{task.config.annotation.dataset}-{name}"')
        self.name = task.config.annotation.dataset
        make_task(connect(task.config), task.config)
        task.setup()
        self.dataset = task.dataset_id
        records = task.records()
        pairs = [(prompt, answer) for prompt, answers in QUESTIONS.items() for answer in answers]
        self.records = [records[pair]["id"] for pair in pairs]


class Handlers(Side):
    """Votes as Argilla's page sends them: POST for the first, PUT for a change."""

    def __init__(self, task: Task, name: str) -> None:
        super().__init__(task, name)
        self.responses: dict[tuple[str, int], str] = {}

    def vote(self, task: Task, who: str, answer: int, vote: str | None, more: dict[str, Any]) -> None:
        values = {"vote": vote} if vote in ("good", "bad") else {}
        values |= more.get("aspects", {})
        if "reasons" in more:
            values["reasons"] = [name for name in ASKED.all_reasons if name in more["reasons"]]  # as the page has them
        if more.get("comment", "").strip():
            values["comment"] = more["comment"]
        status = {"skip": "discarded", None: "draft"}.get(vote, "submitted")
        body = {"status": status, "values": {name: {"value": value} for name, value in values.items()}}
        person, record = task.person(who), self.records[answer]
        known = self.responses.get((who, answer))
        url = f"/api/v1/responses/{known}" if known else f"/api/v1/records/{record}/responses"
        reply = person.request("PUT" if known else "POST", url, json=body).raise_for_status()
        self.responses[who, answer] = reply.json()["id"]


class Ours(Side):
    """Votes as the voting page sends them, without HTTP."""

    def __init__(self, task: Task, name: str) -> None:
        super().__init__(task, name)
        self.lines: dict[tuple[str, int], str] = {}
        self.secrets: dict[str, str] = {}

    def begin(self, path: Path) -> None:
        self.service = Service(path, self.name, WORKSPACE, "1", RULE)
        self.service.open()
        self.path = path
        for person in PEOPLE:
            self.secrets[person] = self.enter(person)

    def enter(self, person: str) -> str:
        with contextlib.closing(database.connect(self.path)) as connection:
            link = links.add_link(connection, links.PERSONAL, person)
        return self.service.session("", {"secret": link, "consent": "1"})["secret"]

    def line(self, who: str, answer: int, vote: str | None, more: dict[str, Any]) -> dict[str, Any]:
        record = uuid.UUID(self.records[answer]).hex
        return make_line(record, vote, self.lines.get((who, answer)), **more)

    def send(self, who: str, *lines: dict[str, Any]) -> list[str]:
        answer = self.service.votes(self.secrets[who], {"lines": list(lines)})
        return [answer["states"][line["id"]] for line in lines]


# --- two datasets in one database, compared ---------------------------------------------------------------------------


def tables(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'kto!_%' ESCAPE '!'"
        everything = {}
        for (name,) in connection.execute(names).fetchall():
            cursor = connection.execute(f'SELECT * FROM "{name}"')
            columns = [each[0] for each in cursor.description]
            everything[name] = [tuple(zip(columns, row, strict=True)) for row in cursor]
        return everything


class Comparison:
    """The rows of two datasets with names in place of ids, and steps in place of times."""

    def __init__(self, path: Path, *datasets: str) -> None:
        self.path, self.datasets = path, [uuid.UUID(dataset).hex for dataset in datasets]
        self.times: dict[str, str] = {}
        self.step = "before"

    def look(self) -> tuple[list[str], list[str], list[str]]:
        """Return the rows of the first dataset, those of the second, and those of neither."""
        everything = tables(self.path)
        names: dict[str, str] = {}
        side: dict[str, int] = {}
        for table, column in (("datasets", "id"), *((name, "dataset_id") for name in DEPENDENT)):
            for row in map(dict, everything[table]):
                if row[column] in self.datasets:
                    side[row["id"]] = self.datasets.index(row[column])
                    names[row["id"]] = (
                        f"{table} {row.get('external_id') or row['name' if table != 'datasets' else 'id']}"
                    )
        for dataset in self.datasets:
            names[dataset] = "the dataset"
        for row in map(dict, everything["responses"]):
            if row["record_id"] in side:
                names[row["id"]] = f"response of {row['user_id']} on {names[row['record_id']]}"
        found: tuple[list[str], list[str], list[str]] = ([], [], [])
        for table, rows in everything.items():
            for row in rows:
                shown = [table]
                where = {side[value] for _, value in row if value in side}
                if table == "datasets_users":
                    where |= {self.datasets.index(value) for _, value in row if value in self.datasets}
                for column, value in row:
                    if isinstance(value, str) and TIME.fullmatch(value):
                        value = self.times.setdefault(value, self.step)
                    elif table == "datasets" and column == "name" and where:
                        value = "its name"
                    shown.append(f"{column}={names.get(value, value)!r}")
                found[where.pop() if where else 2].append(" ".join(shown))
        return tuple(sorted(each) for each in found)  # type: ignore[return-value]


DEPENDENT = ("records", "questions", "fields", "metadata_properties", "vectors_settings")
TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")


@pytest.fixture
def sides(task: Task, argilla: Any) -> Iterator[tuple[Handlers, Ours]]:
    task.set(min_submitted="2", min_votes="1")
    task.generate(QUESTIONS)
    handlers, ours = Handlers(task, "handlers"), Ours(task, "ours")
    for person in PEOPLE:
        task.person(person)
    path = argilla.home / "argilla.db"
    ours.begin(path)
    with contextlib.closing(database.connect(path)) as connection:
        cards = [(text_id(prompt, text), prompt, text) for prompt, texts in QUESTIONS.items() for text in texts]
        connection.executemany("INSERT OR REPLACE INTO kto_cards VALUES (?, ?, ?)", cards)
    yield handlers, ours
    ours.service.close()


def test_every_step_writes_what_argilla_writes(
    task: Task,
    sides: tuple[Handlers, Ours],
) -> None:
    assert len(STEPS) > 40
    handlers, ours = sides
    comparison = Comparison(ours.path, handlers.dataset, ours.dataset)
    theirs, mine, others = comparison.look()
    assert theirs == mine and len(theirs) > 10 and others
    for number, step in enumerate(STEPS):
        who, answer, vote, more = step
        comparison.step = f"step {number}"
        handlers.vote(task, who, answer, vote, more)
        line = ours.line(who, answer, vote, more)
        assert ours.send(who, line) == ["applied"]
        theirs, mine, now = comparison.look()
        assert theirs == mine, step
        assert now == others, "votes change nothing else"

        comparison.step = f"again after {number}"
        assert ours.send(who, line) == ["applied"]  # an answer that got lost on the way
        late = {**ours.line(who, answer, "bad", {}), "replaces": uuid.uuid4().hex}
        assert ours.send(who, late, late) == ["superseded"] * 2  # of a device that did not know of the newer vote
        assert comparison.look() == (theirs, mine, now), step
        ours.lines[who, answer] = line["id"]
    statuses = [row for row in mine if row.startswith("records ")]
    assert len({row.split("status=")[1] for row in statuses}) == 2, "some are completed, some are not"


def test_undone_and_skipped_votes_are_not_exported(task: Task, sides: tuple[Handlers, Ours]) -> None:
    ours = sides[1]
    for who, answer, vote in [("amina", 0, "good"), ("piet", 0, "bad"), ("amina", 1, "skip"), ("piet", 1, "good")]:
        line = ours.line(who, answer, vote, {})
        assert ours.send(who, line) == ["applied"]
        ours.lines[who, answer] = line["id"]
    assert task.export().returncode == 0
    assert len(task.table("votes/train.parquet")) == 3
    assert ours.send("piet", ours.line("piet", 0, None, {})) == ["applied"]
    assert task.export().returncode == 0
    stored = task.table("votes/train.parquet")
    assert len(stored) == 2, stored


def test_argillas_page_and_ours_know_of_each_other(task: Task, sides: tuple[Handlers, Ours]) -> None:
    ours = sides[1]
    record = ours.records[0]
    body = {"status": "submitted", "values": {"vote": {"value": "good"}}}
    task.person("amina").post(f"/api/v1/records/{record}/responses", json=body).raise_for_status()
    blind = ours.line("amina", 0, "bad", {})
    assert ours.send("amina", blind) == ["superseded"], "the newer vote was given without knowing of the older one"

    # A draft of Argilla's page is no vote: the card is given out, and names it.
    draft = {"status": "draft", "values": {"vote": {"value": "bad"}}}
    task.person("piet").post(f"/api/v1/records/{record}/responses", json=draft).raise_for_status()

    def cards() -> dict[str, Any]:
        given = ours.service.cards(ours.secrets["piet"], {"count": 10, "have": []})["cards"]
        return {card["record"]: card for card in given}

    card = cards()[uuid.UUID(record).hex]
    assert card["line"] is not None
    assert ours.send("piet", make_line(card["record"], "good", card["line"])) == ["applied"]
    response = [each for each in task.records()[card["prompt"], card["raw"]]["responses"] if each["values"]]
    assert [each["values"]["vote"]["value"] for each in response] == ["good", "good"]
    assert task.records()[card["prompt"], card["raw"]]["status"] == "completed"


def test_a_dataset_of_an_earlier_version_gets_only_what_it_can_hold(
    task: Task,
    sides: tuple[Handlers, Ours],
) -> None:
    ours = sides[1]
    dataset = uuid.UUID(ours.dataset).hex
    with contextlib.closing(database.connect(ours.path)) as connection:
        connection.execute("DELETE FROM questions WHERE dataset_id = ? AND name = 'comment'", (dataset,))
        (settings,) = connection.execute(
            "SELECT settings FROM questions WHERE dataset_id = ? AND name = 'reasons'", (dataset,)
        ).fetchone()
        fewer = json.loads(settings)
        fewer["options"] = [option for option in fewer["options"] if option["value"] != "unsafe"]
        connection.execute(
            "UPDATE questions SET settings = ? WHERE dataset_id = ? AND name = 'reasons'", (json.dumps(fewer), dataset)
        )
    ours.service.close()
    ours.service.open()
    line = ours.line("amina", 0, "bad", {"reasons": ["unsafe", "not_true", "clumsy"], "comment": "Phew"})
    assert ours.send("amina", line) == ["applied"]
    with contextlib.closing(database.connect(ours.path)) as connection:
        (values,) = connection.execute(
            'SELECT "values" FROM responses WHERE record_id = ?', (line["record"],)
        ).fetchone()
        assert json.loads(values) == {"vote": {"value": "bad"}, "reasons": {"value": ["not_true"]}}
        (kept,) = connection.execute("SELECT line FROM kto_lines WHERE id = ?", (line["id"],)).fetchone()
        assert json.loads(kept) == line


def pending(task: Task, who: str, dataset: str) -> list[dict[str, Any]]:
    """What Argilla's page shows a person as pending, in order."""
    terms = [
        {"type": "terms", "scope": {"entity": scope, "property": "status"}, "values": ["pending"]}
        for scope in ("response", "record")
    ]
    url, query = f"/api/v1/me/datasets/{dataset}/records/search", {"filters": {"type": "and", "and": terms}}
    reply = task.person(who).post(url, json=query, params={"limit": 1000}).raise_for_status()
    return [item["record"] for item in reply.json()["items"]]


def test_argillas_page_asks_somebody_else_where_two_differ(task: Task, sides: tuple[Handlers, Ours]) -> None:
    """Whichever page people vote on, and before the server has looked at anything."""
    handlers, ours = sides
    for side in sides:
        measured = [RULE.is_measured(text_id(prompt, text)) for prompt, texts in QUESTIONS.items() for text in texts]
        for answer, (first, second) in enumerate([("good", "bad"), ("good", "good"), ("bad", "bad"), ("bad", "good")]):
            for who, vote in (("amina", first), ("piet", second)):
                if side is handlers:
                    handlers.vote(task, who, answer, vote, {})
                else:
                    assert ours.send(who, ours.line(who, answer, vote, {})) == ["applied"]
        wanted = {side.records[answer] for answer in range(4) if answer in (0, 3) or measured[answer]}
        assert {record["id"] for record in pending(task, "wanjiku", side.dataset)} == wanted
        assert pending(task, "amina", side.dataset) == pending(task, "piet", side.dataset) == []
        for answer in range(4):
            body = {"status": "submitted", "values": {"vote": {"value": "good"}}}
            url = f"/api/v1/records/{side.records[answer]}/responses"
            task.person("wanjiku").post(url, json=body).raise_for_status()
        assert pending(task, "wanjiku", side.dataset) == []


def test_answers_to_one_prompt_do_not_follow_each_other_on_argillas_page(task: Task) -> None:
    task.generate({f"Question {number}?": [f"{number} one", f"{number} two"] for number in range(14)})
    make_task(connect(task.config), task.config)
    task.setup()
    orders = []
    for who in PEOPLE:
        for turn in range(3):  # also when the first ones are answered
            records = pending(task, who, task.dataset_id)
            assert len(records) == 28 - 2 * turn
            prompts = [record["fields"]["prompt"] for record in records]
            assert all(one != two for one, two in itertools.pairwise(prompts)), who
            if not turn:
                orders.append(tuple(record["id"] for record in records))
            for record in records[:2]:
                body = {"status": "discarded", "values": {}}
                task.person(who).post(f"/api/v1/records/{record['id']}/responses", json=body).raise_for_status()
    assert len({*orders}) == len(PEOPLE)
