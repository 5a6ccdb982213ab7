"""The simulator: its table, and that it decides as exports will."""

import math
import sys
from dataclasses import replace

import numpy as np
import pytest
from rendering import TEMPLATE

from benchmarks.voting_rules import REFERENCE, TOLERANCE

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.confidence import estimate
from kto.dataset.labels import CONFIDENCE, RULES, Rule, decide
from kto.vote.simulation import CAREFUL, COMMUNITIES, MIXED, SCHEMES, Community, Scheme, cast_votes, labels, simulate


@pytest.mark.parametrize(("community", "scheme"), REFERENCE)
def test_the_table(community: str, scheme: str) -> None:
    outcome = simulate(COMMUNITIES[community], 900, SCHEMES[scheme], runs=40)
    figures = 900 * outcome.votes, 100 * outcome.kept, 100 * outcome.accuracy
    for figure, known, most in zip(figures, REFERENCE[community, scheme], TOLERANCE, strict=True):
        assert figure == pytest.approx(known, abs=most)


def test_a_third_vote_on_ties_gives_the_labels_of_three_for_all() -> None:
    for community in COMMUNITIES.values():
        third = cast_votes(community, 2000, SCHEMES["third"], 7)
        three = third._replace(cast=np.ones_like(third.cast))
        assert (labels(third, Rule())[0] == labels(three, Rule())[0]).all()
        assert 0.2 < 1 - third.cast.sum() / three.cast.sum() < 0.27


def test_single_votes_and_third_votes_per_thousand_votes() -> None:
    """Careful people, 1,000 votes: so many rows with certain labels would teach as much, 559 against 379."""
    for scheme, worth in (("single", 559), ("third", 379)):
        outcome = simulate(CAREFUL, 900, SCHEMES[scheme], runs=40)
        assert 1000 * outcome.worth / outcome.votes == pytest.approx(worth, abs=12)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("scheme", ["third", "three"])
def test_it_decides_as_exports_will(scheme: str, name: str) -> None:
    rule = Rule(name)
    votes = cast_votes(MIXED, 300, SCHEMES[scheme], 3)
    label, kept, sure = labels(votes, rule)
    cells = [(int(row), int(column)) for row, column in np.argwhere(votes.cast)]
    found = estimate([(row, int(votes.people[row, column]), bool(votes.good[row, column])) for row, column in cells])
    for row in range(300):
        ballot = votes.good[row][votes.cast[row]].tolist()
        decision = decide(ballot, rule, found.good[row])
        assert (decision.label is not None) == kept[row]
        assert decision.label is None or decision.label == label[row]
        confidence = found.confidence(row, bool(label[row]))
        assert confidence is not None and confidence == pytest.approx(sure[row], abs=1e-5)


def test_people_vote_once_on_an_answer_and_as_the_community_says() -> None:
    votes = cast_votes(MIXED, 20_000, SCHEMES["three"], 1)
    assert (votes.people[:, 0] != votes.people[:, 1]).all() and (votes.people[:, 2] != votes.people[:, 1]).all()
    for person, (good, bad) in enumerate(MIXED.people):
        theirs = votes.people == person
        truth = np.broadcast_to(votes.truth[:, None], theirs.shape)
        assert votes.good[theirs & truth].mean() == pytest.approx(good, abs=0.03)
        assert votes.good[theirs & ~truth].mean() == pytest.approx(bad, abs=0.03)


def test_hard_answers_are_the_ones_that_people_disagree_on() -> None:
    easy = simulate(CAREFUL, 900, SCHEMES["two"])
    hard = simulate(replace(CAREFUL, hard=0.5), 900, SCHEMES["two"])
    assert hard.kept < easy.kept - 0.1 and hard.accuracy < easy.accuracy - 0.05


def test_without_overlap_nothing_has_a_confidence() -> None:
    scheme = Scheme(first=1, third=False, rule=Rule(CONFIDENCE, min_votes=1, min_confidence=0))
    outcome = simulate(CAREFUL, 100, scheme)
    assert outcome.kept == outcome.worth == 0 and math.isnan(outcome.accuracy)


@pytest.mark.parametrize("people", [3, 5, 40])
def test_a_community_of_any_size(people: int) -> None:
    usual, other = (simulate(MIXED, 900, SCHEMES["third"], count) for count in (None, people))
    assert other.accuracy == pytest.approx(usual.accuracy, abs=0.06)
    votes = cast_votes(MIXED, 500, SCHEMES["third"], 0, people)
    assert {*votes.people.ravel().tolist()} == {*range(people)}


def test_the_same_each_time() -> None:
    assert simulate(MIXED, 200, SCHEMES["third"]) == simulate(MIXED, 200, SCHEMES["third"])
    perfect = Community([(1.0, 0.0)] * 3)
    assert simulate(perfect, 50, SCHEMES["third"])[:4] == (2, 1, 1, 1)
