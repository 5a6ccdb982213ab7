"""Invented communities, whose truth is known, vote through the real server: a third vote only where two differ.

`benchmarks/voting_rules.py` has what the simulator says about them.
"""

import random
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from argilla_server import TEMPLATE
from voting_service import VotingService, make_home

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.labels import Rule, decide
from kto.vote import simulation
from kto.vote.overlap import Overlap

ANSWERS = {f"Question {number}?": [f"{number} one", f"{number} two"] for number in range(75)}


@pytest.mark.parametrize("name", ["CAREFUL", "MIXED", "HARD"])
def test_third_votes_are_the_ties_and_no_answer_is_lost(name: str, tmp_path: Path) -> None:
    community = getattr(simulation, name)
    chance = random.Random(name)
    truth = {answer: chance.random() < community.good for answers in ANSWERS.values() for answer in answers}
    hard = {answer for answer in truth if chance.random() < community.hard}
    usual = {is_good: np.mean([person[not is_good] for person in community.people]) for is_good in (True, False)}
    cast: defaultdict[str, list[tuple[int, bool]]] = defaultdict(list)  # in order: person and vote on an answer
    with VotingService(make_home(tmp_path / "home", ANSWERS), overlap=Overlap(2, asks_third=True)) as voting:
        people = [voting.device(f"person-{number}") for number in range(len(community))]
        asked = True
        while asked:
            asked = False
            for number in chance.sample(range(len(people)), len(people)):
                for card in people[number].cards(chance.randint(1, 4)):
                    asked = True
                    is_good = truth[card["raw"]]
                    says_good = community.people[number][not is_good]
                    if card["raw"] in hard:
                        says_good = usual[is_good] + simulation._HARD * (says_good - usual[is_good])
                    good = chance.random() < says_good
                    people[number].vote(card["record"], "good" if good else "bad")
                    cast[card["raw"]].append((number, good))
        assert voting.rows("SELECT DISTINCT status FROM records") == [("completed",)]

    votes = [cast[answer] for answer in truth]
    ties = [each for each in votes if each[0][1] != each[1][1]]
    assert all(len(each) == 2 + (each in ties) for each in votes), "third votes are the ties"
    assert 0.05 < len(ties) / len(votes) < 0.6
    assert all(len({person for person, _ in each}) == len(each) for each in votes), "by somebody else"

    # What the simulator makes of these votes is what the export decides, and all answers have a label.
    decisions = [decide([good for _, good in each], Rule()) for each in votes]
    padded = [[*each, (0, False)][:3] for each in votes]
    table = simulation.Votes(
        np.array(list(truth.values())),
        np.array([[person for person, _ in each] for each in padded]),
        np.array([[good for _, good in each] for each in padded]),
        np.array([[True, True, len(each) == 3] for each in votes]),
    )
    label, kept, _ = simulation.labels(table, Rule())
    assert kept.all() and label.tolist() == [decision.label for decision in decisions]
    assert sum(decision.origin == "third_vote" for decision in decisions) == len(ties)

    # As right as the simulator says of this community, within what chance does on so few answers.
    right = np.mean(label == table.truth)
    expected = simulation.simulate(community, 900, simulation.SCHEMES["third"], runs=10)
    assert abs(right - expected.accuracy) < 4 * np.sqrt(0.25 / len(votes))
    assert abs(table.cast.sum() / len(votes) - expected.votes) < 0.2
