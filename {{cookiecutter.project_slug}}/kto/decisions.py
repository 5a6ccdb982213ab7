"""What the lead has decided about answers: `prompts/decisions.jsonl` has their ids, and no text.

`uv run vote.py ties` adds a line. `good` and `bad` are the label of an answer whose votes are tied; `keep` says that an
answer which somebody has flagged may be shown and published, as `good` and `bad` do, too. The file belongs into git, so
that it counts on every machine. Of several lines about an answer the last one counts; removing a line takes it back.
"""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kto import strict_lines
from kto.left_out import LEAD
from kto.questions import BAD, GOOD
from kto.tables import Row, write_lines

KEEP = "keep"
DECISIONS = (GOOD, BAD, KEEP)
FILE = Path("prompts") / "decisions.jsonl"


class _Line(strict_lines.Line):
    """One line of the file."""

    id: str = strict_lines.Field(pattern=r"^[0-9a-f]{32}$")  # of a record
    decision: Literal["good", "bad", "keep"]
    who: str = strict_lines.Field(pattern=f"^{LEAD}$")
    day: datetime.date


@dataclass(frozen=True)
class Decisions:
    """What was decided, by record id: one of `DECISIONS`."""

    by_id: dict[str, str]

    @property
    def labels(self) -> dict[str, bool]:
        """The labels that the lead has given."""
        return {id: decision == GOOD for id, decision in self.by_id.items() if decision != KEEP}

    @property
    def looked_at(self) -> frozenset[str]:
        """The answers whose flags do not count any more."""
        return frozenset(self.by_id)


def read(root: Path) -> Decisions:
    """Return the decisions in a project; raise `UserError` if the file cannot be read or has wrong lines."""
    return Decisions({line["id"]: line["decision"] for line in _lines(root)})


def add(root: Path, id: str, decision: str) -> None:
    """Add a decision of today about a record to the file."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_lines(root / FILE, [*_lines(root), {"id": id, "decision": decision, "who": LEAD, "day": today}])


def _lines(root: Path) -> list[Row]:
    return strict_lines.read(root / FILE, _Line, "technical.bad_decisions", decisions=", ".join(DECISIONS))
