"""The label of an answer: what its votes say by the rule of the dataset, and how that came about."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

MAJORITY, UNANIMOUS, CONFIDENCE = "majority", "unanimous", "confidence"
RULES = (MAJORITY, UNANIMOUS, CONFIDENCE)
Origin = Literal["majority", "third_vote", "lead"]
Reason = Literal["few", "tie", "not_unanimous", "unsure"]


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
