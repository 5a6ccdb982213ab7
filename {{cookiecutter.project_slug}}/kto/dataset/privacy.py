"""Which part of the votes everybody may see, and where the rest is kept.

`data/votes/train.parquet` is public: it belongs into git, and `export.py --push` sends the same table. It has invented
names and days. What would tell whose a vote is to whoever watched stays in `data/private/votes/`, which git ignores:
Argilla's ids, exact times (`train.parquet`), comments, and votes that their authors have changed or withdrawn
(`replaced.jsonl`). So that folder has to be copied to another machine by hand.

Projects of an earlier version have all of it in `data/votes`. The next export splits it: the private files are written
whole before a public one is replaced or removed, so a run that was killed loses nothing, and the next one goes on.
"""

import contextlib
import dataclasses
import datetime
import json
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from kto.dataset import votes
from kto.errors import UserError
from kto.tables import Row, read_lines, read_rows, split_models, write_lines, write_rows

if TYPE_CHECKING:
    import pyarrow as pa

_COARSE = ("inserted_at", "updated_at")


def public_schema() -> "pa.Schema":
    """Return the columns of the votes as everybody sees them.

    The second of a vote, or Argilla's id of it, would tell whose it is to whoever watched. So do orders; these rows are
    sorted by day, answer and pseudonym.
    """
    import pyarrow as pa

    columns = [field for field in votes.schema() if field.name != "vote_id"]
    return pa.schema([(field.name, pa.date32() if field.name in _COARSE else field.type) for field in columns])


def public_votes(all_votes: Sequence[Row]) -> list[Row]:
    """Return rows of `public_schema` for rows of `votes.schema`; days are those of UTC."""
    days = [{**vote, **{name: vote[name].astimezone(datetime.UTC).date() for name in _COARSE}} for vote in all_votes]
    names = public_schema().names
    found = [{name: vote[name] for name in names} for vote in days]
    return sorted(found, key=lambda vote: (vote["inserted_at"], vote["record_id"], vote["annotator"]))


class StoredVotes(NamedTuple):
    """What earlier exports have left here.

    Attributes
    ----------
    votes
        Rows of `votes.schema`.
    replaced
        Votes that do not count any more, as lines of JSON hold them.
    comments
        See `votes.read_comments`.
    published
        (record, annotator) of each row of the public table.
    """

    votes: list[Row]
    replaced: list[Row]
    comments: list[dict[str, str]]
    published: set[tuple[str, str]]


def _state(vote: Row) -> tuple[str, str]:
    """Return what tells a vote from the same vote before it was changed; alike for a row and a line of JSON."""
    return vote["vote_id"], str(vote["updated_at"])


