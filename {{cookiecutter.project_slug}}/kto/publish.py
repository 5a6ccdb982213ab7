"""Send rows, votes and the filled card to the dataset on the Hub."""

from collections.abc import Mapping, Sequence

import datasets
import pyarrow as pa
from huggingface_hub import DatasetCard, constants

from kto import rows
from kto.hub import told_plainly
from kto.privacy import PUBLIC_SCHEMA, public_votes
from kto.tables import Row

ROWS, VOTES = "kto", "votes"
"""The two configurations of the dataset; `load_dataset(repo_id)` without a name gives the first."""


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
    parts = {ROWS: (splits, rows.SCHEMA), VOTES: ({"train": public_votes(all_votes)}, PUBLIC_SCHEMA)}
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
