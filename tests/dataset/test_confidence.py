"""Confidence: against crowd-kit, and what must hold for any votes."""

import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rendering import TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.confidence import PRIOR, estimate, fit
from kto.vote.simulation import MIXED, Scheme, cast_votes

NO_PRIOR = (1e-9, 1e-9)

Votes = list[tuple[str, str, bool]]


class Coins(NamedTuple):
    """How often a person is right about good and about bad answers, 0 … 1."""

    good: float
    bad: float


def people_in(votes: Sequence[tuple], prior: tuple[float, float] = PRIOR) -> tuple[dict[str, Coins], float]:
    """Return the estimated coins of each person, and the estimated share of good answers."""
    if not votes:
        return {}, 0.5
    answers, people, good = zip(*votes, strict=True)
    order = [{name: index for index, name in enumerate(dict.fromkeys(names))} for names in (answers, people)]
    numbers = [[order[0][name] for name in answers], [order[1][name] for name in people]]
    _, coins, share = fit(np.array(numbers[0]), np.array(numbers[1]), np.array(good), prior)
    return {name: Coins(*pair) for name, pair in zip(dict.fromkeys(people), coins.tolist(), strict=True)}, share


def community(
    seed: int, people: int = 8, answers: int = 60, each: int = 3, low: float = 0.6, high: float = 0.95
) -> Votes:
    chance = random.Random(seed)
    right = [chance.uniform(low, high) for _ in range(people)]
    votes = []
    for answer in range(answers):
        truth = chance.random() < 0.6
        for person in chance.sample(range(people), chance.randint(2, each)):
            votes.append((f"a{answer}", f"p{person}", truth if chance.random() < right[person] else not truth))
    return votes


COMMUNITIES = st.builds(
    community,
    seed=st.integers(0, 10**6),
    people=st.integers(3, 12),
    answers=st.integers(20, 80),
    each=st.integers(2, 3),
    low=st.just(0.55),
)


# --- the same as crowd-kit ---


def with_crowd_kit(votes: Votes, prior: tuple[float, float], steps: int) -> dict[str, float]:
    """crowd-kit's posteriors. It has a prior for the first step alone, so here its own function adds it in each."""
    from crowdkit.aggregation import DawidSkene  # it takes seconds, as it imports nltk, too

    people = sorted({person for _, person, _ in votes})
    index = pd.MultiIndex.from_product([people, [False, True]], names=["worker", "label"])
    table = [[*prior] if said is False else [*reversed(prior)] for _ in people for said in (False, True)]
    counts = pd.DataFrame(table, index=index, columns=[False, True], dtype=float)

    class WithPrior(DawidSkene):
        @staticmethod
        def _m_step(data: pd.DataFrame, probas: pd.DataFrame, *others: object) -> pd.DataFrame:
            return DawidSkene._m_step(data, probas, counts, "addition")

    data = pd.DataFrame(votes, columns=["task", "worker", "label"])
    model = WithPrior(n_iter=steps, tol=-np.inf).fit(data)
    assert model.probas_ is not None
    return model.probas_[True].to_dict()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # crowd-kit's, of pandas
