"""α and AC1 against published numbers, other programs, their definitions, and what must hold for any votes."""

import itertools
import random
import sys
import time
from fractions import Fraction

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering import TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.agreement import Units, agreement, counts_for_agreement

UNITS = st.lists(st.lists(st.booleans(), max_size=6), max_size=12)


def krippendorff_alpha(units: Units) -> float | None:
    return agreement(units)[0].value


def gwet_ac1(units: Units, categories: int = 2) -> float | None:
    return agreement(units, categories)[1].value


def by_definition(units: list[list]) -> Fraction | None:
    """1 − D_o / D_e, each counted pair by pair, in fractions."""
    units = [unit for unit in units if len(unit) > 1]
    values = [value for unit in units for value in unit]
    pairs = sum((a != b for a, b in itertools.permutations(values, 2)), Fraction(0))
    if not pairs:
        return None
    within = sum(
        (Fraction(a != b, len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2)), Fraction(0)
    )
    n = len(values)
    return 1 - (within / n) / (pairs / (n * (n - 1)))


def columns(*observers: str) -> list[list[str]]:
    """One string per observer, one letter per unit; a dot is a missing value."""
    return [[value for value in unit if value != "."] for unit in zip(*observers, strict=True)]


def test_published_example_with_two_values() -> None:
    """Krippendorff 2011, section A: two observers, ten units, α = 0.095."""
    assert krippendorff_alpha(columns("0100000010", "1110010000")) == pytest.approx(0.095, abs=5e-4)


