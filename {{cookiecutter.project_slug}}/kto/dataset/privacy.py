"""Which part of the votes everybody may see, and where the rest is kept.

`data/votes/train.parquet` is public: it belongs into git, and `export.py push` sends the same table. It has invented
names and days. Argilla's ids and exact times (`train.parquet`), comments, votes that their authors have changed or
withdrawn (`replaced.jsonl`), and what people have agreed to and when (`people.csv`) could tell observers whose a vote
is. They stay in `data/private/votes`, which git ignores, so that folder has to be copied to another machine by hand.

Projects of an earlier version have all of it in `data/votes`. The next export splits it: the private files are written
whole before a public one is replaced or removed, so a run that was killed loses nothing, and the next one goes on.
"""

import datetime
import json
import secrets
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kto import tables
from kto.dataset import votes
from kto.dataset.copies import committed_folder
from kto.errors import UserError
from kto.tables import Row
from kto.texts import t
from kto.vote.voting_server.links import Person

if TYPE_CHECKING:
    import pyarrow as pa

_NEW: Mapping[str, Any] = {"open_link": False, "language": None, "aspects": []}
"""Columns that tables of earlier versions lack, and what they have in their place."""
FOR_AGREEMENT = "for_agreement"
"""Whether agreement is computed from a vote, too; which ones those are depends on all votes, so it is public only."""
_COARSE = ("inserted_at", "updated_at")
_COMMENT_COLUMNS = ("vote_id", "annotator", "vote", "prompt", "answer", "comment", "updated_at")
_PEOPLE_COLUMNS = ("annotator", "open_link", "consent", "consented_at", "credit", "left_out")
_FORMULA = ("=", "+", "-", "@")  # a spreadsheet would compute a cell that begins so


def public_schema() -> "pa.Schema":
    """Return the columns of the public table of votes.

    The second of a vote, or Argilla's id of it, would tell observers whose it is. So would the order; these rows are
    sorted by day, answer and pseudonym.
    """
    import pyarrow as pa

    columns = [field for field in votes.schema() if field.name != "vote_id"]
    public = [(field.name, pa.date32() if field.name in _COARSE else field.type) for field in columns]
    return pa.schema([*public, (FOR_AGREEMENT, pa.bool_())])


def public_votes(all_votes: Iterable[Row]) -> list[Row]:
    """Return rows of `public_schema` for rows of `votes.schema` with `FOR_AGREEMENT`; days are those of UTC."""
    days = [vote | {name: vote[name].astimezone(datetime.UTC).date() for name in _COARSE} for vote in all_votes]
    names = public_schema().names
    rows = [{name: vote[name] for name in names} for vote in days]
    return sorted(rows, key=lambda vote: (vote["inserted_at"], vote["record_id"], vote["annotator"]))


class StoredVotes(NamedTuple):
    """The votes of earlier exports."""

    votes: list[Row]
    replaced: list[Row]  # those that do not count any more, as lines of JSON hold them
    comments: list[dict[str, str]]
    published: set[tuple[str, str]]  # (record, annotator) of each row of the public table
    people: list[dict[str, str]]  # as `people_rows` makes them


def people_rows(people: Iterable[Person], key: bytes) -> list[dict[str, str]]:
    """Return a row for each version of the consent that a person has agreed to, for `VoteFiles.write_people`.

    Somebody who has agreed to none, but whose votes are left out, has one row without a version.
    """
    return [
        {
            "annotator": votes.pseudonym(key, person.name),
            "open_link": "yes" if person.is_open else "",
            "consent": consent,
            "consented_at": time,
            "credit": person.credit,
            "left_out": "yes" if person.left_out else "",
        }
        for person in people
        for consent, time in person.consents or (("", ""),) * person.left_out
    ]


