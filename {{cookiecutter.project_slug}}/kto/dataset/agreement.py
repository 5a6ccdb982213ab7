"""Agreement beyond chance: Krippendorff's α and Gwet's AC1, any number of votes per answer, with an interval.

K. Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section D: α = 1 − D_o / D_e over the coincidences
of pairable values. K. L. Gwet, "Computing inter-rater reliability and its variance in the presence of high agreement",
British Journal of Mathematical and Statistical Psychology 61, 2008, 29–48: AC1 = (p_a − p_e) / (1 − p_e), where p_e is
the chance that two agree by guessing on a hard answer; where nearly all votes are the same, α says little, AC1 more.

A third vote that is asked for where two differ would make both too good, so it does not count: `counts_for_agreement`.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

import numpy as np

Units = Iterable[Iterable[Hashable]]
_REPEATS, _SEED = 2000, 0  # of the bootstrap


class Agreement(NamedTuple):
    """A figure and its 95 % interval over answers; all None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None


def counts_for_agreement(votes: int, is_measured: bool, first: int = 2) -> list[bool]:
    """Return for each vote on an answer, in the order in which they were cast, whether it counts for agreement.

    Those are the `first` ones; all of them on an answer of the measured share, which was drawn before anybody voted.
    """
    return [is_measured or index < first for index in range(votes)]


def agreement(units: Units, categories: int = 2) -> tuple[Agreement, Agreement]:
    """Return α and AC1 for nominal values, `categories` of them possible: 1 is full agreement, 0 what chance gives.

    `units` has for each answer the values that people gave it. One with a single value counts for how frequent the
    values are in AC1, and for nothing else. Without an answer with two, both are undefined; where all values are the
    same, AC1 is 1 and α undefined. The intervals are the middle 95 % of 2,000 bootstrap samples of the answers, with a
    fixed seed; samples for which a figure is undefined do not count.
    """
    table = _Table(units)
    return table.figure(table.alpha), table.figure(lambda times: table.ac1(times, categories))


class _Table:
    """The answers, counted by the values that they got: most are like many others, so this table is small.

    Figures are computed from `times`, how often each kind of answer occurs: one row per sample.
    """

    def __init__(self, units: Units) -> None:
        found = Counter(frozenset(Counter(unit).items()) for unit in units)
        found.pop(frozenset(), None)
        kinds = sorted(found, key=lambda kind: sorted(map(repr, kind)))  # else samples would depend on the order
        values = sorted({value for kind in kinds for value, _ in kind}, key=repr)
        self.counts = np.array([[dict(kind).get(value, 0) for value in values] for kind in kinds], float)
        self.counts = self.counts.reshape(len(kinds), len(values))  # also if there are none
        self.times = np.array([found[kind] for kind in kinds], float)
        self.votes = self.counts.sum(axis=1)
        self.is_pair = self.votes >= 2

    def alpha(self, times: np.ndarray) -> np.ndarray:
        counts, votes, times = self.counts[self.is_pair], self.votes[self.is_pair], times[:, self.is_pair]
        pairs = (votes**2 - (counts**2).sum(axis=1)) / (votes - 1)  # of different values within an answer
        n = times @ votes
        expected = n**2 - ((times @ counts) ** 2).sum(axis=1)  # pairs of different values, ignoring answers
        return 1 - _divide((n - 1) * (times @ pairs), expected)

    def ac1(self, times: np.ndarray, categories: int) -> np.ndarray:
        counts, votes = self.counts[self.is_pair], self.votes[self.is_pair]
        agreeing = (counts * (counts - 1)).sum(axis=1) / (votes * (votes - 1))
        observed = _divide(times[:, self.is_pair] @ agreeing, times[:, self.is_pair].sum(axis=1))
        shares = self.counts / self.votes[:, None]
        frequent = _divide(times @ shares, times.sum(axis=1)[:, None])
        chance = (frequent * (1 - frequent)).sum(axis=1) / (categories - 1)
        return _divide(observed - chance, 1 - chance)

    def figure(self, statistic: Callable[[np.ndarray], np.ndarray]) -> Agreement:
        value = float(statistic(self.times[None])[0])
        if np.isnan(value):
            return Agreement(None, None, None)
        total = int(self.times.sum())
        samples = np.random.default_rng(_SEED).multinomial(total, self.times / total, _REPEATS).astype(float)
        found = statistic(samples)
        low, high = np.percentile(found[~np.isnan(found)], [2.5, 97.5]).tolist()
        return Agreement(value, low, high)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Divide; what is divided by nothing is not a number."""
    below = np.broadcast_to(below, above.shape)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)
