"""The responses of people in Argilla: from the server, or from the database of a local one that is stopped."""

import contextlib
import datetime
import json
import socket
import sqlite3
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kto.errors import UserError
from kto.record_ids import text_id
from kto.secrets import secret
from kto.settings import Settings
from kto.texts import t
from kto.vote import client, deletions, local, task
from kto.vote.deletions import Seen
from kto.vote.records import list_records

Record = Mapping[str, Any]


class Response(NamedTuple):
    """One person's submitted answer about one record.

    Attributes
    ----------
    id, user
        Argilla's id of the response, and the user name.
    record_id, prompt_id, models, system_prompt
        Of the record; `prompt_id` and `system_prompt` may be "".
    fields
        Prompt and answer as Argilla's page has them, which may not be the texts that the models had.
    vote
        True is thumbs up.
    inserted_at, updated_at
        In UTC, with time zone.
    """

    id: str
    user: str
    record_id: str
    prompt_id: str
    models: list[str]
    system_prompt: str
    fields: tuple[str, str]
    vote: bool
    reasons: list[str]
    comment: str
    inserted_at: datetime.datetime
    updated_at: datetime.datetime


class Responses(NamedTuple):
    """All responses.

    Attributes
    ----------
    withdrawn
        Ids of responses that do not count (any more).
    answered
        Ids of the records that have responses of any kind.
    seen
        See `kto.vote.deletions`.
    """

    submitted: tuple[Response, ...] = ()
    withdrawn: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    seen: Seen = Seen()


def read(config: Settings) -> Responses:
    """Read the responses to all records: submitted ones count, drafts and discarded ones do not.

    Raises `UserError` if there is no task, Argilla fails, or its database cannot be read.
    """
    home = config.root / local.HOME
    if _is_stopped(config, home):
        dataset, activity, min_submitted, names, records = _read_database(config, home)
    else:
        found = task.find_task(client.connect(config), config)
        if found is None:
            raise UserError("no_task", name=config.annotation.dataset)
        dataset, activity, min_submitted = found.id, found.last_activity, found.min_submitted
        names = {user["id"]: user["username"] for user in found.argilla.items("/users")}
        records = list_records(found, include="responses")
    wanted = config.annotation.min_submitted
    if min_submitted != wanted:
        print(t("technical.min_submitted_differs", there=min_submitted, wanted=wanted), file=sys.stderr)

    submitted: list[Response] = []
    others: set[str] = set()
    authors: dict[str, dict[str, str]] = {}
    for record in records:
        responses = record["responses"]
        for response in responses:
            if response["status"] == "submitted" and _value(response, "vote") is not None:
                submitted.append(_response(record, response, names))
            else:
                others.add(response["id"])
        if id := record["external_id"]:
            authors[id] = {item["id"]: item["user_id"] for item in responses if item["status"] == "submitted"}
    seen = Seen(dataset, activity, authors, frozenset(names))
    deleted = deletions.responses(deletions.read(config.root / "data" / "private"), seen)
    answered = frozenset(record["external_id"] for record in records if record["external_id"] and record["responses"])
    return Responses(tuple(submitted), frozenset(others | deleted), answered, seen)


def _value(response: Record, question: str) -> Any:
    return ((response["values"] or {}).get(question) or {}).get("value")


def _response(record: Record, response: Record, names: Mapping[str, str]) -> Response:
    metadata = record["metadata"] or {}
    fields = record["fields"]["prompt"], record["fields"]["answer"]
    models = metadata.get("model", [])
    return Response(
        id=response["id"],
        user=names.get(response["user_id"], response["user_id"]),
        record_id=record["external_id"] or text_id(*fields),
        prompt_id=metadata.get("prompt_id") or "",
        models=[models] if isinstance(models, str) else list(models),
        system_prompt=metadata.get("system_prompt") or "",
        fields=fields,
        vote=_value(response, "vote") == task.GOOD,
        reasons=sorted(_value(response, "reasons") or []),
        comment=_value(response, "comment") or "",
        inserted_at=utc(response["inserted_at"]),
        updated_at=utc(response["updated_at"]),
    )


def utc(text: str) -> datetime.datetime:
    """Read a time as Argilla writes it: in UTC, without saying so."""
    time = datetime.datetime.fromisoformat(text)
    return time.replace(tzinfo=datetime.UTC) if time.tzinfo is None else time.astimezone(datetime.UTC)


# --- the database of a server that is stopped -------------------------------------------------------------------------


def _is_stopped(config: Settings, home: Path) -> bool:
    """Tell whether the Argilla in `.env` is the one in `home`, on this machine, and not running."""
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not (local.is_loopback(url) and local.has_key(home, key)):
        return False
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port or 80), timeout=5).close()
    except (OSError, ValueError):
        return True
    return False


def _read_database(config: Settings, home: Path) -> tuple[str, str, int, dict[str, str], list[dict[str, Any]]]:
    """Return id, last activity, `min_submitted` of the task, user names by id, and records as `list_records` does."""
    datasets = """
        SELECT datasets.id, distribution, last_activity_at FROM datasets JOIN workspaces ON workspaces.id = workspace_id
        WHERE datasets.name = ? AND workspaces.name = ? AND datasets.status = 'ready'"""
    responses = """
        SELECT responses.id, record_id, user_id, "values", responses.status, responses.inserted_at, responses.updated_at
        FROM responses JOIN records ON records.id = record_id WHERE dataset_id = ? ORDER BY responses.inserted_at"""
    try:
        with contextlib.closing(local.open_database(home)) as database:
            database.row_factory = sqlite3.Row

            def rows(query: str, *values: str) -> list[dict[str, Any]]:
                return [dict(row) for row in database.execute(query, values)]

            database.execute("BEGIN")  # one moment for all that follows
            found = rows(datasets, config.annotation.dataset, config.annotation.workspace)
            if not found:
                raise UserError("no_task", name=config.annotation.dataset)
            id, distribution, activity = found[0].values()
            votes = rows("SELECT settings FROM questions WHERE dataset_id = ? AND name = 'vote'", id)
            fields = rows("SELECT name FROM fields WHERE dataset_id = ?", id)
            task.check_task(config, json.loads(votes[0]["settings"]) if votes else {}, [row["name"] for row in fields])
            names = {_uuid(row["id"]): row["username"] for row in rows("SELECT id, username FROM users")}
            records = {
                row["id"]: row
                for row in rows("SELECT * FROM records WHERE dataset_id = ? ORDER BY inserted_at, id", id)
            }
            for record in records.values():
                record |= {name: json.loads(record[name] or "null") for name in ("fields", "metadata")}
                record["responses"] = []
            for row in rows(responses, id):
                row |= {
                    "id": _uuid(row["id"]),
                    "user_id": _uuid(row["user_id"]),
                    "values": json.loads(row["values"] or "null"),
                }
                records[row["record_id"]]["responses"].append(row)
    except sqlite3.Error as error:
        raise UserError("cannot_read_table", path=home / "argilla.db", reason=error) from None
    last = datetime.datetime.fromisoformat(activity).isoformat() if activity else ""
    return _uuid(id), last, json.loads(distribution)["min_submitted"], names, list(records.values())


def _uuid(digits: str | None) -> str:
    """Return an id as the REST API writes it."""
    return str(uuid.UUID(digits)) if digits else ""