def test_published_example_with_missing_values() -> None:
    """Krippendorff 2011, section C: four observers, twelve units, five values, some missing, α = 0.743."""
    units = columns("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


@given(UNITS)
def test_as_defined(units: list[list[bool]]) -> None:
    expected = by_definition(units)
    found = krippendorff_alpha(units)
    assert found is None if expected is None else found == pytest.approx(float(expected))


@given(UNITS, st.randoms())
def test_order_and_names_do_not_matter(units: list[list[bool]], chance: random.Random) -> None:
    other = [chance.sample(["no" if value else "yes" for value in unit], len(unit)) for unit in units]
    chance.shuffle(other)
    expected = krippendorff_alpha(units)
    found = krippendorff_alpha(other)
    assert found is None if expected is None else found == pytest.approx(expected)


@given(st.lists(st.tuples(st.booleans(), st.integers(2, 9)), min_size=2))
def test_full_agreement(units: list[tuple[bool, int]]) -> None:
    alpha = krippendorff_alpha([value] * count for value, count in units)
    assert alpha == (1 if len({value for value, _ in units}) == 2 else None)


@given(UNITS, st.lists(st.booleans(), max_size=9))
def test_single_votes_say_nothing(units: list[list[bool]], single: list[bool]) -> None:
    assert krippendorff_alpha(units) == krippendorff_alpha([*units, *([value] for value in single), []])


def test_disagreement_everywhere_is_below_chance() -> None:
    alpha = krippendorff_alpha([[True, False]] * 5)
    assert alpha is not None and alpha < 0


def test_many_votes() -> None:
    chance = random.Random(0)
    alpha = krippendorff_alpha([[chance.random() < 0.5 for _ in range(3)] for _ in range(100_000)])
    assert alpha == pytest.approx(0, abs=0.01)


# --- the same as other programs ---

IRRCAC = {
    "11 11 00 10 01 11 11 11 00 00 01 11": (0.5294117647, 0.4888888889),
    "0.1 00. 001 ..1 11. .01 110 010 110 01. 111 000 010 .00 10.": (-0.0471019602, -0.0065789474),
    "11. 101 111 .00 000 00. 111 111 000 00. 00. 1.1": (0.8892307692, 0.8711111111),
    "....0 00... 10.11 01101 1110. ..01. .00.0 1..0. .1001 000..": (0.1207825036, 0.0801282051),
}
"""Votes, and what irrCAC 0.4.4 makes of them: `CAC(table, digits=10)`, then `gwet()` and `krippendorff()`.

Recorded, because irrCAC wants a pandas before 3, and a project has a later one."""


@pytest.mark.parametrize("votes", IRRCAC)
def test_as_irrcac(votes: str) -> None:
    units = [unit.replace(".", "") for unit in votes.split()]
    assert (gwet_ac1(units), krippendorff_alpha(units)) == pytest.approx(IRRCAC[votes], abs=1e-9)


def test_published_ac1_with_five_values() -> None:
    """Gwet's example with four raters, AC1 = 0.775; irrCAC 0.4.4 says 0.7754440681."""
    units = columns("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
    assert gwet_ac1(units, categories=5) == pytest.approx(0.7754440681, abs=1e-9)


@given(UNITS)
def test_as_krippendorff(units: list[list[bool]]) -> None:
    expected = by_definition(units)
    if expected is None:  # undefined, for which krippendorff has several exceptions and 1
        assert krippendorff_alpha(units) is None
        return
    counts = np.array([[unit.count(False), unit.count(True)] for unit in units])
    other = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
    assert krippendorff_alpha(units) == pytest.approx(other, abs=1e-9)


# --- AC1 ---


@given(UNITS)
def test_ac1_as_defined(units: list[list[bool]]) -> None:
    units = [unit for unit in units if unit]
    pairs = [list(itertools.permutations(unit, 2)) for unit in units if len(unit) > 1]
    if not pairs:
        assert gwet_ac1(units) is None
        return
    observed = sum(Fraction(sum(a == b for a, b in pair), len(pair)) for pair in pairs) / len(pairs)
    good = sum(Fraction(sum(unit), len(unit)) for unit in units) / len(units)
    chance = 2 * good * (1 - good)
    assert gwet_ac1(units) == pytest.approx(float((observed - chance) / (1 - chance)))


def test_ac1_where_all_say_the_same() -> None:
    assert gwet_ac1([[True, True]] * 5) == 1
    assert krippendorff_alpha([[True, True]] * 5) is None


# --- the interval ---


def test_undefined_has_no_interval() -> None:
    for units in ([], [[]], [[True]], [[True], [False]]):
        assert agreement(units) == ((None,) * 3,) * 2
    alpha, ac1 = agreement([[True, True]] * 3)
    assert alpha == (None, None, None) and ac1 == (1, 1, 1)


@given(UNITS, st.randoms())
def test_interval_is_the_same_each_time_and_in_any_order(units: list[list[bool]], chance: random.Random) -> None:
    expected = agreement(units)
    other = [chance.sample(unit, len(unit)) for unit in units]
    chance.shuffle(other)
    assert agreement(other) == expected
    assert [figure.value for figure in expected] == [krippendorff_alpha(units), gwet_ac1(units)]


def vote(chance: random.Random, right: float) -> list[bool]:
    truth = chance.random() < 0.5
    return [truth if chance.random() < right else not truth for _ in range(2)]


def test_interval_holds_the_truth_as_often_as_it_says() -> None:
    """Two people who are right in 80 % of their votes: α is 0.36 in the long run (0.6²)."""
    chance = random.Random(1)
    hit = 0
    for _ in range(200):
        alpha, ac1 = agreement([vote(chance, 0.8) for _ in range(200)])
        assert alpha.low is not None and alpha.high is not None and ac1.low is not None and ac1.high is not None
        hit += (alpha.low <= 0.36 <= alpha.high) + (ac1.low <= 0.36 <= ac1.high)
    assert 0.92 <= hit / 400 <= 0.98


def test_interval_is_fast() -> None:
    chance = random.Random(2)
    units = [vote(chance, 0.7) + vote(chance, 0.7)[: chance.randint(0, 1)] for _ in range(10_000)]
    begin = time.process_time()
    agreement(units)
    assert time.process_time() - begin < 1


# --- which votes count ---


def test_first_votes_and_those_of_the_measured_share_count() -> None:
    assert counts_for_agreement(3, is_measured=False) == [True, True, False]
    assert counts_for_agreement(3, is_measured=True) == [True] * 3
    assert counts_for_agreement(1, is_measured=False) == [True] and counts_for_agreement(0, is_measured=True) == []


def test_third_votes_on_ties_would_make_it_too_good() -> None:
    chance = random.Random(3)
    counted, every = [], []
    for _ in range(20_000):
        votes = vote(chance, 0.8)
        if votes[0] != votes[1]:
            votes.append(chance.random() < 0.5)
        every.append(votes)
        counted.append(list(itertools.compress(votes, counts_for_agreement(len(votes), is_measured=False))))
    for statistic in (krippendorff_alpha, gwet_ac1):
        honest, too_good = statistic(counted), statistic(every)
        assert honest == pytest.approx(0.36, abs=0.02)
        assert too_good is not None and too_good > 0.4
