"""How sure a label is: its posterior under Dawid–Skene with two coins per person, a prior, and EM.

Each person has two coins: how often they say "good" of an answer that is good, and "bad" of one that is bad. EM finds
coins and labels together (A. P. Dawid and A. M. Skene, Applied Statistics 28, 1979, 20–28). Without a prior, two votes
per answer end in a wrong optimum: somebody who always disagrees may count as right.
"""

from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

import numpy as np

PRIOR = (15.0, 5.0)
"""Beta prior of each coin, in votes: everybody begins as somebody who was right 15 times and wrong 5 times."""
MIN_PEOPLE, MIN_OVERLAP = 3, 20
"""So many people need so many votes each on answers that others have voted on, or no confidence is given."""
_MAX_STEPS, _TOLERANCE = 1000, 1e-7  # the tolerance is that of a posterior
_SMALLEST = 1e-10  # of a probability, before its logarithm


class Estimate(NamedTuple):
    """What the votes together say about answers."""

    good: Mapping[Hashable, float]  # probability that an answer is good, by answer
    is_enough: bool  # whether there are enough overlapping votes to trust this

    def confidence(self, answer: Hashable, label: bool) -> float | None:
        """Return the probability that an answer's label is right, None if there are too few overlapping votes."""
        if not self.is_enough or answer not in self.good:
            return None
        return self.good[answer] if label else 1 - self.good[answer]


def estimate(votes: Iterable[tuple[Hashable, Hashable, bool]], prior: tuple[float, float] = PRIOR) -> Estimate:
    """Estimate answers from votes: (answer, person, is it good?), at most one per answer and person.

    `prior` is in votes: (right, wrong). The order of the votes does not matter.
    """
    answers: dict[Hashable, int] = {}
    persons: dict[Hashable, int] = {}
    rows = [
        (answers.setdefault(answer, len(answers)), persons.setdefault(person, len(persons)), is_good)
        for answer, person, is_good in votes
    ]
    if not rows:
        return Estimate({}, False)
    by_vote = np.array(rows)
    good, _, _ = fit(by_vote[:, 0], by_vote[:, 1], by_vote[:, 2], prior)
    return Estimate(dict(zip(answers, good.tolist(), strict=True)), is_enough(by_vote[:, 0], by_vote[:, 1]))


def is_enough(answers: np.ndarray, people: np.ndarray) -> bool:
    """Whether enough people have enough votes on answers that others have voted on, too; one item per vote."""
    overlapping = np.bincount(answers)[answers] > 1
    return int((np.bincount(people[overlapping]) >= MIN_OVERLAP).sum()) >= MIN_PEOPLE


def fit(
    answers: np.ndarray, people: np.ndarray, votes: np.ndarray, prior: tuple[float, float] = PRIOR
) -> tuple[np.ndarray, np.ndarray, float]:
    """Run EM on votes: the number of the answer, that of the person, and whether the vote is good, one item per vote.

    Returns the probability that each answer is good (an answer without votes has the share of good ones), the coins of
    each person (rows of right about good, right about bad), and the share of good answers.
    """
    right, wrong = prior
    count, persons, is_good = int(answers.max()) + 1, int(people.max()) + 1, votes.astype(float)
    voted = np.bincount(answers, minlength=count)
    posterior = np.bincount(answers, is_good, count) / np.maximum(voted, 1)  # begin with the share of good votes
    for _ in range(_MAX_STEPS):
        weight = posterior[answers]
        about_good = np.bincount(people, weight, persons)
        about_bad = np.bincount(people, 1 - weight, persons)
        good = (np.bincount(people, weight * is_good, persons) + right) / (about_good + right + wrong)
        bad = (np.bincount(people, (1 - weight) * (1 - is_good), persons) + right) / (about_bad + right + wrong)
        share = float(posterior[voted > 0].mean())
        says_good = _log(good) - _log(1 - bad)  # what a vote of this person adds to the log odds
        says_bad = _log(1 - good) - _log(bad)
        odds = np.bincount(answers, np.where(votes, says_good[people], says_bad[people]), count)
        before = posterior
        # Rounded, or noise of 1e-16 that depends on the order of the votes may decide where two solutions mirror
        # each other.
        posterior = np.round((1 + np.tanh((odds + _log(share) - _log(1 - share)) / 2)) / 2, 12)
        if np.abs(posterior - before).max() < _TOLERANCE:
            break
    return posterior, np.stack([good, bad], axis=1), share


def _log(probability: np.ndarray | float) -> np.ndarray:
    return np.log(np.maximum(probability, _SMALLEST))
