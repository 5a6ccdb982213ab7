"""Send the answers of the models to the Hub, as a dataset of their own, before anybody has voted."""

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from kto import hub
from kto.errors import UserError
from kto.pages import fill_marked, fill_page, in_direction, values_of
from kto.settings import Settings
from kto.tables import read_batches
from kto.texts import TextsError, number, t
from kto.texts import load as load_texts

_CARD = Path(__file__).parent / "cards" / "generations.md"


def target(config: Settings) -> tuple[str, str]:
    """Return the dataset's id and a token; raise `UserError` if there is no owner or no token."""
    return f"{config.project.repo_id}-generations", hub.hub_token(config)


def push(config: Settings, table: Path) -> str:
    """Send `data/generations/train.parquet` with a card to `owner/slug-generations`; return the dataset's address.

    What was there before stays in the history of the repository. A dataset that does not exist yet starts as
    `[export] private` says. After an interruption the same call can be made again.

    Raises
    ------
    UserError
        There is no owner or no token, the card cannot be used, or the Hub cannot be reached, or refuses.
    """
    repo_id, token = target(config)
    card = fill_card(config, table)
    try:
        rows = pq.read_table(table, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise UserError("cannot_read_table", path=table, reason=" ".join(str(error).split())) from None
    return hub.push(
        repo_id,
        token=token,
        private=config.export.private,
        parts=[hub.Part("default", "data", {"train": rows.replace_schema_metadata()})],
        page=card,
        path=config.root
        / "settings.toml",  # this card is made anew each time; what may be wrong in it comes from there
        command="generate.py",
    )


def fill_card(config: Settings, table: Path) -> str:
    """Return the card for a table of generations, with what each model did."""
    columns = ("generation_model", "generations", "language_verdict")
    answers, verdicts = Counter[str](), Counter[tuple[str, str]]()
    prompts = 0
    names: list[str] = []
    for batch in read_batches(table, columns):
        prompts += len(batch)
        for row in batch:
            names = row["generation_model"]
            for model, text, verdict in zip(names, row["generations"], row["language_verdict"], strict=True):
                answers[model] += text is not None
                verdicts[model, verdict] += 1
    header = ("model", "asked", "answered", "right")
    lines = ["| " + " | ".join(t(f"generate.column_{name}") for name in header) + " |", "|---|--:|--:|--:|"]
    for model in names:
        checked = verdicts[model, "right"] + verdicts[model, "wrong"]
        share = f"{number(100 * verdicts[model, 'right'] / checked, 1)} %" if checked else "–"
        lines.append(f"| `{model}` | {number(prompts)} | {number(answers[model])} | {share} |")
    values = values_of(config)
    try:
        card = fill_page(_CARD, load_texts(), values)
        return fill_marked(card, "numbers", in_direction("\n".join(lines), str(values["direction"])))
    except (OSError, TextsError) as error:
        raise UserError("bad_card", path=_CARD, reason=error) from None