@pytest.mark.parametrize("seed", range(2))
def test_as_crowd_kit_with_the_same_prior(seed: int) -> None:
    votes = community(seed)
    found = estimate(votes)
    assert with_crowd_kit(votes, PRIOR, 120) == pytest.approx(dict(found.good), abs=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # crowd-kit's, of pandas
@pytest.mark.parametrize("seed", range(2))
def test_as_crowd_kit_without_a_prior(seed: int) -> None:
    """Five votes on each answer: with two, both end in a wrong optimum, and slowly."""
    votes = community(seed, answers=120, people=6, each=6, low=0.7)
    found = estimate(votes, NO_PRIOR)
    assert with_crowd_kit(votes, (0, 0), 120) == pytest.approx(dict(found.good), abs=1e-3)


# --- when there is one ---


def test_no_confidence_without_three_people_who_overlap_enough() -> None:
    def votes(people: int, shared: int) -> Votes:
        return [(f"a{answer}", f"p{person}", answer % 3 > 0) for person in range(people) for answer in range(shared)]

    single = [(f"only {person} {index}", f"p{person}", True) for person in range(3) for index in range(30)]
    assert not estimate([]).is_enough and estimate([]).confidence("a", True) is None
    assert not estimate(votes(2, 50)).is_enough
    assert not estimate(votes(3, 19) + single).is_enough
    enough = estimate(votes(3, 20))
    assert enough.is_enough and enough.confidence("elsewhere", True) is None
    sure = enough.confidence("a1", True)
    assert sure is not None and sure > 0.9 and enough.confidence("a1", False) == pytest.approx(1 - sure)


def test_somebody_who_is_often_wrong_counts_less() -> None:
    votes = community(5, people=12, answers=900, low=0.55)
    people, _ = people_in(votes)
    chance = random.Random(5)  # as in `community`
    right = {f"p{person}": chance.uniform(0.55, 0.95) for person in range(12)}
    ordered = sorted(right, key=right.__getitem__)
    worst, best = (np.mean([sum(people[name]) / 2 for name in part]) for part in (ordered[:4], ordered[-4:]))
    assert best - worst > 0.1


@pytest.mark.parametrize("seed", range(4))
def test_confidence_is_calibrated(seed: int) -> None:
    """Of the labels with a confidence of about 0.9, about 90 % are right."""
    chance = random.Random(seed)
    right = [chance.uniform(0.6, 0.95) for _ in range(15)]
    truth = {f"a{answer}": chance.random() < 0.5 for answer in range(3000)}
    votes = [
        (answer, f"p{person}", good if chance.random() < right[person] else not good)
        for answer, good in truth.items()
        for person in chance.sample(range(15), 3)
    ]
    found = estimate(votes)
    sure = np.array([max(good, 1 - good) for good in found.good.values()])
    is_right = np.array([(good > 0.5) == truth[str(answer)] for answer, good in found.good.items()])
    for low, high in ((0.5, 0.8), (0.8, 0.95), (0.95, 1)):
        part = (sure >= low) & (sure < high)
        assert is_right[part].mean() == pytest.approx(sure[part].mean(), abs=0.05)


def test_two_votes_do_not_end_in_a_wrong_optimum() -> None:
    """Without a prior, two votes on few answers may do that: most labels are then wrong, and with great confidence."""
    found: dict[tuple[float, float], list[tuple[float, float]]] = {PRIOR: [], NO_PRIOR: []}
    for seed in range(30):
        votes = cast_votes(replace(MIXED, good=0.8), 100, Scheme(third=False), seed)
        answers, columns = np.nonzero(votes.cast)
        for prior, results in found.items():
            good, _, _ = fit(answers, votes.people[answers, columns], votes.good[answers, columns], prior)
            sure = np.where(votes.truth, good, 1 - good)  # of the truth
            results.append(((sure > 0.5).mean(), -np.log(np.maximum(sure, 1e-4)).mean()))
    (accuracy, loss), (accuracy_without, loss_without) = (np.transpose(results) for results in found.values())
    assert accuracy.min() > 0.75 and accuracy_without.min() < 0.5
    assert loss.mean() < loss_without.mean() / 2


# --- what must hold ---


@settings(deadline=None)
@given(COMMUNITIES, st.randoms())
def test_order_and_names_do_not_matter(votes: Votes, chance: random.Random) -> None:
    answers = [f"b{index}" for index in range(len({answer for answer, _, _ in votes}))]
    names = dict(
        zip(dict.fromkeys(answer for answer, _, _ in votes), chance.sample(answers, len(answers)), strict=True)
    )
    other = [(names[answer], person[::-1], good) for answer, person, good in chance.sample(votes, len(votes))]
    before, after = estimate(votes), estimate(other)
    assert before.is_enough == after.is_enough
    assert {names[str(answer)]: good for answer, good in before.good.items()} == pytest.approx(
        dict(after.good), abs=1e-5
    )


@settings(deadline=None)
@given(COMMUNITIES)
def test_swapping_good_and_bad_mirrors_it(votes: Votes) -> None:
    before, after = estimate(votes), estimate([(answer, person, not good) for answer, person, good in votes])
    assert {answer: 1 - good for answer, good in before.good.items()} == pytest.approx(dict(after.good), abs=1e-5)
    people, share = people_in(votes)
    other_people, other_share = people_in([(answer, person, not good) for answer, person, good in votes])
    assert other_share == pytest.approx(1 - share, abs=1e-5)
    for person, coins in people.items():
        assert other_people[person] == pytest.approx((coins.bad, coins.good), abs=1e-5)


def by_answer(votes: Votes) -> dict[str, dict[str, bool]]:
    found: dict[str, dict[str, bool]] = {}
    for answer, person, good in votes:
        found.setdefault(answer, {})[person] = good
    return found


@settings(deadline=None)
@given(COMMUNITIES)
def test_more_agreeing_votes_never_lower_it(votes: Votes) -> None:
    """Of two answers in one dataset: one has the votes of the other, and more, by people better than chance."""
    found = estimate(votes)
    people, _ = people_in(votes)
    ballots = by_answer(votes)
    compared = 0
    for answer, ballot in ballots.items():
        for person in ballot:
            rest = {name: good for name, good in ballot.items() if name != person}
            twin = next((other for other, theirs in ballots.items() if theirs == rest), None)
            if twin is None or sum(people[person]) <= 1:
                continue
            compared += 1
            more, fewer = found.good[answer], found.good[twin]
            assert (more >= fewer - 1e-5) if ballot[person] else (more <= fewer + 1e-5)
    assume(compared)


@settings(deadline=None)
@given(COMMUNITIES, st.data())
def test_a_further_vote_of_a_person_who_agrees_raises_it(votes: Votes, data: st.DataObject) -> None:
    """The whole is estimated anew, so it may move a little the other way, but not by a percent."""
    found = estimate(votes)
    answer = data.draw(st.sampled_from(sorted(by_answer(votes))))
    label = found.good[answer] >= 0.5
    people, _ = people_in(votes)
    absent = [name for name, coins in people.items() if name not in by_answer(votes)[answer] and sum(coins) > 1.2]
    assume(absent)
    after = estimate([*votes, (answer, str(data.draw(st.sampled_from(absent))), label)])
    sure = [one.good[answer] if label else 1 - one.good[answer] for one in (found, after)]
    assert sure[1] >= sure[0] - 0.01


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5), st.booleans()), unique_by=lambda vote: vote[:2]))
def test_any_votes_give_probabilities(votes: list[tuple[int, int, bool]]) -> None:
    for prior in (PRIOR, NO_PRIOR):
        found = estimate(votes, prior)
        assert set(found.good) == {answer for answer, _, _ in votes}
        people, share = people_in(votes, prior)
        numbers = [*found.good.values(), share, *(coin for coins in people.values() for coin in coins)]
        assert all(0 <= value <= 1 for value in numbers)


def test_a_large_dataset_is_fast() -> None:
    chance = random.Random(0)
    right = [chance.uniform(0.55, 0.95) for _ in range(200)]
    votes = [
        (f"a{answer}", f"p{person}", (answer % 2 > 0) == (chance.random() < right[person]))
        for answer in range(10_000)
        for person in chance.sample(range(200), 3)
    ]
    begin = time.process_time()
    assert estimate(votes).is_enough
    assert time.process_time() - begin < 2
