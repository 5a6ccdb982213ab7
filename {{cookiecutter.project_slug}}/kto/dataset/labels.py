"""The rule: the label that the votes give an answer, or why they give it none. The lead decides ties."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from kto.settings import Settings
from kto.vote.overlap import Overlap

MAJORITY, UNANIMOUS, CONFIDENCE = "majority", "unanimous", "confidence"
RULES = (MAJORITY, UNANIMOUS, CONFIDENCE)
Origin = Literal["majority", "third_vote", "lead"]
Reason = Literal["few", "tie", "not_unanimous", "unsure"]
Vote = Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """When an answer gets a label.

    `majority`: more votes say so than not. `unanimous`: all votes say so. `confidence`: the majority says so, and its
    posterior is at least `min_confidence`.
    """

    name: str = MAJORITY
    min_votes: int = 2
    min_confidence: float = 0.8
    overlap: int = 2
    """Votes that every answer gets; later ones are cast where these are tied, or to measure agreement."""


def rule_of(config: Settings) -> Rule:
    """Return the rule of the project's dataset."""
    settings = config.export
    return Rule(settings.rule, config.min_votes, settings.min_confidence, config.annotation.min_submitted)


class Decision(NamedTuple):
    """The label of an answer, or why it has none."""

    label: bool | None
    origin: Origin | Reason


def decide(votes: Sequence[bool], rule: Rule, good: float | None = None, lead: bool | None = None) -> Decision:
    """Return the label of an answer by a rule.

    Parameters
    ----------
    votes
        In the order in which they were cast.
    good
        The posterior probability that the answer is good, for the rule `confidence`; None if it is not known.
    lead
        What the lead has decided about a tie. It counts for any number of votes, but not under `unanimous`.
    """
    if lead is not None and rule.name != UNANIMOUS:
        return Decision(lead, "lead")
    up, count = sum(votes), len(votes)
    if count < rule.min_votes or not count:
        return Decision(None, "few")
    if 2 * up == count:
        return Decision(None, "tie")
    label = 2 * up > count
    if rule.name == UNANIMOUS and 0 < up < count:
        return Decision(None, "not_unanimous")
    if rule.name == CONFIDENCE and (good is None or (good if label else 1 - good) < rule.min_confidence):
        return Decision(None, "unsure")
    first = votes[: rule.overlap]
    return Decision(label, "third_vote" if 2 * sum(first) == len(first) < count else "majority")


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
    found: dict[str, list[Vote]] = {}
    for vote in votes:
        found.setdefault(vote["record_id"], []).append(vote)
    return found


def decide_all(votes: Iterable[Vote], rule: Rule, lead: Mapping[str, bool] | None = None) -> VotedAnswers:
    """Return what votes, in the order in which they were cast, decide; `lead` has the lead's labels by record id."""
    from kto.dataset import confidence  # --help needs no numpy

    votes = list(votes)
    estimate = confidence.estimate((vote["record_id"], vote["annotator"], vote["vote"]) for vote in votes)
    answers: dict[str, VotedAnswer] = {}
    for id, own in by_record(votes).items():
        good = estimate.confidence(id, True)
        label, origin = decide([vote["vote"] for vote in own], rule, good, (lead or {}).get(id))
        answers[id] = VotedAnswer(own, label, origin, None if label is None else estimate.confidence(id, label))
    return VotedAnswers(answers, estimate.is_enough)


def for_agreement(votes: Sequence[Vote], overlap: Overlap) -> list[bool]:
    """Return for each vote, in the order in which they were cast, whether agreement is computed from it."""
    from kto.dataset.agreement import counts_for_agreement

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
