"""What the commands of step 3 have in common: collect votes, decide about rows, write, publish."""

import dataclasses
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kto import card as cards
from kto import texts
from kto.dataset import rows, splits, votes
from kto.dataset.agreement import krippendorff_alpha
from kto.dataset.privacy import StoredVotes, VoteFiles
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.pages import fill_marked, fill_page, in_direction, list_models, values_of
from kto.settings import Settings
from kto.tables import Row, write_rows, write_text
from kto.texts import TextsError, number, t
from kto.vote import deletions, outdated
from kto.vote.deletions import Seen
from kto.vote.responses import Responses


class Collected(NamedTuple):
    """All votes: those of earlier exports, and those in Argilla.

    Attributes
    ----------
    votes, replaced, comments
        As `VoteFiles.write_private` writes them.
    seen
        What Argilla held.
    in_argilla
        Ids of the votes that it held.
    unknown
        How many of its votes are on answers whose text is nowhere any more.
    """

    votes: list[Row]
    replaced: list[Row]
    comments: list[Mapping[str, object]]
    seen: Seen
    in_argilla: frozenset[str]
    unknown: int


def collect(
    config: Settings, files: VoteFiles, stored: StoredVotes, responses: Responses, forgotten: Collection[str]
) -> Collected:
    """Join the votes of earlier exports and those in Argilla, without those of people who are forgotten.

    Raises
    ------
    UserError
        The published table has votes that are not known here, or a file cannot be read.
    """
    table = config.root / "data" / "generations" / "train.parquet"
    now = votes.from_responses(responses, votes.read_key(files.key), table, stored.votes)
    files.require_known(stored.published, [*stored.votes, *stored.replaced, *now.votes], forgotten)
    new = votes.without(now.votes, forgotten)
    counted, replaced = votes.merge(votes.without(stored.votes, forgotten), new, responses.withdrawn)
    comments = votes.join_comments(votes.without(stored.comments, forgotten), new, now.comments)
    return Collected(
        votes.with_texts(counted, now.texts),
        [*votes.without(stored.replaced, forgotten), *replaced],
        comments,
        responses.seen,
        frozenset(vote["vote_id"] for vote in new),
        now.unknown,
    )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """What is going to be written: all that was collected, the votes to publish, the rows, the figures and the card."""

    collected: Collected
    votes: list[Row]
    rows: rows.Splits
    splits: Mapping[str, str]
    figures: Mapping[str, str]
    card: str

    @property
    def tables(self) -> dict[str, list[Row]]:
        """The rows by split; a split without rows is left out."""
        return {name: part for name, part in (("train", self.rows.train), ("test", self.rows.test)) if part}


def decide(config: Settings, output: Path, files: VoteFiles, collected: Collected, out: LeftOut) -> Dataset:
    """Make rows, figures and card of the votes on what is not left out; nothing is written.

    Raises
    ------
    UserError
        The card, or a file of an earlier export, cannot be read.
    """
    counted = out.without(collected.votes)
    in_use = outdated.prompts_in_use(config)
    known = splits.read_known(config, output / "kto", files.splits, in_use.texts, counted)
    parts = rows.make_splits(counted, config.export.test_fraction, config.export.seed, config.min_votes, known)
    numbers = figures(parts, counted, in_use, out)
    models = sorted({name for vote in counted for name in vote["generation_model"]})
    card = fill_card(config, numbers, models)
    return Dataset(collected, counted, parts, {**known.exported, **parts.by_prompt}, numbers, card)


def write(config: Settings, output: Path, files: VoteFiles, dataset: Dataset) -> None:
    """Write everything. What is private is whole before anything else is replaced: a run may end at any point.

    Raises
    ------
    UserError
        A file cannot be written.
    """
    of_project = output == config.root / "data"  # the project's card speaks of the project's data
    collected = dataset.collected
    files.write_private(collected.votes, collected.replaced, collected.comments)
    if collected.seen.dataset:
        deletions.remember(files.private, collected.seen)
    if of_project:
        splits.remember(files.splits, dataset.splits)
    if files.unsplit and (name := files.committed_as()):
        print(t("technical.votes_in_git", folder=name), file=sys.stderr)
    files.write_public(dataset.votes)
    for name in splits.NAMES:
        path = output / "kto" / f"{name}.parquet"
        if name in dataset.tables:
            write_rows(path, dataset.tables[name], rows.schema())
            continue
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError("cannot_write", path=path, reason=error) from None
    if of_project:
        write_text(card_path(config), dataset.card)


