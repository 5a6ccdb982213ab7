"""A vote becomes a response of Argilla: the rows that its own handlers would write, in one transaction.

A vote travels as one line of the vote format (docs/votes.md). `replaces` is the line that the device showed when the
person tapped. A line that replaces another than the current one was given without knowing of it, on a second device for
example: it is kept as superseded. Clocks decide nothing.
"""

import json
import sqlite3
import uuid
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError, model_validator

from kto.questions import BAD, COMMENT_MAX, GOOD, NAME
from kto.vote.overlap import Overlap, recount
from kto.vote.voting_server.database import argilla_time

FORMAT = 1
STATUS = {"good": "submitted", "bad": "submitted", "skip": "discarded", None: "draft"}
_Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
_Name = Annotated[str, Field(pattern=NAME)]
_NAMES = 40  # reasons that a line may have; half as many aspects
_LENGTH = 4 * COMMENT_MAX  # characters of a line


class BadLine(ValueError):
    """A line that this version of the format does not allow; `id` is "" if it has none that can be read."""

    def __init__(self, kind: str, id: str = "") -> None:
        super().__init__(kind)
        self.kind, self.id = kind, id


class Line(BaseModel):
    """One line of the vote format, checked.

    Names of reasons and aspects are not compared with those of the task: a device may have an earlier page, and its
    vote counts all the same.
    """

    id: _Id
    record: _Id
    vote: Literal["good", "bad", "skip"] | None = None
    reasons: tuple[_Name, ...] = Field(default=(), max_length=_NAMES)
    aspects: dict[_Name, _Name] = Field(default={}, max_length=_NAMES // 2)
    comment: str | None = Field(default=None, max_length=COMMENT_MAX)
    replaces: _Id | None = None
    ms: int | None = Field(default=None, ge=0, strict=True)
    text: str = Field(max_length=_LENGTH)  # as it was sent, with fields that only a later page knows

    @model_validator(mode="after")
    def _belongs_to_the_vote(self) -> "Line":
        if (self.reasons or self.aspects) and self.vote not in (GOOD, BAD):
            raise ValueError("reasons or aspects of no thumb")
        if self.comment and self.vote is None:
            raise ValueError("a comment on nothing")
        return self


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
    """Check a line; raise `BadLine` if it is of another version, if it has no id, or if something else is wrong."""
    if not isinstance(sent, Mapping) or type(sent.get("v")) is not int or sent["v"] != FORMAT:
        raise BadLine("version")
    text = json.dumps(sent, ensure_ascii=False, separators=(",", ":"))
    try:
        return Line.model_validate({**sent, "text": text})
    except ValidationError as error:
        wrong = [*(str(problem["loc"][0]) for problem in error.errors() if problem["loc"]), "vote"]
        raise BadLine("id") if "id" in wrong else BadLine(wrong[0], sent["id"]) from None


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
        recount(connection, dataset.overlap, now, "records.id = :value", line.record)
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
    if line.comment and line.comment.strip() and "comment" in questions:
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
