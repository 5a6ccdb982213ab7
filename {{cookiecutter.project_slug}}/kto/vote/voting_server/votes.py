"""A vote becomes a response of Argilla: the rows that its own handlers would write, in one transaction.

A vote travels as one line of the vote format (docs/votes.md). `replaces` is the line that the device showed when the
person tapped. A line that replaces another than the current one was given without knowing of it, on a second device for
example: it is kept as superseded. Clocks decide nothing.
"""

import json
import re
import sqlite3
import uuid
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, TypeGuard

from kto.questions import BAD, COMMENT_MAX, GOOD, NAME
from kto.vote.overlap import Overlap
from kto.vote.record_status import recount
from kto.vote.voting_server.database import argilla_time

FORMAT = 1
STATUS = {"good": "submitted", "bad": "submitted", "skip": "discarded", None: "draft"}
_ID = re.compile(r"[0-9a-f]{32}")
_NAMES = 40  # that a line may have as reasons, or as aspects and their values
_LENGTH = 4 * COMMENT_MAX  # characters; of a line with fields that only a later page knows, too


class BadLine(ValueError):
    """A line that this version of the format does not allow; `id` is "" if it has none that can be read."""

    def __init__(self, kind: str, id: str = "") -> None:
        super().__init__(kind)
        self.kind, self.id = kind, id


class Line(NamedTuple):
    """One line of the vote format, checked."""

    id: str
    record: str
    vote: str | None
    reasons: tuple[str, ...]
    aspects: Mapping[str, str]
    comment: str
    replaces: str | None
    text: str  # as it was sent


class Dataset(NamedTuple):
    """A dataset of Argilla: ids are 32 hexadecimal digits; `questions` are those that it asks, with their labels."""

    id: str
    workspace: str
    overlap: Overlap
    questions: Mapping[str, Collection[str]]


class Applied(NamedTuple):
    """What became of a line: `state` is applied, superseded or unknown_record; `status` is that of the response."""

    state: str
    status: str = ""
    vote: str | None = None
    is_flagged: bool = False
    is_first: bool = False  # of this person on this record


def parse(sent: Any) -> Line:
    """Check a line.

    Names of reasons and aspects are not compared with those of the task: a device may have an earlier page, and its
    vote counts all the same. Raises `BadLine`, whose `kind` is version, id, vote, reasons, aspects, comment, ms or
    length.
    """
    if not isinstance(sent, Mapping) or type(sent.get("v")) is not int or sent["v"] != FORMAT:
        raise BadLine("version")
    id = sent.get("id")
    if not _is_id(id):
        raise BadLine("id")
    text = json.dumps(sent, ensure_ascii=False, separators=(",", ":"))
    if len(text) > _LENGTH or any("\ud800" <= char <= "\udfff" for char in text):
        raise BadLine("length", id)
    record, replaces = sent.get("record"), sent.get("replaces")
    if not _is_id(record) or not (replaces is None or _is_id(replaces)):
        raise BadLine("id", id)
    vote = sent.get("vote")
    if not (vote is None or isinstance(vote, str)) or vote not in STATUS:
        raise BadLine("vote", id)
    is_thumb = vote in (GOOD, BAD)
    reasons, aspects = sent.get("reasons", []), sent.get("aspects", {})
    if not (isinstance(reasons, list) and _are_names(reasons) and (is_thumb or not reasons)):
        raise BadLine("reasons", id)
    if not (isinstance(aspects, dict) and _are_names([*aspects, *aspects.values()]) and (is_thumb or not aspects)):
        raise BadLine("aspects", id)
    comment = sent.get("comment") or ""
    if not isinstance(comment, str) or len(comment) > COMMENT_MAX or (comment and vote is None):
        raise BadLine("comment", id)
    ms = sent.get("ms")
    if ms is not None and (type(ms) is not int or ms < 0):
        raise BadLine("ms", id)
    return Line(id, record, vote, tuple(dict.fromkeys(reasons)), aspects, comment, replaces, text)


def _are_names(values: Collection[Any]) -> bool:
    return len(values) <= _NAMES and all(isinstance(value, str) and re.fullmatch(NAME, value) for value in values)


