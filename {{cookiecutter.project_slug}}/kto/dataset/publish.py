"""Send rows, votes and the filled card to the dataset on the Hub."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from kto import hub_dataset
from kto.dataset import rows
from kto.dataset.privacy import public_schema, public_votes
from kto.hub_dataset import Part
from kto.tables import Row

ROWS, VOTES = "kto", "votes"
"""The two configurations of the dataset; `load_dataset(repo_id)` without a name gives the first."""


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
        Rows for KTO (`rows.schema`) by name of the split.
    all_votes
        Rows of `votes.schema`; what is sent is `public_votes` of them.
    card, path
        Markdown with front matter, and its file; the description of the tables is added to it.

    Raises
    ------
    UserError
        The card cannot be used, or the Hub cannot be reached, or refuses.
    """
    tables = {name: pa.Table.from_pylist(list(part), schema=rows.schema()) for name, part in splits.items()}
    public = pa.Table.from_pylist(public_votes(all_votes), schema=public_schema())
    parts = [Part(ROWS, ROWS, tables), Part(VOTES, VOTES, {"train": public})]
    return hub_dataset.push(
        repo_id, token=token, private=private, parts=parts, page=card, path=path, command="export.py"
    )