class VoteFiles:
    """The files that hold votes: in the folder `public` of an export, and in the project's `data/private`."""

    def __init__(self, public: Path, private: Path) -> None:
        self.public, self.private = public, private
        self.forgotten = private / "forgotten.txt"
        self.splits = private / "votes" / "splits.csv"  # see `kto.dataset.rows`
        self._key = private / "pseudonym_key"
        self._public_table = public / "train.parquet"
        self._table = private / "votes" / "train.parquet"
        self._log = private / "votes" / "replaced.jsonl"
        self._comments = private / "votes" / "comments.csv"
        self._people = private / "votes" / "people.csv"
        self._earlier_log, self._earlier_comments = public / "replaced.jsonl", private / "comments.csv"

    def read_key(self) -> bytes:
        """Return the key that pseudonyms are made with; without one, make it from random bytes."""
        if not self._key.exists():
            tables.write_text(self._key, secrets.token_hex(32) + "\n", private=True)
        try:
            key = bytes.fromhex(self._key.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            key = b""
        if len(key) < 16:  # an empty key would let everybody compute the name behind a pseudonym
            raise UserError("pseudonym_key", path=self._key)
        return key

    def read_forgotten(self) -> set[str]:
        """Return the pseudonyms of the people whose votes must not come back."""
        with tables.reading(self.forgotten):
            return set(self.forgotten.read_text(encoding="utf-8-sig").split()) if self.forgotten.exists() else set()

    def write_forgotten(self, names: Iterable[str]) -> None:
        """Write the pseudonyms of the people whose votes must not come back."""
        tables.write_text(self.forgotten, "".join(f"{name}\n" for name in sorted(names)), private=True)

    def read(self) -> StoredVotes:
        """Return the votes of earlier exports; raise `UserError` if they lack the key or the private files."""
        whole = self._is_whole()
        columns = votes.schema().names
        rows = _completed(tables.read_rows(self._public_table, columns if whole else ("record_id", "annotator"), _NEW))
        stored = _completed(tables.read_rows(self._table, columns, _NEW))
        if (rows or stored) and not (self._key.exists() and (whole or self._table.exists())):
            raise UserError("private_missing", votes=self.public, private=self.private)
        log = _completed(tables.read_lines(self._log))
        if whole and self._table.exists():  # a run was killed, or somebody with an earlier version has exported since
            logged = {_state(vote) for vote in log}
            stored, replaced = votes.merge(stored, [vote for vote in rows if _state(vote) not in logged], ())
            log = _joined(log, replaced)
        elif whole:
            stored = rows
        published = {(vote["record_id"], vote["annotator"]) for vote in rows}
        log = _joined(log, _completed(tables.read_lines(self._earlier_log)))
        comments = _read_cells(self._comments if self._comments.exists() else self._earlier_comments, _COMMENT_COLUMNS)
        return StoredVotes(stored, log, comments, published, _read_cells(self._people, _PEOPLE_COLUMNS))

    def _is_whole(self) -> bool:
        """Tell whether an earlier version wrote the public table, with everything in it."""
        import pyarrow.parquet as pq

        if not self._public_table.exists():
            return False
        with tables.reading(self._public_table):
            return "vote_id" in pq.read_schema(self._public_table).names

    def write_people(self, people: Sequence[Mapping[str, str]]) -> None:
        """Write who has agreed to what, and whose votes are left out; where nobody has, there is no file."""
        if people or self._people.exists():
            rows = [[_escaped(row[name]) for name in _PEOPLE_COLUMNS] for row in people]
            tables.write_csv(self._people, _PEOPLE_COLUMNS, sorted(rows))

    def require_known(self, published: Iterable[tuple[str, str]], known: Iterable[Row], names: Collection[str]) -> None:
        """Raise `UserError` if a published vote is neither known here nor by one of the people with these `names`.

        Then another machine has exported since, and an export from here would lose that vote.
        """
        here = {(vote["record_id"], vote["annotator"]) for vote in known}
        if any(vote not in here and vote[1] not in names for vote in published):
            raise UserError("private_missing", votes=self.public, private=self.private)

    def write_private(
        self, all_votes: Sequence[Row], replaced: Sequence[Row], comments: Iterable[Mapping[str, object]]
    ) -> None:
        """Write the private files; nothing in the public folder changes."""
        log = _joined(replaced, ())
        rows = [[_escaped(str(comment[name])) for name in _COMMENT_COLUMNS] for comment in comments]
        with tables.writing(self._table, 0o700):
            if log != tables.read_lines(self._log):
                tables.write_lines(self._log, log)
            tables.write_rows(self._table, all_votes, votes.schema())
            if rows or self._comments.exists():
                tables.write_csv(self._comments, _COMMENT_COLUMNS, rows)

    def write_public(self, all_votes: Sequence[Row]) -> None:
        """Write the public table and remove the files of an earlier version; to be called after `write_private`."""
        if (self._earlier_log.exists() or self._is_whole()) and (folder := committed_folder(self.public)):
            print(t("technical.votes_in_git", folder=folder), file=sys.stderr)
        tables.write_rows(self._public_table, public_votes(all_votes), public_schema())
        for path in (self._earlier_log, self._earlier_comments):
            with tables.writing(path):
                path.unlink(missing_ok=True)


def _state(vote: Row) -> tuple[str, str]:
    """Return what tells a vote from the same vote before it was changed; alike for a row and a line of JSON."""
    return vote["vote_id"], str(vote["updated_at"])


def _completed(rows: Iterable[Row]) -> list[Row]:
    """Return votes of an earlier version as this one has them: the models as a list, and what it did not know yet."""
    name = "generation_model"
    lists = [vote | {name: tables.split_models(vote[name])} if name in vote else vote for vote in rows]
    return [vote | {new: vote[new] or empty for new, empty in _NEW.items() if new in vote} for vote in lists]


def _joined(log: Iterable[Row], more: Iterable[Row]) -> list[Row]:
    """Return the votes of both, each once, as lines of JSON hold them."""
    return list({_state(vote): json.loads(json.dumps(vote, default=str)) for vote in [*log, *more]}.values())


def _escaped(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _unescaped(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:].startswith(_FORMULA) else cell


def _read_cells(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    return [{name: _unescaped(cell) for name, cell in row.items()} for row in tables.read_csv(path, columns)]
