"""Krippendorff's α against published numbers, its own definition, and what must hold for any votes."""

import itertools
import random
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering import TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.agreement import krippendorff_alpha

UNITS = st.lists(st.lists(st.booleans(), max_size=6), max_size=12)


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