def _is_id(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def find_dataset(connection: sqlite3.Connection, name: str, workspace: str, overlap: Overlap) -> Dataset | None:
    """Return the dataset with this name, None if there is none that people can vote on.

    `overlap` is that of the settings; the number of votes is that of Argilla.
    """
    found = connection.execute(
        """SELECT datasets.id, workspaces.id, json_extract(distribution, '$.min_submitted') FROM datasets
        JOIN workspaces ON workspaces.id = workspace_id
        WHERE datasets.name = ? AND workspaces.name = ? AND datasets.status = 'ready'""",
        (name, workspace),
    ).fetchone()
    if found is None:
        return None
    questions = connection.execute("SELECT name, settings FROM questions WHERE dataset_id = ?", found[:1])
    options = {name: json.loads(settings).get("options") or [] for name, settings in questions}
    labels = {name: [option["value"] for option in found] for name, found in options.items()}
    return Dataset(found[0], found[1], overlap._replace(votes=found[2]), labels)


def apply(connection: sqlite3.Connection, line: Line, user: str, link: str, dataset: Dataset) -> Applied:
    """Write a line, within the caller's transaction. A line that is written already changes nothing."""
    known = connection.execute("SELECT state FROM kto_lines WHERE id = ?", (line.id,)).fetchone()
    if known:
        return Applied(known[0])
    now = argilla_time()
    where = line.record, user
    in_dataset = "SELECT 1 FROM records WHERE id = ? AND dataset_id = ?"
    response = connection.execute(
        'SELECT status, "values", updated_at FROM responses WHERE record_id = ? AND user_id = ?', where
    ).fetchone()
    updated_at = None
    if connection.execute(in_dataset, (line.record, dataset.id)).fetchone() is None:
        applied = Applied("unknown_record")
    elif response and current_line(connection, *where, response[2]) != line.replaces:
        applied = Applied("superseded", response[0])
    else:
        is_flagged = dataset.overlap.is_flag({*line.reasons} & {*dataset.questions.get("reasons", ())})
        applied = Applied("applied", STATUS[line.vote], line.vote, is_flagged, is_first=response is None)
        updated_at = _write_response(connection, line, user, dataset, now, response)
        connection.execute("UPDATE datasets SET last_activity_at = ? WHERE id = ?", (now, dataset.id))
        recount(connection, dataset.overlap, now, "records.id = :1", [line.record])
        connection.execute("DELETE FROM kto_leases WHERE record_id = ? AND user_id = ?", where)
    connection.execute(
        "INSERT INTO kto_lines (id, record_id, user_id, line, state, response_updated_at, link, received_at) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (line.id, *where, line.text, applied.state, updated_at, link, now),
    )
    return applied


def current_line(connection: sqlite3.Connection, record: str, user: str, updated_at: str | None) -> str | None:
    """Return the id of the line that made a response as it is; None if there is no response.

    A response that Argilla's page wrote has a name of its own, which no line replaces unless the page was told.
    """
    if updated_at is None:
        return None
    found = connection.execute(
        "SELECT id, response_updated_at FROM kto_lines WHERE record_id = ? AND user_id = ? AND state = 'applied' "
        "ORDER BY rowid DESC LIMIT 1",
        (record, user),
    ).fetchone()
    if found and found[1] == updated_at:
        return found[0]
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{record} {user} {updated_at}").hex


def _values(line: Line, questions: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """Return the values of a response, as Argilla's page sends them: {} if nothing is answered.

    Null, which its API takes as well, breaks that page. A dataset of an earlier version lacks some questions or labels;
    what it cannot hold stays in the line.
    """
    values: dict[str, Any] = {}
    if line.vote in ("good", "bad"):
        values["vote"] = line.vote
    aspects = [name for name in questions if name not in ("vote", "reasons", "comment")]
    values |= {name: line.aspects[name] for name in aspects if line.aspects.get(name) in questions[name]}
    if reasons := [name for name in questions.get("reasons", ()) if name in line.reasons]:
        values["reasons"] = reasons
    if line.comment.strip() and "comment" in questions:
        values["comment"] = line.comment
    return {name: {"value": value} for name, value in values.items()}


def _write_response(
    connection: sqlite3.Connection, line: Line, user: str, dataset: Dataset, now: str, before: Any
) -> str:
    """Write a response as POST and PUT of Argilla do, and return when it was changed last."""
    status, values = STATUS[line.vote], _values(line, dataset.questions)
    if before is None:
        connection.execute(
            'INSERT INTO responses (id, "values", status, record_id, user_id, inserted_at, updated_at) '
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (uuid.uuid4().hex, json.dumps(values), status, line.record, user, now, now),
        )
        connection.execute(
            "INSERT INTO datasets_users (dataset_id, user_id, inserted_at, updated_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (dataset_id, user_id) DO UPDATE SET updated_at = excluded.updated_at",
            (dataset.id, user, now, now),
        )
    elif status == before[0] and values == json.loads(before[1] or "null"):
        return str(before[2])  # SQLAlchemy writes no row in which nothing has changed
    else:
        connection.execute(
            'UPDATE responses SET "values" = ?, status = ?, updated_at = ? WHERE record_id = ? AND user_id = ?',
            (json.dumps(values), status, now, line.record, user),
        )
    return now
