"""Send the answers of the models to the Hub, as a dataset of their own, before anybody has voted."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from kto import hub
from kto.ask.report import share_right
from kto.errors import UserError
from kto.pages import fill_marked, fill_page, in_direction, values_of
from kto.settings import Settings
from kto.tables import read_batches, reading
from kto.texts import TextsError, number, settings_file, t
from kto.texts import load as load_texts

_CARD = Path(__file__).parent / "cards" / "generations.md"


def target(config: Settings) -> tuple[str, str]:
    """Return the dataset's id and a token; raise `UserError` if there is no owner or no token."""
    return f"{config.project.repo_id}-generations", hub.hub_token(config)


def push(config: Settings, table: Path) -> str:
    """Send `data/generations/train.parquet` with a card to `owner/slug-generations`; return the dataset's address.

    A dataset that does not exist yet starts as `[export] private` says. Raises `UserError` if there is no owner or no
    token, the card or the table cannot be used, or the Hub cannot be reached, or refuses.
    """
    repo_id, token = target(config)
    page = _card(config, table)
    with reading(table):
        rows = pq.read_table(table, memory_map=True)
    return hub.push(
        repo_id,
        token=token,
        private=config.export.private,
        parts=[hub.Part("default", "data", {"train": rows.replace_schema_metadata()})],
        page=page,
        path=settings_file(config.root),  # the card is made anew each time; mistakes in it come from there
        command="generate.py",
    )


def _card(config: Settings, table: Path) -> str:
    """Return the card for a table of generations, with what each model did."""
    prompts = 0
    answers, verdicts = Counter[str](), Counter[tuple[str, str]]()
    for batch in read_batches(table, ("generation_model", "generations", "language_verdict")):
        prompts += len(batch)
        for row in batch:
            for model, text, verdict in zip(*row.values(), strict=True):
                answers[model] += text is not None
                verdicts[model, verdict] += 1
    heads = [t(f"generate.column_{name}") for name in ("model", "asked", "answered", "right")]
    lines = [f"| {' | '.join(heads)} |", "|---|--:|--:|--:|"]
    for model, count in answers.items():
        share = share_right(verdicts[model, "right"], verdicts[model, "wrong"])
        lines.append(f"| `{model}` | {number(prompts)} | {number(count)} | {share} |")
    values = values_of(config)
    try:
        page = fill_page(_CARD, load_texts(), values)
        return fill_marked(page, "numbers", in_direction("\n".join(lines), str(values["direction"])))
    except (OSError, TextsError) as error:
        raise UserError("bad_card", path=_CARD, reason=error) from None
