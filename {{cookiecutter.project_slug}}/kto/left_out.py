"""Answers and prompts that are left out for good: `prompts/left_out.jsonl` has their ids, and no text.

`uv run export.py leave-out ID --reason REASON` adds a line, and so does deleting a record in Argilla. The file
belongs into git, so that it counts on every machine: no table, upload, export or push has what it names. The answer
store and `data/private` keep it, so nothing is asked and paid for again. Whoever removes a line brings back what it
names.
"""

import dataclasses
import datetime
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kto.errors import UserError
from kto.record_ids import record_ids
from kto.tables import Row, write_lines

REASONS = ("personal_data", "harmful", "copyright", "wrong_prompt", "asked")
DELETED = "deleted_in_argilla"
LEAD = "lead"
FILE = Path("prompts") / "left_out.jsonl"
_SHOWN = 5  # bad lines that a message lists
_HEX = r"[0-9a-f]{%d}"
_RECORD, _PROMPT = re.compile(_HEX % 32), re.compile(_HEX % 16)
_WHO = re.compile(rf"{LEAD}|annotator-{_HEX % 10}")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """What the file names.

    Attributes
    ----------
    lines
        Its lines: `id` (of a record or a prompt), `who` ("lead" or a pseudonym), `day`, `reason`; of an answer perhaps
        `also` (other ids of its record, see `kto.record_ids`) and `asked` (see `asked_id`).
    ids
        Of records and prompts.
    asked
        What is not to be asked any more: a clone has the table, from which the answer is gone, but not the store.
    """

    lines: tuple[Row, ...] = ()
    ids: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()

    def has_vote(self, vote: Mapping[str, Any]) -> bool:
        """Tell whether a vote is on something that is left out."""
        return vote["record_id"] in self.ids or vote["prompt_id"] in self.ids

    def has_answer(self, prompt: str, answer: str | None, raw: str | None) -> bool:
        """Tell whether an answer is left out by its own id."""
        return bool(self.ids and answer) and not self.ids.isdisjoint(record_ids(prompt, answer or "", raw))

    def has_record(self, record: Mapping[str, Any]) -> bool:
        """Tell whether a record of Argilla is left out."""
        return record["external_id"] in self.ids or (record["metadata"] or {}).get("prompt_id") in self.ids

    def without(self, votes: Iterable[Row]) -> list[Row]:
        """Return the votes on what is not left out."""
        return [vote for vote in votes if not self.has_vote(vote)]

    def was_asked(self, model: str, conversation: Sequence[Mapping[str, str]]) -> bool:
        """Tell whether the answer of a model, by its public name, to a conversation is left out."""
        return bool(self.asked) and asked_id(model, conversation) in self.asked


def asked_id(model: str, conversation: Sequence[Mapping[str, str]]) -> str:
    """Return what stands for a model, by its public name, and the conversation it was sent, whatever the arguments."""
    asked = [model, [[each["role"], each["content"]] for each in conversation]]
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def read(root: Path) -> LeftOut:
    """Return what the project leaves out.

    Raises
    ------
    UserError
        The file cannot be read, or lines are wrong (the message says which).
    """
    path = root / FILE
    try:
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None
    lines, bad = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        parsed, problem = _parse(line)
        if problem:
            bad.append(f"  - {number}: {problem}")
        else:
            lines.append(parsed)
    if bad:
        problems = "\n".join([*bad[:_SHOWN], *(["  - …"] if len(bad) > _SHOWN else [])])
        raise UserError("technical.bad_left_out", path=path, reasons=", ".join((*REASONS, DELETED)), problems=problems)
    return _of(lines)


def _of(lines: Iterable[Row]) -> LeftOut:
    lines = tuple(lines)
    ids = frozenset(id for line in lines for id in (line["id"], *line.get("also", ())))
    return LeftOut(lines, ids, frozenset(id for line in lines for id in line.get("asked", ())))


def _parse(text: str) -> tuple[Row, str]:
    """Return what a line says, and the name of what is wrong with it, "" if nothing is."""
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        return {}, "JSON"

    right = {
        "id": _fits(line.get("id"), _RECORD, _PROMPT),
        "who": _fits(line.get("who"), _WHO),
        "day": _is_day(line.get("day")),
        "reason": line.get("reason") in (*REASONS, DELETED),
        **{name: _are_ids(line.get(name, [])) for name in ("also", "asked")},
    }
    wrong = [name for name, fine in right.items() if not fine] + [name for name in line if name not in right]
    return line, ", ".join(json.dumps(name, ensure_ascii=False) for name in wrong)


def _fits(value: object, *patterns: re.Pattern[str]) -> bool:
    return isinstance(value, str) and any(pattern.fullmatch(value) for pattern in patterns)


def _is_day(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.date.fromisoformat(value).isoformat() == value
    except ValueError:
        return False


def _are_ids(value: object) -> bool:
    return isinstance(value, list) and all(_fits(id, _RECORD) for id in value)


def add(root: Path, lines: Iterable[Row]) -> LeftOut:
    """Add lines to the file and return what is left out now; those that are there already stay as they are.

    Raises
    ------
    UserError
        The file cannot be read or written.
    """
    before = read(root)
    new = [line for line in lines if line["id"] not in before.ids]
    if new:
        write_lines(root / FILE, [*before.lines, *new])
    return _of([*before.lines, *new])


def line_for(id: str, who: str, reason: str, also: Collection[str] = (), asked: Collection[str] = ()) -> Row:
    """Return a line of the file, of today."""
    line: Row = {"id": id, "who": who, "day": datetime.datetime.now(datetime.UTC).date().isoformat(), "reason": reason}
    more = {"also": sorted({*also} - {id}), "asked": sorted(asked)}
    return line | {name: ids for name, ids in more.items() if ids}
