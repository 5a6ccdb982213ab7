"""Send rows, votes and the filled card to the dataset on the Hub."""

from kto import card as cards
from kto.dataset.steps import Dataset, card_path, read_card
from kto.settings import Settings
from kto.texts import t

ROWS, VOTES = "kto", "votes"
"""The two configurations of the dataset; `load_dataset(repo_id)` without a name gives the first."""


def require_ready(config: Settings) -> tuple[str, str]:
    """Return the dataset's name on the Hub and the token; raise `UserError` for what is missing, before any work."""
    from kto.hub import hub_token

    repo_id, token = config.project.repo_id, hub_token(config)
    cards.check(read_card(config), card_path(config), cards.NEEDS)
    return repo_id, token


def push(config: Settings, dataset: Dataset) -> None:
    """Send everything as `hub_dataset.push` does, and print its address; the votes are sent as everybody may see them.

    Raises
    ------
    UserError
        The card cannot be used, or the Hub cannot be reached, or refuses.
    """
    import pyarrow as pa

    from kto import hub_dataset
    from kto.dataset import rows
    from kto.dataset.privacy import public_schema, public_votes
    from kto.hub_dataset import Part

    repo_id, token = require_ready(config)
    tables = {name: pa.Table.from_pylist(part, schema=rows.schema()) for name, part in dataset.tables.items()}
    public = pa.Table.from_pylist(public_votes(dataset.votes), schema=public_schema())
    url = hub_dataset.push(
        repo_id,
        token=token,
        private=config.export.private,
        parts=[Part(ROWS, ROWS, tables), Part(VOTES, VOTES, {"train": public})],
        page=dataset.card,
        path=card_path(config),
        command="export.py",
    )
    print(t("export.pushed", url=url))