def report(config: Settings, output: Path, dataset: Dataset, *, asked_argilla: bool = True) -> None:
    """Print the figures, and what is worth a remark; raise `UserError` if there is no row to train on."""
    parts, collected = dataset.rows, dataset.collected
    if not parts.train:
        if parts.few:
            raise UserError("too_few_votes", count=parts.few, min_votes=config.min_votes)
        raise UserError("only_ties", count=parts.ties) if parts.ties else UserError("no_votes")
    for name, figure in dataset.figures.items():
        print(f"{t(name)}: {figure}")
    print(t("export.written", path=output / "kto"))
    lost = sum(vote["vote_id"] not in collected.in_argilla for vote in dataset.votes)
    if lost and asked_argilla:
        print(t("export.lost", count=lost), file=sys.stderr)
    if collected.unknown:
        print(t("technical.unknown_answers", count=collected.unknown), file=sys.stderr)
    if len({row["label"] for row in parts.train}) < 2:
        print(t("export.one_class"), file=sys.stderr)


def figures(parts: rows.Splits, counted: Sequence[Row], in_use: outdated.PromptsInUse, out: LeftOut) -> dict[str, str]:
    """Return the numbers of the dataset by the key of the text that names them."""
    every = [*parts.train, *parts.test]
    labels = [row["label"] for row in every]
    units: dict[str, list[bool]] = {}
    for vote in counted:
        units.setdefault(vote["record_id"], []).append(vote["vote"])
    alpha = krippendorff_alpha(units.values())
    old = sum(outdated.is_outdated(vote["prompt_id"], in_use) for vote in counted)
    return {
        "dataset_card.prompts": number(len({row["prompt_id"] for row in every})),
        "dataset_card.rows": f"{number(len(labels))} ({number(len(parts.train))} + {number(len(parts.test))})",
        "dataset_card.desirable": number(sum(labels)),
        "dataset_card.undesirable": number(len(labels) - sum(labels)),
        "dataset_card.ties": number(parts.ties),
        "dataset_card.few_votes": number(parts.few),
        "dataset_card.near_duplicates": number(len(parts.left_out)),
        "dataset_card.taken_out": number(len(out.lines)),
        "dataset_card.votes": number(len(counted)),
        "dataset_card.outdated_votes": number(old),
        "dataset_card.annotators": number(len({vote["annotator"] for vote in counted})),
        "dataset_card.agreement": t("dataset_card.no_agreement") if alpha is None else number(alpha, 2),
    }


# --- the card ---------------------------------------------------------------------------------------------------------


def card_path(config: Settings) -> Path:
    """Return the file of the dataset's card."""
    return texts.published(config.root, "dataset/README.md")


def read_card(config: Settings) -> str:
    """Return `dataset/README.md` as it is, or as it is made if there is none."""
    path = card_path(config)
    try:
        if path.exists():
            return cards.read(path)
        return fill_page(config.root / "kto" / "pages" / "dataset" / "README.md", texts.load(), values_of(config))
    except (OSError, TextsError) as error:
        raise UserError("bad_card", path=path, reason=error) from None


def fill_card(config: Settings, numbers: Mapping[str, str], models: Sequence[str]) -> str:
    """Return the dataset card with these numbers and models; what else people wrote into `dataset/README.md` stays."""
    lines = [f"| {t(name)} | {figure} |" for name, figure in numbers.items()]
    table = "\n".join(["| | |", "|---|---|", *lines, "", t("dataset_card.agreement_text")])
    direction = str(values_of(config)["direction"])
    page = read_card(config)
    try:
        page = fill_marked(page, "numbers", in_direction(table, direction))
        return fill_marked(page, "models", list_models(models, direction))
    except TextsError as error:
        raise UserError("bad_card", path=card_path(config), reason=error) from None
