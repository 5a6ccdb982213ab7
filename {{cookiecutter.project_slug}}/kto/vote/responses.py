"""The responses of people in Argilla: from the database of the one on this machine, or from a server elsewhere."""

import contextlib
import datetime
import json
import sqlite3
import sys
import uuid
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kto.errors import UserError
from kto.keys import secret
from kto.questions import GOOD
from kto.record_ids import text_id
from kto.settings import Settings
from kto.texts import t
from kto.vote import client, deletions, local, task
from kto.vote.records import list_records
from kto.vote.voting_server import links

Record = Mapping[str, Any]

_LABELS = "label_selection"  # Argilla's type of a question with one answer of several: the vote, and the aspects


class Response(NamedTuple):
    """One person's submitted answer about one record."""

    id: str
    user: str  # user name
    record_id: str
    prompt_id: str  # "" in a record that this project has not made
    models: list[str]
    system_prompt: str  # may be ""
    fields: tuple[str, str]  # prompt and answer as Argilla's page has them; the models may have had other texts
    vote: bool  # true is thumbs up
    reasons: list[str]
    comment: str
    inserted_at: datetime.datetime  # in UTC, with time zone
    updated_at: datetime.datetime
    open_link: bool = False  # by somebody who came by an open link
    aspects: Mapping[str, str] = {}  # what was said apart from the vote, such as language → natural


class Responses(NamedTuple):
    """All responses, and the state of Argilla that `kto.vote.deletions` compares."""

    submitted: tuple[Response, ...] = ()
    withdrawn: frozenset[str] = frozenset()  # ids of responses that do not count (any more)
    answered: frozenset[str] = frozenset()  # ids of the records that have responses of any kind
    seen: deletions.Seen = deletions.Seen()
    people: tuple[links.Person, ...] = ()  # those of the voting page
    asks_third: bool = True  # whether somebody else can be asked here where votes are tied; see `kto/vote/overlap.py`


def read(config: Settings) -> Responses:
    """Read the responses to all records: submitted ones count, drafts and discarded ones do not.

    Raises `UserError` if there is no task, Argilla fails, or its database cannot be read.
    """
    home = config.root / local.HOME
    people: list[links.Person] = []
    asks_third = True
    if _is_here(config, home):
        facts, records, people = _read_database(config, home)
    else:
        dataset = task.find_task(client.connect(config), config)
        if dataset is None:
            raise UserError("no_task", name=config.annotation.dataset)
        facts = {"id": dataset.id, "activity": dataset.last_activity, "min_submitted": dataset.min_submitted}
        facts["names"] = {user["id"]: user["username"] for user in dataset.argilla.items("/users")}
        questions = dataset.argilla.items(f"/datasets/{dataset.id}/questions")
        facts["labels"] = [item["name"] for item in questions if item["settings"]["type"] == _LABELS]
        asks_third = bool(dataset.argilla.request("GET", "/status")["search_engine"].get("blind"))  # it is one of ours
        records = list_records(dataset, include="responses")
    wanted = config.annotation.min_submitted
    if facts["min_submitted"] != wanted:
        print(t("technical.min_submitted_differs", there=facts["min_submitted"], wanted=wanted), file=sys.stderr)

    guests = {str(uuid.UUID(person.user)) for person in people if person.is_open}
    submitted: list[Response] = []
    others: set[str] = set()
    authors: dict[str, dict[str, str]] = {}
    aspects = [name for name in facts["labels"] if name != "vote"]
    for record in records:
        responses = record["responses"]
        for response in responses:
            if response["status"] == "submitted" and _value(response, "vote") is not None:
                submitted.append(_response(record, response, facts["names"], guests, aspects))
            else:
                others.add(response["id"])
        if id := record["external_id"]:
            authors[id] = {item["id"]: item["user_id"] for item in responses if item["status"] == "submitted"}
    activity = (facts["activity"] or "").replace(" ", "T")
    seen = deletions.Seen(facts["id"], activity, authors, frozenset(facts["names"]))
    deleted = deletions.responses(deletions.read(config.root / "data" / "private"), seen)
    answered = frozenset(record["external_id"] for record in records if record["external_id"] and record["responses"])
    return Responses(tuple(submitted), frozenset(others | deleted), answered, seen, tuple(people), asks_third)


