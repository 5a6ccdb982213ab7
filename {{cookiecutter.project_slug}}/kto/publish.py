"""Send rows, votes and the filled card to the dataset on the Hub."""

import datetime
from collections.abc import Mapping, Sequence

import datasets
import pyarrow as pa
from huggingface_hub import DatasetCard, constants

from kto import rows, votes
from kto.hub import told_plainly
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


def _dataset(table: Sequence[Row], schema: pa.Schema) -> datasets.Dataset:
    return datasets.Dataset(datasets.table.InMemoryTable(pa.Table.from_pylist(list(table), schema=schema)))


def push(
    repo_id: str,
    *,
    token: str,
    private: bool,
    splits: Mapping[str, Sequence[Row]],
    all_votes: Sequence[Row],
    card: str,
) -> str:
    """Send everything and return the dataset's address. What was there before stays in the history of the repository.

    Parameters
    ----------
    private
        Counts only for a dataset that does not exist yet: whoever has made theirs public meant it.
    splits
        Rows for KTO (`rows.SCHEMA`) by name of the split.
    all_votes
        Rows of `votes.SCHEMA`; what is sent is `public_votes` of them.
    card
        Markdown with front matter; the Hub's own description of the files is added to it.

    Raises
    ------
    UserError
        The Hub cannot be reached, or refuses.
    """
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    parts = {ROWS: (splits, rows.SCHEMA), VOTES: ({"train": public_votes(all_votes)}, VOTES_SCHEMA)}
    with told_plainly(repo_id):
        for name, (tables, schema) in parts.items():
            part = datasets.DatasetDict({split: _dataset(table, schema) for split, table in tables.items()})
            part.push_to_hub(repo_id, config_name=name, private=private, token=token)
        filled = DatasetCard(card)
        filled.data["dataset_info"] = DatasetCard.load(repo_id, token=token).data["dataset_info"]
        # Written here, because a second push_to_hub with set_default loses the default and keeps splits that are gone.
        filled.data["configs"] = [
            {"config_name": name, "data_files": [{"split": split, "path": f"{name}/{split}-*"} for split in tables]}
            | ({"default": True} if name == ROWS else {})
            for name, (tables, _) in parts.items()
        ]
        filled.push_to_hub(repo_id, token=token)
    return f"{constants.ENDPOINT}/datasets/{repo_id}"
