"""The dataset on the Hub: two configurations (rows, votes) and the card, pushed together."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto import card as cards
from kto import texts
from kto.dataset.labels import CONFIDENCE, MAJORITY
from kto.errors import UserError
from kto.pages import fill_marked, fill_page, in_direction, values_of
from kto.questions import TASK
from kto.settings import Settings
from kto.tables import Row
from kto.texts import TextsError, number, t

if TYPE_CHECKING:
    from kto.dataset.model_figures import Table

ROWS, VOTES = "kto", "votes"
"""The two configurations of the dataset; `load_dataset(repo_id)` without a name gives the first."""


def card_path(config: Settings) -> Path:
    """Return the file of the dataset's card."""
    return texts.published(config.root, "dataset/README.md")


def read_card(config: Settings) -> str:
    """Return the dataset's card as it is, or a new one if there is none."""
    path = card_path(config)
    try:
        if path.exists():
            return cards.read(path)
        return fill_page(config.root / "kto" / "pages" / "dataset" / "README.md", texts.load(), values_of(config))
    except (OSError, TextsError) as error:
        raise UserError("bad_card", path=path, reason=error) from None


def fill_card(config: Settings, figures: Mapping[str, str], models: "Table", credits: Sequence[str] = ()) -> str:
    """Return the dataset's card with these figures, models and names; everything else stays as people wrote it.

    What follows from figures stands in their part, so that the cards of earlier versions have a place for it.
    """
    lines = [f"| {t(name)} | {figure} |" for name, figure in figures.items()]
    table = "\n".join(["| | |", "|---|---|", *lines, "", t("dataset_card.agreement_text")])
    if config.annotation.asks_third:
        table += f" {t('dataset_card.agreement_votes')}"
    if "dataset_card.open_link_votes" in figures:
        table += f" {t('dataset_card.open_link_text')}"
    if rule := _rule_text(config):
        table += f"\n\n{rule}"
    if credits:
        names = "\n".join(f"- {as_name(name)}" for name in credits)
        table += f"\n\n## {t('dataset_card.credits')}\n\n{names}"
    direction = str(values_of(config)["direction"])
    page = read_card(config)
    try:
        page = fill_marked(page, "numbers", in_direction(table, direction))
        return fill_marked(page, "models", models.on_card(direction))
    except TextsError as error:
        raise UserError("bad_card", path=card_path(config), reason=error) from None


def _rule_text(config: Settings) -> str:
    """Return the sentence about which answers have a row; the cards of projects with task 1 have one of their own."""
    rule, annotation = config.export.rule, config.annotation
    if rule == MAJORITY and not annotation.asks_third:
        return t("technical.rule_without_third") if annotation.task >= TASK else ""
    values = {"confidence": number(config.export.min_confidence, 2)} if rule == CONFIDENCE else {}
    return t(f"dataset_card.rule_{rule}", **values)


def as_name(name: str) -> str:
    """Return a name as Markdown that shows it as it is, without markup, HTML, or a link for an address in it."""
    text = " ".join(name.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"[!-%(-/:=?@\[-`{-~]", r"\\\g<0>", text)
    # Some pages look for addresses in what is shown, where a backslash is gone; an empty comment divides it.
    return re.sub(r"(?<=\S)(?=\\[.@]\S)|(?<=\\:)(?=\\/)", "<!-- -->", text)


def require_ready(config: Settings) -> tuple[str, str]:
    """Return the dataset's name on the Hub and the token; raise `UserError` for what a push lacks."""
    from kto.hub import hub_token

    repo_id, token = config.project.repo_id, hub_token(config)
    cards.check(read_card(config), card_path(config), cards.NEEDS)
    return repo_id, token


def push(config: Settings, tables: Mapping[str, Sequence[Row]], votes: Sequence[Row], card: str) -> None:
    """Send the rows by split, the public part of the votes and the card as `hub.push` does; print the address."""
    import pyarrow as pa

    from kto import hub
    from kto.dataset import privacy, rows

    repo_id, token = require_ready(config)
    splits = {name: pa.Table.from_pylist([*part], schema=rows.schema()) for name, part in tables.items()}
    public = pa.Table.from_pylist(privacy.public_votes(votes), schema=privacy.public_schema())
    url = hub.push(
        repo_id,
        token=token,
        private=config.export.private,
        parts=[hub.Part(ROWS, ROWS, splits), hub.Part(VOTES, VOTES, {"train": public})],
        page=card,
        path=card_path(config),
        command="export.py",
    )
    print(t("export.pushed", url=url))
