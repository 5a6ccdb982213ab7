"""What was deleted in Argilla since this project looked there last.

`data/private/argilla.json` remembers the dataset, the records in it, and whose responses they had. As long as it is the
same dataset, a record that is gone was deleted by the lead, and a response that is gone, though its record and its
account are there, by its author. A lost or new Argilla says nothing of that kind, nor does a copy that is older than
what was seen, nor one without any record.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kto.dotenv import write_private
from kto.errors import UserError

NAME = "argilla.json"


class Seen(NamedTuple):
    """What there was in Argilla.

    Attributes
    ----------
    dataset
        Its id, "" if nobody has looked yet.
    activity
        When it was changed last, as ISO time; "" if that is not known.
    records
        By id of the record: by id of the response, which is submitted, the id of the account.
    accounts
        Ids of all accounts; not remembered.
    """

    dataset: str = ""
    activity: str = ""
    records: Mapping[str, Mapping[str, str]] = {}
    accounts: frozenset[str] = frozenset()

    def follows(self, before: "Seen") -> bool:
        """Tell whether this is the same dataset as `before`, some time later."""
        return bool(self.dataset) and self.dataset == before.dataset and self.activity >= before.activity


def records(before: Seen, now: Seen) -> list[str]:
    """Return the ids of the records that were deleted."""
    if not now.follows(before) or not now.records:
        return []
    return [id for id in before.records if id not in now.records]


def responses(before: Seen, now: Seen) -> set[str]:
    """Return the ids of the responses that their authors deleted."""
    if not now.follows(before):
        return set()
    there = {response for by_response in now.records.values() for response in by_response}
    return {
        response
        for id, by_response in before.records.items()
        if id in now.records
        for response, account in by_response.items()
        if response not in there and account in now.accounts
    }


def read(private: Path) -> Seen:
    """Return what was seen last; raise `UserError` if the file cannot be read."""
    path = private / NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return Seen(content.get("dataset", ""), content.get("activity", ""), dict(content.get("records", {})))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None


def remember_upload(private: Path, seen: Seen, new: Iterable[str]) -> None:
    """Write which records there are after an upload, `new` ones beside those that were `seen` before it."""
    before = read(private)
    known = before.records if seen.follows(before) else {}
    remember(private, seen._replace(records={id: known.get(id, {}) for id in [*seen.records, *new]}))


def forget(private: Path, ids: Collection[str]) -> None:
    """Remember these records no more, because we delete them ourselves."""
    before = read(private)
    if not before.records.keys().isdisjoint(ids):
        kept = {id: by_response for id, by_response in before.records.items() if id not in ids}
        remember(private, before._replace(records=kept))


def remember(private: Path, seen: Seen) -> None:
    """Write what was seen now; raise `UserError` if that is impossible."""
    path = private / NAME
    content: dict[str, Any] = {"dataset": seen.dataset, "activity": seen.activity, "records": seen.records}
    try:
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, json.dumps(content, indent=0) + "\n")
    except OSError as error:
        raise UserError("cannot_write", path=path, reason=error) from None
