"""The label of an answer by each rule, and how it came about."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendering import TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.labels import CONFIDENCE, MAJORITY, RULES, UNANIMOUS, Rule, decide

UP, DOWN = True, False
RULE = st.builds(
    Rule,
    name=st.sampled_from(RULES),
    min_votes=st.integers(1, 4),
    min_confidence=st.floats(0, 1),
    overlap=st.integers(1, 4),
)
VOTES = st.lists(st.booleans(), max_size=7)
GOOD = st.none() | st.floats(0, 1)
LEAD = st.none() | st.booleans()


@pytest.mark.parametrize(
    ("votes", "name", "good", "lead", "decision"),
    [
        ([UP, UP], MAJORITY, None, None, (True, "majority")),
        ([DOWN, DOWN], MAJORITY, None, None, (False, "majority")),
        ([UP, DOWN], MAJORITY, None, None, (None, "tie")),
        ([UP, DOWN, DOWN], MAJORITY, None, None, (False, "third_vote")),
        ([DOWN, DOWN, UP], MAJORITY, None, None, (False, "majority")),  # of the measured share
        ([UP, DOWN, UP, DOWN], MAJORITY, None, None, (None, "tie")),
        ([UP, DOWN], MAJORITY, None, False, (False, "lead")),
        ([UP], MAJORITY, None, None, (None, "few")),
        ([], MAJORITY, None, None, (None, "few")),
        ([UP, UP], UNANIMOUS, None, None, (True, "majority")),
        ([UP, DOWN, UP], UNANIMOUS, None, None, (None, "not_unanimous")),
        ([UP, DOWN], UNANIMOUS, None, True, (None, "tie")),
        ([UP, UP], CONFIDENCE, 0.9, None, (True, "majority")),
        ([UP, UP], CONFIDENCE, 0.7, None, (None, "unsure")),
        ([DOWN, UP, DOWN], CONFIDENCE, 0.1, None, (False, "third_vote")),
        ([DOWN, UP, DOWN], CONFIDENCE, 0.9, None, (None, "unsure")),
        ([UP, UP], CONFIDENCE, None, None, (None, "unsure")),
        ([UP, DOWN], CONFIDENCE, None, True, (True, "lead")),
    ],
)
def test_decisions(votes: list[bool], name: str, good: float | None, lead: bool | None, decision: tuple) -> None:
    assert decide(votes, Rule(name), good, lead) == decision


@given(VOTES, RULE, GOOD, LEAD)
def test_swapping_good_and_bad_mirrors_it(votes: list[bool], rule: Rule, good: float | None, lead: bool | None) -> None:
    label, origin = decide(votes, rule, good, lead)
    mirrored = (
        [not vote for vote in votes],
        rule,
        None if good is None else 1 - good,
        None if lead is None else not lead,
    )
    if good is not None and abs(abs(good - 0.5) + 0.5 - rule.min_confidence) < 1e-9:
        return  # at the limit, rounding decides
    if good is not None and abs(0.5 - abs(good - 0.5) - rule.min_confidence) < 1e-9:
        return
    assert decide(*mirrored) == (None if label is None else not label, origin)


@given(VOTES, RULE, GOOD, LEAD)
def test_a_stricter_rule_only_takes_labels_away(
    votes: list[bool], rule: Rule, good: float | None, lead: bool | None
) -> None:
    lead = None if rule.name == UNANIMOUS else lead  # which does not hear the lead
    usual = decide(votes, Rule(MAJORITY, rule.min_votes, overlap=rule.overlap), good, lead)
    assert decide(votes, rule, good, lead).label in (usual.label, None)


@given(st.lists(st.booleans(), min_size=2, max_size=2), st.booleans())
def test_a_third_vote_decides_ties_and_nothing_else(first: list[bool], third: bool) -> None:
    before, after = decide(first, Rule()), decide([*first, third], Rule())
    assert after.label is not None
    if before.label is None:
        assert after == (third, "third_vote")
    else:
        assert after == before
