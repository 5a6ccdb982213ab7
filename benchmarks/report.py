"""The table of a benchmark, row by row in Markdown, and whether all of it passed."""

import dataclasses
import sys
from typing import Any


@dataclasses.dataclass
class Report:
    """Rows of what was measured, its limit, and the verdict; None where there is no limit and so no verdict."""

    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    sound: bool = True  # whether all was right in the present scenario: to fail can be quick

    def at_most(self, what: str, value: float | None, limit: float | None = None, unit: str = "") -> None:
        """Add a number that must not be larger than its limit, if it has one; None was never there to be measured."""
        passed = self.sound and value is not None and limit is not None and value <= limit
        self._add(what, value, limit, "≤ ", unit, None if limit is None else passed)

    def memory(self, what: str, value: float | None, limit: float | None = None) -> None:
        """Add a peak in MB; only Linux tells it, so elsewhere there is nothing to judge."""
        self.at_most(what, value, limit if sys.platform == "linux" else None, " MB")

    def exactly(self, what: str, value: object, wanted: object) -> None:
        """Add something without which the other numbers of the scenario would mean nothing."""
        self.sound &= value == wanted
        self._add(what, value, wanted, "= ", "", value == wanted)

    @property
    def passed(self) -> bool:
        """Whether there are rows, and none has failed."""
        return bool(self.rows) and all(row["passed"] is not False for row in self.rows)

    def _add(self, what: str, value: object, limit: object, sign: str, unit: str, passed: bool | None) -> None:
        shown = ("—" if value is None else _text(value) + unit, "—" if limit is None else sign + _text(limit) + unit)
        verdict = {True: "pass", False: "**FAIL**", None: "—"}[passed]
        print(f"| {what} | {shown[0]} | {shown[1]} | {verdict} |", flush=True)
        self.rows.append({"what": what, "value": value, "limit": limit, "unit": unit.strip(), "passed": passed})


def _text(value: object) -> str:
    digits = ",.2f" if isinstance(value, float) and value < 100 else ",.0f"
    return format(value, digits) if isinstance(value, int | float) else str(value)
