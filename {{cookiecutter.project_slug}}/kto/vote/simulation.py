"""Made-up communities vote on answers whose truth is known: what a way of voting and a rule give for so many votes.

The communities are invented, not measured: what differs between two rows of a table says more than the rows do.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from kto.dataset import confidence
from kto.dataset.labels import CONFIDENCE, UNANIMOUS, Rule

_HARD = 0.3  # on a hard answer, this part is left of the difference that its truth makes to a vote
_ANSWERS = 20_000  # simulated in all, so that figures stand within half a point

Person = tuple[float, float]
"""How often a person says "good" of a good answer and of a bad one."""


@dataclass(frozen=True)
class Community:
    """People, and the share of answers that are hard to judge."""

    people: Sequence[Person]  # the best first
    hard: float = 0.0
    good: float = 0.5  # share of good answers

    def __len__(self) -> int:
        return len(self.people)


def _honest(*right: float) -> list[Person]:
    return [(share, 1 - share) for share in right]


SPAMMER: Person = (0.5, 0.5)
CLICKER: Person = (0.9, 0.9)
"""Somebody who says "good" nearly always."""
CAREFUL = Community(_honest(*np.linspace(0.95, 0.8, 8).tolist()))
MIXED = Community(
    [*_honest(0.95, 0.95, 0.9, 0.9, 0.85, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55), SPAMMER, CLICKER],
)
HARD = Community(CAREFUL.people, hard=0.3)
COMMUNITIES = {"careful": CAREFUL, "mixed": MIXED, "hard": HARD}


@dataclass(frozen=True)
class Scheme:
    """A way of voting: so many votes for every answer, one more where they differ or not, and a rule for labels."""

    first: int = 2
    third: bool = True
    rule: Rule = Rule()  # noqa: RUF009 - it is frozen


SCHEMES = {
    "two": Scheme(third=False, rule=Rule(UNANIMOUS)),
    "third": Scheme(),
    "confidence": Scheme(rule=Rule(CONFIDENCE)),
    "three": Scheme(first=3, third=False),
    "single": Scheme(first=1, third=False, rule=Rule(min_votes=1)),
}


class Outcome(NamedTuple):
    """What a scheme gives, on average."""

    votes: float  # per answer
    kept: float  # share of the answers that become rows
    accuracy: float  # share of the rows with the right label
    worth: float  # per answer: kept × (2 × accuracy − 1)², as if so many labels were certain
    weighted: float  # the same where training weights each row by its confidence: mean of (2 × confidence − 1)²


class Votes(NamedTuple):
    """Votes of one run: a column for the first vote on an answer, one for the second, …"""

    truth: np.ndarray  # of each answer
    people: np.ndarray
    good: np.ndarray
    cast: np.ndarray  # whether there is such a vote


def cast_votes(community: Community, answers: int, scheme: Scheme, seed: int, people: int | None = None) -> Votes:
    """Let different people, drawn at random, vote on each answer.

    With `people` the community has that many, spread evenly over its members, the best first; at least as many as
    there are votes on an answer.
    """
    chance = np.random.default_rng(seed)
    count = people or len(community)
    persons = (np.arange(count) + 0.5) * len(community) // count
    most = scheme.first + scheme.third
    who = np.argpartition(chance.random((answers, count)), most - 1, axis=1)[:, :most]
    who = chance.permuted(who, axis=1)
    truth = chance.random(answers) < community.good
    chances = np.array(community.people)[persons.astype(int)[who]]
    says_good = np.where(truth[:, None], chances[..., 0], chances[..., 1])
    usual = chances.mean(axis=-1)
    is_hard = chance.random((answers, 1)) < community.hard
    says_good = np.where(is_hard, usual + _HARD * (says_good - usual), says_good)
    good = chance.random(who.shape) < says_good
    cast = np.ones_like(good)
    if scheme.third:
        cast[:, -1] = 2 * good[:, :-1].sum(axis=1) == scheme.first
    return Votes(truth, who, good, cast)


def labels(votes: Votes, rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each answer its label, whether it gets one, and the confidence in it (0.5 where that is not known).

    It is `kto.dataset.labels.decide` for all answers at once.
    """
    up, count = (votes.good & votes.cast).sum(axis=1), votes.cast.sum(axis=1)
    label = 2 * up > count
    kept = (2 * up != count) & (count >= rule.min_votes)
    sure = np.full(len(label), 0.5)
    answers, columns = np.nonzero(votes.cast)
    people = votes.people[answers, columns]
    known = confidence.is_enough(answers, people)
    if known:
        good, _, _ = confidence.fit(answers, people, votes.good[answers, columns])
        sure = np.where(label, good, 1 - good)
    if rule.name == UNANIMOUS:
        kept &= (up == 0) | (up == count)
    if rule.name == CONFIDENCE:
        kept &= known & (sure >= rule.min_confidence)
    return label, kept, sure


def simulate(
    community: Community, answers: int, scheme: Scheme, people: int | None = None, runs: int | None = None
) -> Outcome:
    """Return what a scheme gives, averaged over `runs` (default: until 20,000 answers are simulated); always the same.

    The accuracy is not a number if nothing is kept.
    """
    runs = runs or max(3, round(_ANSWERS / answers))
    cast = rows = right = 0
    weighted = 0.0
    for seed in range(runs):
        votes = cast_votes(community, answers, scheme, seed, people)
        label, kept, sure = labels(votes, scheme.rule)
        cast += int(votes.cast.sum())
        rows += int(kept.sum())
        right += int((label == votes.truth)[kept].sum())
        weighted += float(((2 * sure - 1) ** 2)[kept].sum())
    total = answers * runs
    accuracy = right / rows if rows else float("nan")
    worth = rows / total * (2 * accuracy - 1) ** 2 if rows else 0.0
    return Outcome(cast / total, rows / total, accuracy, worth, weighted / total)
