"""The steps of an export, shared by `export.py` and its commands: collect votes, decide about rows, write, report."""

import argparse
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kto import decisions
from kto.dataset import copies, labels, model_figures, publish, rows, undecided, votes
from kto.dataset.privacy import FOR_AGREEMENT, StoredVotes, VoteFiles, people_rows
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.settings import Settings
from kto.tables import Row, write_rows, write_text, writing
from kto.texts import number, t
from kto.vote import deletions, outdated
from kto.vote.overlap import overlap_of
from kto.vote.responses import Responses


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of all exports; projects of an earlier version use `--push`, which is a command now."""
    parser.add_argument("--output", type=Path, metavar="DIR", help=t("export.help_output"))
    parser.add_argument("--push", action="store_true", help=argparse.SUPPRESS)


class Collected(NamedTuple):
    """All votes: those of earlier exports, and those in Argilla; the first three are for `VoteFiles.write_private`."""

    votes: list[Row]
    replaced: list[Row]
    comments: list[Mapping[str, object]]
    people: list[dict[str, str]]  # as `privacy.people_rows` makes them
    responses: Responses  # what Argilla held; nothing has been seen if it was not asked
    unknown: int  # number of its votes on answers whose text is nowhere any more

    @property
    def left_out(self) -> set[str]:
        """The people whose votes do not count because the lead has said so."""
        return {row["annotator"] for row in self.people if row["left_out"]}


class Counted(NamedTuple):
    """The votes that count, and what they decide."""

    votes: list[Row]  # to publish, with `privacy.FOR_AGREEMENT`
    answers: labels.VotedAnswers
    flagged: int  # number of answers that are kept back until the lead has looked at them
    undecided: list[undecided.Undecided]


@dataclass(frozen=True)
class Dataset:
    """What is going to be written: everything collected, the votes that count, the rows, the figures and the card."""

    collected: Collected
    counted: Counted
    rows: rows.Splits
    splits: Mapping[str, str]
    figures: Mapping[str, str]
    models: model_figures.Table
    card: str

    @property
    def votes(self) -> list[Row]:
        """The votes to publish."""
        return self.counted.votes

    @property
    def tables(self) -> dict[str, list[Row]]:
        """The rows by split, without a split that has none."""
        return {name: part for name in rows.SPLITS if (part := getattr(self.rows, name))}


class Export:
    """One export, from the votes to files in `output` (default: `data` in the project) and, with `push`, to the Hub.

    Raises `UserError` if a push lacks something, or if the votes of an earlier export cannot be read.
    """

    def __init__(self, config: Settings, output: Path | None, push: bool) -> None:
        self.config = config
        self.output = (output or config.root / "data").resolve()
        self.push = push
        if push:
            publish.require_ready(config)
        self.files = VoteFiles(self.output / "votes", config.root / "data" / "private")
        self.stored: StoredVotes = self.files.read()
        self.forgotten = self.files.read_forgotten()

    def collect(self, responses: Responses) -> Collected:
        """Join the votes of earlier exports and those in Argilla, without those of people who are forgotten.

        Raises `UserError` if the published table has votes that are not known here.
        """
        stored = self.stored
        texts: dict[str, votes.Text] = {}
        earlier = {vote["record_id"]: votes.Text(vote["prompt"], vote["completion"]) for vote in stored.votes}
        if responses.seen.dataset:
            table = self.config.root / "data" / "generations" / "train.parquet"
            texts = votes.find_texts(table, responses.answered | earlier.keys())
        key = self.files.read_key()
        now, comments = votes.from_responses(responses.submitted, earlier | texts, key)
        # Who has taken the votes back on the voting page is treated like somebody who has asked the lead for it.
        self.forgotten |= {votes.pseudonym(key, person.name) for person in responses.people if person.withdrawn}
        known = {votes.pseudonym(key, person.name) for person in responses.people}
        people = [*people_rows(responses.people, key), *_without(stored.people, known)]
        self.files.require_known(stored.published, [*stored.votes, *stored.replaced, *now], self.forgotten)
        new = _without(now, self.forgotten)
        counted, replaced = votes.merge(_without(stored.votes, self.forgotten), new, responses.withdrawn)
        return Collected(
            [vote | texts[vote["record_id"]]._asdict() if vote["record_id"] in texts else vote for vote in counted],
            [*_without(stored.replaced, self.forgotten), *replaced],
            votes.join_comments(_without(stored.comments, self.forgotten), new, comments),
            _without(people, self.forgotten),
            responses,
            len(responses.submitted) - len(now),
        )

    def count(self, collected: Collected, out: LeftOut, in_use: outdated.PromptsInUse) -> Counted:
        """Let the votes on everything that is not left out decide, by the rule of the settings; nothing is written.

        Nobody counts an answer that somebody has flagged until the lead has looked at it.
        """
        all_votes = [vote for vote in _without(collected.votes, collected.left_out) if not out.has_vote(vote)]
        lead = decisions.read(self.config.root)
        overlap = overlap_of(self.config.annotation)
        flags = labels.flags_on(all_votes, overlap.flags)
        flags = {id: names for id, names in flags.items() if id not in lead.looked_at}
        rule = labels.rule_of(self.config)
        kept = [vote for vote in all_votes if vote["record_id"] not in flags]
        answers = labels.decide_all(kept, rule, lead.labels)
        flagged = labels.decide_all([vote for vote in all_votes if vote["record_id"] in flags], rule)
        can_ask = overlap._replace(asks_third=overlap.asks_third and collected.responses.asks_third)
        waiting = undecided.find(flagged, flags, answers, can_ask, in_use)
        marks = labels.for_agreement(kept, overlap)
        marked = [vote | {FOR_AGREEMENT: mark} for vote, mark in zip(kept, marks, strict=True)]
        if rule.name == labels.UNANIMOUS:  # nobody decides a tie there
            waiting = [item._replace(is_tie=False) for item in waiting if item.flags]
        return Counted(marked, answers, len(flags), waiting)

    def decide(self, collected: Collected, out: LeftOut) -> Dataset:
        """Make rows, figures and card of the votes on everything that is not left out; nothing is written."""
        in_use = outdated.prompts_in_use(self.config)
        counted = self.count(collected, out, in_use)
        known = rows.read_known(self.config, self.output / "kto", self.files.splits, in_use.texts, counted.votes)
        settings = self.config.export
        parts = rows.make_splits(counted.answers, settings.test_fraction, settings.seed, known)
        numbers = figures(parts, counted, in_use, out)
        models = model_figures.Table.of(counted.votes, self.config)
        card = publish.fill_card(self.config, numbers, models, credits_of(collected.people, counted.votes))
        return Dataset(collected, counted, parts, {**known.exported, **parts.by_prompt}, numbers, models, card)

    def write(self, dataset: Dataset) -> None:
        """Write everything, what is private first: a run may end at any point."""
        # The project's card and splits are those of the project's own data.
        of_project = self.output == (self.config.root / "data").resolve()
        collected = dataset.collected
        self._forget(self.forgotten - self.files.read_forgotten())
        self.files.write_people(collected.people)
        self.files.write_private(collected.votes, collected.replaced, collected.comments)
        if collected.responses.seen.dataset:
            deletions.remember(self.files.private, collected.responses.seen)
        if of_project:
            rows.write_splits(self.files.splits, dataset.splits)
        self.files.write_public(dataset.votes)
        for name in rows.SPLITS:
            path = self.output / "kto" / f"{name}.parquet"
            if name in dataset.tables:
                write_rows(path, dataset.tables[name], rows.schema())
            elif path.exists():
                with writing(path):
                    path.unlink()
        if of_project:
            write_text(publish.card_path(self.config), dataset.card)

    def _forget(self, new: Collection[str]) -> None:
        """Remember who has taken the votes back on the voting page, and say so where an export has had some of them."""
        if not new:
            return
        self.files.write_forgotten(self.forgotten)
        exported = {row["annotator"] for row in [*self.stored.votes, *self.stored.replaced]} & {*new}
        for name in sorted(exported):
            print(t("export.forgotten", name=name, path=self.files.forgotten))
        if exported:
            copies.name_copies(self.config, ["data/votes"], {"export.py push": ""})

    def report(self, dataset: Dataset) -> None:
        """Print the figures and warnings; raise `UserError` if there is no row to train on."""
        parts, collected = dataset.rows, dataset.collected
        self._require_rows(dataset)
        for name, figure in dataset.figures.items():
            print(f"{t(name)}: {figure}")
        print(dataset.models.in_terminal())
        if out := len(collected.votes) - len(_without(collected.votes, collected.left_out)):
            print(t("invite.votes_out", count=out))
        print(t("export.written", path=self.output / "kto"))
        in_argilla = {response.id for response in collected.responses.submitted}
        lost = sum(vote["vote_id"] not in in_argilla for vote in dataset.votes)
        if lost and collected.responses.seen.dataset:
            print(t("export.lost", count=lost), file=sys.stderr)
        if collected.unknown:
            print(t("technical.unknown_answers", count=collected.unknown), file=sys.stderr)
        if len({row["label"] for row in parts.train}) < 2:
            print(t("export.one_class"), file=sys.stderr)
        _say_what_waits(dataset)

    def _require_rows(self, dataset: Dataset) -> None:
        """Raise `UserError` if there is no row to train on, or if the rule needs more votes than there are."""
        from kto.dataset.confidence import MIN_OVERLAP, MIN_PEOPLE

        without, settings = dataset.rows.without, self.config.export
        if settings.rule == labels.CONFIDENCE and without["unsure"] and not dataset.counted.answers.has_confidence:
            raise UserError("technical.too_few_for_confidence", people=MIN_PEOPLE, votes=MIN_OVERLAP)
        if dataset.rows.train:
            return
        _say_what_waits(dataset)
        if without["few"]:
            raise UserError("too_few_votes", count=without["few"], min_votes=self.config.min_votes)
        if without["tie"]:
            raise UserError("only_ties", count=without["tie"])
        if without["not_unanimous"]:
            raise UserError("technical.none_unanimous", count=without["not_unanimous"])
        if without["unsure"]:
            raise UserError(
                "technical.none_sure", count=without["unsure"], confidence=number(settings.min_confidence, 2)
            )
        if dataset.counted.flagged:
            raise UserError("technical.only_flagged", count=dataset.counted.flagged)
        raise UserError("no_votes")

    def publish(self, dataset: Dataset) -> None:
        """Send the dataset to the Hub, if this export is to do that."""
        if self.push:
            publish.push(self.config, dataset.tables, dataset.votes, dataset.card)


def _say_what_waits(dataset: Dataset) -> None:
    """Tell the lead how many answers nobody else decides about."""
    if count := sum(not item.is_asked for item in dataset.counted.undecided):
        print(t("ties.waiting", count=count))


def _without(table: Iterable[Row], people: Collection[str]) -> list[Row]:
    return [row for row in table if row["annotator"] not in people]


def credits_of(people: Sequence[Mapping[str, str]], counted: Sequence[Row]) -> list[str]:
    """Return the names of people who want to be named and have a vote that counts."""
    voters = {vote["annotator"] for vote in counted}
    names = {row["credit"] for row in people if row["credit"] and not row["left_out"] and row["annotator"] in voters}
    return sorted(names, key=lambda name: (name.casefold(), name))


def figures(parts: rows.Splits, counted: Counted, in_use: outdated.PromptsInUse, out: LeftOut) -> dict[str, str]:
    """Return the figures of the dataset by the key of the text that names them."""
    from kto.dataset.agreement import agreement  # --help needs no numpy

    every = [*parts.train, *parts.test]
    desirable = sum(row["label"] for row in every)
    origins = [row["label_from"] for row in every]
    share = {}
    if by_open_link := sum(vote["open_link"] for vote in counted.votes):
        percent = number(100 * by_open_link / len(counted.votes))
        share["dataset_card.open_link_votes"] = f"{number(by_open_link)} ({percent} %)"
    outdated_votes = sum(outdated.is_outdated(vote["prompt_id"], in_use) for vote in counted.votes)
    measured = labels.by_record(vote for vote in counted.votes if vote[FOR_AGREEMENT])
    alpha, ac1 = agreement([[vote["vote"] for vote in own] for own in measured.values()])
    return {
        "dataset_card.prompts": number(len({row["prompt_id"] for row in every})),
        "dataset_card.rows": f"{number(len(every))} ({number(len(parts.train))} + {number(len(parts.test))})",
        "dataset_card.desirable": number(desirable),
        "dataset_card.undesirable": number(len(every) - desirable),
        **_if_any("dataset_card.third_votes", origins.count("third_vote")),
        **_if_any("dataset_card.by_lead", origins.count("lead")),
        "dataset_card.ties": number(parts.without["tie"]),
        **_if_any("dataset_card.not_unanimous", parts.without["not_unanimous"]),
        **_if_any("dataset_card.unsure", parts.without["unsure"]),
        **_if_any("dataset_card.flagged", counted.flagged),
        "dataset_card.few_votes": number(parts.without["few"]),
        "dataset_card.near_duplicates": number(len(parts.left_out)),
        "dataset_card.taken_out": number(len(out.lines)),
        "dataset_card.votes": number(len(counted.votes)),
        "dataset_card.outdated_votes": number(outdated_votes),
        **share,
        "dataset_card.annotators": number(len({vote["annotator"] for vote in counted.votes})),
        "dataset_card.agreement": _with_interval(alpha),
        "dataset_card.agreement_ac1": _with_interval(ac1),
    }


def _if_any(key: str, count: int) -> dict[str, str]:
    """Return a figure that is rare, nothing if it is 0."""
    return {key: number(count)} if count else {}


def _with_interval(figure: tuple[float | None, ...]) -> str:
    if None in figure:
        return t("dataset_card.no_agreement")
    value, low, high = (number(part, 2) for part in figure if part is not None)
    return t("dataset_card.interval", value=value, low=low, high=high)
