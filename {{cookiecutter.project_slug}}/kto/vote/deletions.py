"""What was deleted in Argilla since the last export or upload.

`data/private/argilla.json` remembers the dataset, the records in it, and whose responses they had. If it is still
the same dataset, a missing record was deleted by the lead, and a missing response, whose record and account still
exist, by its author. Nothing counts as deleted in a new Argilla, an older copy, or one without records.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from kto.tables import reading, write_text

NAME = "argilla.json"


class Seen(NamedTuple):
    """The state of Argilla at one time."""

    dataset: str = ""  # its id, "" if nobody has looked yet
    activity: str = ""  # time of its last change, ISO 8601; "" if unknown
    records: Mapping[str, Mapping[str, str]] = {}  # record id → id of a submitted response → id of the account
    accounts: frozenset[str] = frozenset()  # ids of all accounts; not remembered

    def follows(self, before: "Seen") -> bool:
        """Tell whether this is the same dataset as `before`, some time later."""
        return bool(self.dataset) and self.dataset == before.dataset and self.activity >= before.activity


def records(before: Seen, now: Seen) -> list[str]:
    """Return the ids of the records that were deleted."""
    return [id for id in before.records if id not in now.records] if now.follows(before) and now.records else []


def responses(before: Seen, now: Seen) -> set[str]:
    """Return the ids of the responses that their authors deleted."""
    if not now.follows(before):
        return set()
    present = {response for authors in now.records.values() for response in authors}
    same = [authors for id, authors in before.records.items() if id in now.records]
    return {id for authors in same for id, author in authors.items() if id not in present and author in now.accounts}


def read(private: Path) -> Seen:
    """Return what is remembered; raise `UserError` if the file cannot be read."""
    path = private / NAME
    with reading(path):
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return Seen(content.get("dataset", ""), content.get("activity", ""), dict(content.get("records", {})))


def remember(private: Path, seen: Seen) -> None:
    """Write the state of now; raise `UserError` if the file cannot be written."""
    content = {"dataset": seen.dataset, "activity": seen.activity, "records": seen.records}
    write_text(private / NAME, json.dumps(content, indent=0) + "\n", private=True)


def remember_upload(private: Path, seen: Seen, new: Iterable[str]) -> None:
    """Remember the records after an upload: the `new` ones, and those that were `seen` before it."""
    before = read(private)
    known = before.records if seen.follows(before) else {}
    remember(private, seen._replace(records={id: known.get(id, {}) for id in [*seen.records, *new]}))


def forget(private: Path, ids: Collection[str]) -> None:
    """Remember these records no more, because we delete them ourselves."""
    before = read(private)
    if not before.records.keys().isdisjoint(ids):
        left = {id: authors for id, authors in before.records.items() if id not in ids}
        remember(private, before._replace(records=left))
