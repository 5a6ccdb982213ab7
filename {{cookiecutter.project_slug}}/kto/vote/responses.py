"""What people have answered in Argilla: from the server, or from the database of a local one that is stopped.

The database is read as it stands: Argilla keeps all that an export needs in SQLite, and what a server that was killed
had not yet moved into the file is in the log beside it (WAL), which SQLite reads, too.
"""

import contextlib
import datetime
import ipaddress
import json
import socket
import sqlite3
import sys
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from kto.errors import UserError
from kto.record_ids import text_id
from kto.secrets import secret
from kto.settings import Settings
from kto.texts import t
from kto.vote import client, deletions, task
from kto.vote.deletions import Seen
from kto.vote.records import last_activity, list_records

Record = Mapping[str, Any]


class Response(NamedTuple):
    """One person's submitted answer about one record.

    Attributes
    ----------
    id, user
        Argilla's id of the response, and the user name.
    record_id, prompt_id, models, system_prompt
        What the record says about itself; `prompt_id` and `system_prompt` may be "".
    fields
        Prompt and answer as Argilla's page has them, which may not be the texts that the models had.
    vote
        True is thumbs up.
    inserted_at, updated_at
        With their time zone, UTC.
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
    """What Argilla holds.

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

    Raises
    ------
    UserError
        There is no task, Argilla refuses or is gone, or its database cannot be read.
    """
    database = _stopped_database(config)
    if database is not None:
        min_submitted, dataset, activity, names, records = _read_database(config, database)
    else:
        found = task.find_task(client.connect(config), config)
        if found is None:
            raise UserError("no_task", name=config.annotation.dataset)
        argilla = found._client
        with client.argilla_errors(argilla.api_url):
            names = {str(user.id): user.username for user in argilla.users.list()}
            records = list_records(found, include="responses")
        min_submitted, dataset = task.min_submitted(found), str(found.id)
        activity = last_activity(found)
    wanted = config.annotation.min_submitted
    if min_submitted != wanted:
        print(t("technical.min_submitted_differs", there=min_submitted, wanted=wanted), file=sys.stderr)

    responses = [(record, response) for record in records for response in record["responses"]]
    submitted = {
        record["external_id"]: {
            response["id"]: response["user_id"] for response in record["responses"] if response["status"] == "submitted"
        }
        for record in records
        if record["external_id"]
    }
    seen = Seen(dataset, activity, submitted, frozenset(names))
    counted = [pair for pair in responses if pair[1]["status"] == "submitted" and _value(pair[1], "vote") is not None]
    there, counts = ({response["id"] for _, response in pairs} for pairs in (responses, counted))
    deleted = deletions.responses(deletions.read(config.root / "data" / "private"), seen)
    answered = frozenset(record["external_id"] for record, _ in responses if record["external_id"])
    return Responses(
        tuple(_response(*pair, names) for pair in counted), frozenset(there - counts | deleted), answered, seen
    )


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
        inserted_at=_utc(response["inserted_at"]),
        updated_at=_utc(response["updated_at"]),
    )


def _utc(text: str) -> datetime.datetime:
    """Read a time as Argilla writes it: UTC, without saying so."""
    time = datetime.datetime.fromisoformat(text)
    return time.replace(tzinfo=datetime.UTC) if time.tzinfo is None else time.astimezone(datetime.UTC)


# --- the database of a server that is stopped -------------------------------------------------------------------------


def _stopped_database(config: Settings) -> Path | None:
    """Return the database of the Argilla in `.env` if that is this project's own, on this machine, and not running."""
    path = config.root / ".argilla" / "argilla.db"
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    try:
        address = urlsplit(url)
        host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
        if not key or not (host == "localhost" or ipaddress.ip_address(host).is_loopback) or not path.exists():
            return None
    except ValueError:
        return None
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=5):
        return None
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open(path)) as database:
        owner = database.execute("SELECT 1 FROM users WHERE api_key = ? AND role = 'owner'", (key,)).fetchone()
        return path if owner else None  # with another key it is another Argilla
    return None


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=30)


def _read_database(config: Settings, path: Path) -> tuple[int, str, str, dict[str, str], list[dict[str, Any]]]:
    """Return `min_submitted`, id, last activity, user names by id, and records as the REST API gives them."""
    dataset_query = """
        SELECT datasets.id, distribution, last_activity_at FROM datasets JOIN workspaces ON workspaces.id = workspace_id
        WHERE datasets.name = ? AND workspaces.name = ? AND datasets.status = 'ready'"""
    all_records = """
        SELECT id, external_id, fields, metadata FROM records WHERE dataset_id = ? ORDER BY inserted_at, id"""
    all_responses = """
        SELECT responses.id, record_id, user_id, "values", responses.status, responses.inserted_at, responses.updated_at
        FROM responses JOIN records ON records.id = record_id WHERE dataset_id = ? ORDER BY responses.inserted_at"""
    try:
        with contextlib.closing(_open(path)) as database:
            database.execute("BEGIN")  # one moment for all that follows
            found = database.execute(dataset_query, (config.annotation.dataset, config.annotation.workspace)).fetchone()
            if found is None:
                raise UserError("no_task", name=config.annotation.dataset)
            id, distribution, activity = found
            questions = database.execute("SELECT settings FROM questions WHERE dataset_id = ? AND name = 'vote'", (id,))
            labels = {option["value"] for (text,) in questions for option in json.loads(text).get("options", ())}
            fields = {name for (name,) in database.execute("SELECT name FROM fields WHERE dataset_id = ?", (id,))}
            if labels != {task.GOOD, task.BAD} or fields != {"prompt", "answer"}:
                raise UserError("other_task", name=config.annotation.dataset)
            names = {_uuid(user): name for user, name in database.execute("SELECT id, username FROM users")}
            records = {row[0]: _record(row) for row in database.execute(all_records, (id,))}
            for response, record, user, values, status, inserted, updated in database.execute(all_responses, (id,)):
                records[record]["responses"].append(
                    {
                        "id": _uuid(response),
                        "user_id": _uuid(user) if user else "",
                        "values": json.loads(values or "null"),
                        "status": status,
                        "inserted_at": inserted,
                        "updated_at": updated,
                    }
                )
    except sqlite3.Error as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None
    last = datetime.datetime.fromisoformat(activity).isoformat() if activity else ""
    return json.loads(distribution)["min_submitted"], _uuid(id), last, names, list(records.values())


def _record(row: Iterable[Any]) -> dict[str, Any]:
    _, external_id, fields, metadata = row
    return {
        "external_id": external_id,
        "fields": json.loads(fields),
        "metadata": json.loads(metadata or "null"),
        "responses": [],
    }


def _uuid(digits: str) -> str:
    return str(uuid.UUID(digits))
