"""The answers that people have voted on, and what the votes decide about each by the rule of the dataset."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kto.dataset import confidence
from kto.dataset.agreement import counts_for_agreement
from kto.dataset.labels import Origin, Reason, Rule, decide
from kto.settings import Settings
from kto.tables import Row
from kto.vote.overlap import Overlap

Vote = Mapping[str, Any]


class VotedAnswer(NamedTuple):
    """An answer with votes: its label and where that comes from, or None and the reason why it has no label."""

    votes: Sequence[Vote]  # in the order in which they were cast
    label: bool | None
    origin: Origin | Reason
    confidence: float | None  # probability that the label is right; None without a label, or if too few votes overlap

    @property
    def up(self) -> int:
        """The number of thumbs up."""
        return sum(vote["vote"] for vote in self.votes)


@dataclass(frozen=True)
class VotedAnswers:
    """All answers with votes, by record id."""

    by_id: Mapping[str, VotedAnswer]
    has_confidence: bool = False  # whether enough votes overlap for that


def by_record(votes: Iterable[Vote]) -> dict[str, list[Vote]]:
    """Return the votes on each answer, in the given order."""
    found: defaultdict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        found[vote["record_id"]].append(vote)
    return dict(found)


def decide_all(votes: Iterable[Vote], rule: Rule, lead: Mapping[str, bool] | None = None) -> VotedAnswers:
    """Return what votes, in the order in which they were cast, decide; `lead` has the lead's labels by record id."""
    votes = list(votes)
    estimate = confidence.estimate((vote["record_id"], vote["annotator"], vote["vote"]) for vote in votes)
    answers: dict[str, VotedAnswer] = {}
    for id, own in by_record(votes).items():
        good = estimate.confidence(id, True)
        label, origin = decide([vote["vote"] for vote in own], rule, good, (lead or {}).get(id))
        answers[id] = VotedAnswer(own, label, origin, None if label is None else estimate.confidence(id, label))
    return VotedAnswers(answers, estimate.is_enough)


def rule_of(config: Settings) -> Rule:
    """Return the rule of the project's dataset."""
    settings = config.export
    return Rule(settings.rule, config.min_votes, settings.min_confidence, config.annotation.min_submitted)


def for_agreement(votes: Sequence[Row], overlap: Overlap) -> list[bool]:
    """Return for each vote, in the order in which they were cast, whether agreement is computed from it."""
    if not overlap.asks_third:
        return [True] * len(votes)
    marks = {
        id: iter(counts_for_agreement(len(own), overlap.is_measured(id), overlap.votes))
        for id, own in by_record(votes).items()
    }
    return [next(marks[vote["record_id"]]) for vote in votes]


def flags_on(votes: Iterable[Vote], flags: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return the flags that people have put on answers, by record id; answers without one are not among them."""
    found = {id: {name for vote in own for name in vote["reasons"]} for id, own in by_record(votes).items()}
    return {id: tuple(flag for flag in flags if flag in names) for id, names in found.items() if names & {*flags}}
