"""Answers and prompts that are left out for good: `prompts/left_out.jsonl` has their ids, and no text.

`uv run export.py leave-out ID --reason REASON` adds a line, and so does deleting a record in Argilla. The file belongs
into git, so that it counts on every machine: no table, upload, export or push has what it names. The answer store and
`data/private` keep it, so nothing is asked and paid for again. Removing a line brings back what it names.
"""

import datetime
import functools
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from kto import strict_lines
from kto.record_ids import record_ids
from kto.tables import Row, write_lines

REASONS = ("personal_data", "harmful", "copyright", "wrong_prompt", "asked")
DELETED, DECIDED = "deleted_in_argilla", "decided_by_lead"
_BY_THEMSELVES = (DELETED, DECIDED)  # reasons that nobody types
LEAD = "lead"
FILE = Path("prompts") / "left_out.jsonl"
_RecordId = Annotated[str, strict_lines.Field(pattern=r"^[0-9a-f]{32}$")]


class _Line(strict_lines.Line):
    """One line of the file."""

    id: str = strict_lines.Field(pattern=r"^([0-9a-f]{32}|[0-9a-f]{16})$")  # of a record or a prompt
    who: str = strict_lines.Field(pattern=rf"^({LEAD}|annotator-[0-9a-f]{{10}})$")
    day: datetime.date
    reason: str = strict_lines.Field(pattern=f"^({'|'.join((*REASONS, *_BY_THEMSELVES))})$")
    also: list[_RecordId] = strict_lines.Field(default_factory=list)  # other ids of the record, see `kto.record_ids`
    asked: list[_RecordId] = strict_lines.Field(default_factory=list)  # see `asked_id`


@dataclass(frozen=True)
class LeftOut:
    """The lines of the file, and what they name."""

    lines: tuple[Row, ...] = ()

    @functools.cached_property
    def ids(self) -> frozenset[str]:
        """Ids of records and prompts."""
        return frozenset(id for line in self.lines for id in (line["id"], *line.get("also", ())))

    @functools.cached_property
    def _asked(self) -> frozenset[str]:
        return frozenset(id for line in self.lines for id in line.get("asked", ()))

    def has_vote(self, vote: Mapping[str, Any]) -> bool:
        """Tell whether a vote is on something that is left out."""
        return vote["record_id"] in self.ids or vote["prompt_id"] in self.ids

    def has_answer(self, prompt: str, answer: str | None, raw: str | None) -> bool:
        """Tell whether an answer is left out by its own id."""
        return bool(self.ids and answer) and not self.ids.isdisjoint(record_ids(prompt, answer or "", raw))

    def has_record(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a record of Argilla is left out."""
        return record["external_id"] in self.ids or (record["metadata"] or {}).get("prompt_id") in self.ids

    def was_asked(self, model: str, conversation: Sequence[Mapping[str, str]]) -> bool:
        """Tell whether the answer of a model, by its public name, to a conversation is left out.

        A clone has the table, from which the answer is gone, but not the store, and must not ask for it again.
        """
        return bool(self._asked) and asked_id(model, conversation) in self._asked


def asked_id(model: str, conversation: Sequence[Mapping[str, str]]) -> str:
    """Return a hash of a model's public name and the conversation it was sent, whatever the arguments."""
    asked = [model, [[message["role"], message["content"]] for message in conversation]]
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read(root: Path) -> LeftOut:
    """Return what the project leaves out; raise `UserError` if the file cannot be read or has wrong lines."""
    reasons = ", ".join((*REASONS, *_BY_THEMSELVES))
    return LeftOut(tuple(strict_lines.read(root / FILE, _Line, "technical.bad_left_out", reasons=reasons)))


def add(root: Path, lines: Iterable[Row]) -> LeftOut:
    """Add lines to the file and return what is left out now; lines about something that is left out are ignored."""
    before = read(root)
    new = [line for line in lines if line["id"] not in before.ids]
    after = LeftOut((*before.lines, *new))
    if new:
        write_lines(root / FILE, after.lines)
    return after


def line_for(id: str, who: str, reason: str, also: Collection[str] = (), asked: Collection[str] = ()) -> Row:
    """Return a line of the file, of today."""
    line: Row = {"id": id, "who": who, "day": datetime.datetime.now(datetime.UTC).date().isoformat(), "reason": reason}
    more = {"also": sorted({*also} - {id}), "asked": sorted(asked)}
    return line | {name: ids for name, ids in more.items() if ids}