@dataclasses.dataclass(frozen=True)
class VoteFiles:
    """The files that hold votes.

    Attributes
    ----------
    public
        The folder `votes` in what an export writes.
    private
        The project's `data/private`, wherever the export goes.
    """

    public: Path
    private: Path

    @property
    def key(self) -> Path:
        """What pseudonyms are made with."""
        return self.private / "pseudonym_key"

    @property
    def splits(self) -> Path:
        """Where prompts that were exported belong; see `kto.dataset.splits`."""
        return self.private / "votes" / "splits.csv"

    @property
    def _public_table(self) -> Path:
        return self.public / "train.parquet"

    @property
    def _table(self) -> Path:
        return self.private / "votes" / "train.parquet"

    @property
    def _log(self) -> Path:
        return self.private / "votes" / "replaced.jsonl"

    @property
    def _comments(self) -> Path:
        return self.private / "votes" / "comments.csv"

    @property
    def _earlier_files(self) -> tuple[Path, Path]:
        """Where an earlier version kept the log and the comments."""
        return self.public / "replaced.jsonl", self.private / "comments.csv"

    @property
    def unsplit(self) -> bool:
        """Whether the public folder still holds what is private, as earlier versions wrote it."""
        return self._log_in_public or "vote_id" in self._columns()

    @property
    def _log_in_public(self) -> bool:
        return self._earlier_files[0].exists()

    def _columns(self) -> list[str]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._public_table.exists():
            return []
        try:
            return list(pq.read_schema(self._public_table).names)
        except (OSError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())
            raise UserError("cannot_read_table", path=self._public_table, reason=reason) from None

    def read(self) -> StoredVotes:
        """Return what is here; change nothing.

        Raises
        ------
        UserError
            A file cannot be read, or there are votes without the key or the private files that belong to them.
        """
        whole = "vote_id" in self._columns()  # an earlier version wrote the public table
        rows = read_rows(self._public_table, votes.schema().names if whole else ("record_id", "annotator"))
        rows, stored = _with_lists(rows), _with_lists(read_rows(self._table, votes.schema().names))
        if (rows or stored) and not (self.key.exists() and (whole or self._table.exists())):
            raise self._not_here()
        earlier_log, earlier_comments = self._earlier_files
        log = _with_lists(read_lines(self._log))
        if whole and self._table.exists():  # a run was killed, or somebody with an earlier version has exported since
            gone = {_state(vote) for vote in log}
            stored, replaced = votes.merge(stored, [vote for vote in rows if _state(vote) not in gone], ())
            log = _joined(log, replaced)
        elif whole:
            stored = rows
        comments = votes.read_comments(self._comments if self._comments.exists() else earlier_comments)
        published = {(vote["record_id"], vote["annotator"]) for vote in rows}
        return StoredVotes(stored, _joined(log, _with_lists(read_lines(earlier_log))), comments, published)

    def require_known(self, published: Collection[tuple[str, str]], known: Iterable[Row], names: Iterable[str]) -> None:
        """Raise `UserError` if a published vote is neither known here nor by one of the people with these `names`.

        Then another machine has exported since, and an export from here would lose that vote.
        """
        here = {(vote["record_id"], vote["annotator"]) for vote in known}
        names = set(names)
        if any(vote not in here and vote[1] not in names for vote in published):
            raise self._not_here()

    def _not_here(self) -> UserError:
        return UserError("private_missing", votes=self.public, private=self.private)

    def write_private(
        self,
        all_votes: Sequence[Row],
        replaced: Sequence[Row],
        comments: Iterable[Mapping[str, object]],
    ) -> None:
        """Write what is not for everybody; nothing in the public folder changes."""
        try:
            self._table.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UserError("cannot_write", path=self._table.parent, reason=error) from None
        log = _joined(replaced, ())
        if log != read_lines(self._log):
            write_lines(self._log, log)
        write_rows(self._table, all_votes, votes.schema())
        votes.write_comments(self._comments, comments)

    def write_public(self, all_votes: Sequence[Row]) -> None:
        """Write what everybody may see, in place of what was there, and remove what an earlier version left.

        To be called after `write_private`.
        """
        write_rows(self._public_table, public_votes(all_votes), public_schema())
        for path in self._earlier_files:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise UserError("cannot_write", path=path, reason=error) from None

    def committed_as(self) -> str:
        """Return the name that git has for the public folder if commits hold files of it, "" if none does."""
        committed = git(self.public, "log", "--all", "-1", "--format=%h", "--", ".")
        return git(self.public, "rev-parse", "--show-prefix").rstrip("/") if committed else ""


def git(folder: Path, *words: str) -> str:
    """Return what `git` prints in a folder; "" if there is no git, no repository, or no answer."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["git", *words],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=60,
            check=True,
        ).stdout.strip()
    return ""


def _with_lists(votes: Iterable[Row]) -> list[Row]:
    """Return the votes with the models as a list; earlier versions wrote them as one text."""
    return [
        vote | {"generation_model": split_models(vote["generation_model"])} if "generation_model" in vote else vote
        for vote in votes
    ]


def _joined(log: Iterable[Row], more: Iterable[Row]) -> list[Row]:
    """Return the votes of both, each once, as lines of JSON hold them."""
    lines = {_state(vote): json.loads(json.dumps(vote, default=str)) for vote in [*log, *more]}
    return list(lines.values())