def _value(response: Record, question: str) -> Any:
    return ((response["values"] or {}).get(question) or {}).get("value")


def _response(
    record: Record, response: Record, names: Mapping[str, str], guests: Collection[str], aspects: Collection[str]
) -> Response:
    metadata = record["metadata"] or {}
    fields = record["fields"]["prompt"], record["fields"]["answer"]
    models = metadata.get("model", [])
    return Response(
        id=response["id"],
        user=names.get(response["user_id"], response["user_id"] or ""),
        record_id=record["external_id"] or text_id(*fields),
        prompt_id=metadata.get("prompt_id") or "",
        models=[models] if isinstance(models, str) else list(models),
        system_prompt=metadata.get("system_prompt") or "",
        fields=fields,
        vote=_value(response, "vote") == GOOD,
        reasons=sorted(_value(response, "reasons") or []),
        comment=_value(response, "comment") or "",
        inserted_at=utc(response["inserted_at"]),
        updated_at=utc(response["updated_at"]),
        open_link=response["user_id"] in guests,
        aspects={name: value for name in aspects if (value := _value(response, name))},
    )


def utc(text: str) -> datetime.datetime:
    """Read a time as Argilla writes it: in UTC, without saying so."""
    time = datetime.datetime.fromisoformat(text)
    return time.replace(tzinfo=datetime.UTC) if time.tzinfo is None else time.astimezone(datetime.UTC)


# --- the database on this machine ------------------------------------------------------------------------------------

_TASK = """
SELECT json_object(
    'id', uuid(datasets.id), 'activity', last_activity_at,
    'min_submitted', json_extract(distribution, '$.min_submitted'),
    'vote', json((SELECT settings FROM questions WHERE dataset_id = datasets.id AND name = 'vote')),
    'labels', json((
        SELECT json_group_array(name) FROM questions
        WHERE dataset_id = datasets.id AND json_extract(settings, '$.type') = :labels
    )),
    'fields', json((SELECT json_group_array(name) FROM fields WHERE dataset_id = datasets.id)),
    'names', json((SELECT json_group_object(uuid(id), username) FROM users))
) FROM datasets JOIN workspaces ON workspaces.id = workspace_id
WHERE datasets.name = :dataset AND workspaces.name = :workspace AND datasets.status = 'ready'"""
_RECORDS = """
SELECT json_object(
    'external_id', external_id, 'fields', json(fields), 'metadata', json(metadata),
    'responses', json((
        SELECT json_group_array(json_object(
            'id', uuid(id), 'user_id', uuid(user_id), 'values', json("values"), 'status', status,
            'inserted_at', inserted_at, 'updated_at', updated_at
        )) FROM responses WHERE record_id = records.id
    ))
) FROM records WHERE uuid(dataset_id) = ? ORDER BY inserted_at, id"""


def _is_here(config: Settings, home: Path) -> bool:
    """Tell whether the Argilla in `.env` is the one in `home`, on this machine, whether it runs or not.

    A copy of `home` beside an Argilla that runs elsewhere lacks its newest votes, so it is never read: not if that is
    another machine, and not if it is another folder of this one.
    """
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not (local.has_key(home, key) and local.is_this_machine(url)):
        return False
    return local.is_in_use(home) or not local.is_running(url)


def _read_database(config: Settings, home: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[links.Person]]:
    """Return facts about the task, the records as `list_records` does, and the people of the voting page."""
    wanted = {"dataset": config.annotation.dataset, "workspace": config.annotation.workspace, "labels": _LABELS}
    try:
        with contextlib.closing(local.open_database(home)) as database:
            database.create_function("uuid", 1, lambda digits: digits and str(uuid.UUID(digits)))
            database.execute("BEGIN")  # one snapshot for all queries
            row = database.execute(_TASK, wanted).fetchone()
            if row is None:
                raise UserError("no_task", name=config.annotation.dataset)
            facts = json.loads(row[0])
            task.check_task(config, facts["vote"] or {}, facts["fields"])
            records = [json.loads(record) for (record,) in database.execute(_RECORDS, (facts["id"],))]
            return facts, records, links.people(database)
    except sqlite3.Error as error:
        raise UserError("cannot_read_table", path=home / "argilla.db", reason=error) from None
