"""Send rows, votes and the filled card to the dataset on the Hub."""

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from kto import hub_dataset, rows, votes
from kto.hub_dataset import Part
from kto.tables import Row

ROWS, VOTES = "kto", "votes"
"""The two configurations of the dataset; `load_dataset(repo_id)` without a name gives the first."""


_COARSE = ("inserted_at", "updated_at")
VOTES_SCHEMA = pa.schema(
    [
        (field.name, pa.date32() if field.name in _COARSE else field.type)
        for field in votes.SCHEMA
        if field.name != "vote_id"
    ]
)
"""The votes as everybody sees them: the second of a vote, or Argilla's id of it, would tell whose it is to whoever
watched. So do orders; these rows are sorted by day, answer and pseudonym."""


def public_votes(all_votes: Sequence[Row]) -> list[Row]:
    """Return rows of `VOTES_SCHEMA` for rows of `votes.SCHEMA`; days are those of UTC."""
    days = [{**vote, **{name: vote[name].astimezone(datetime.UTC).date() for name in _COARSE}} for vote in all_votes]
    found = [{name: vote[name] for name in VOTES_SCHEMA.names} for vote in days]
    return sorted(found, key=lambda vote: (vote["inserted_at"], vote["record_id"], vote["annotator"]))


def push(
    repo_id: str,
    *,
    token: str,
    private: bool,
    splits: Mapping[str, Sequence[Row]],
    all_votes: Sequence[Row],
    card: str,
    path: Path,
) -> str:
    """Send everything as `hub_dataset.push` does, and return its address.

    Parameters
    ----------
    private
        Counts only for a dataset that does not exist yet: whoever has made theirs public meant it.
    splits
        Rows for KTO (`rows.SCHEMA`) by name of the split.
    all_votes
        Rows of `votes.SCHEMA`; what is sent is `public_votes` of them.
    card, path
        Markdown with front matter, and its file; the description of the tables is added to it.

    Raises
    ------
    UserError
        The card cannot be used, or the Hub cannot be reached, or refuses.
    """
    tables = {name: pa.Table.from_pylist(list(part), schema=rows.SCHEMA) for name, part in splits.items()}
    public = pa.Table.from_pylist(public_votes(all_votes), schema=VOTES_SCHEMA)
    parts = [Part(ROWS, ROWS, tables), Part(VOTES, VOTES, {"train": public})]
    return hub_dataset.push(
        repo_id, token=token, private=private, parts=parts, page=card, path=path, command="export.py"
    )
