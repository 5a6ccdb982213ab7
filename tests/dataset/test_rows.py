"""From votes to rows: for any votes."""

import itertools
import random
import sys
from collections import defaultdict

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from rendering import TEMPLATE

sys.path.insert(0, str(TEMPLATE))

from kto.dataset import rows
from kto.dataset.labels import Rule, decide_all

FRACTIONS = st.sampled_from([0.0, 0.1, 0.5, 0.9])
SEEDS = st.integers(0, 2**32 - 1)


def make_splits(votes: list[dict], fraction: float, seed: int) -> rows.Splits:
    """Return the rows for votes; one vote is enough."""
    known = rows.KnownPrompts({vote["prompt_id"]: vote["prompt_id"] for vote in votes}, {}, similarity=1, size=5)
    return rows.make_splits(decide_all(votes, Rule(min_votes=1)), fraction, seed, known)


def make_vote(prompt: str, answer: str, person: int, vote: bool) -> dict:
    return {
        "record_id": f"{prompt}/{answer}",
        "prompt_id": prompt,
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": answer}],
        "generation_model": ["acme/" + answer],
        "annotator": f"annotator-{person}",
        "vote": vote,
    }


ANSWERS = st.tuples(st.sampled_from([f"p{n}" for n in range(12)]), st.sampled_from("abcd"))
VOTES = st.dictionaries(ANSWERS, st.lists(st.booleans(), min_size=1, max_size=5), min_size=1).map(
    lambda ballots: [
        make_vote(prompt, answer, person, vote)
        for (prompt, answer), ballot in ballots.items()
        for person, vote in enumerate(ballot)
    ]
)


@given(VOTES, FRACTIONS, SEEDS)
def test_each_answer_with_a_majority_is_one_row(votes: list[dict], fraction: float, seed: int) -> None:
    ballots = defaultdict(list)
    for vote in votes:
        ballots[vote["prompt_id"], vote["completion"][0]["content"]].append(vote["vote"])
    splits = make_splits(votes, fraction, seed)
    found = {(row["prompt_id"], row["completion"][0]["content"]): row for row in [*splits.train, *splits.test]}
    assert len(found) == len(splits.train) + len(splits.test)
    assert len(found) + splits.without["tie"] == len(ballots)
    for key, ballot in ballots.items():
        up, down = ballot.count(True), ballot.count(False)
        assert (key in found) is (up != down)
        if up != down:
            row = found[key]
            assert set(row) == set(rows.schema().names)
            assert row["label"] is (up > down)
            assert row["n_votes"] == len(ballot)
            assert row["agreement"] == max(up, down) / len(ballot) > 0.5
            assert row["label_from"] == ("third_vote" if len(ballot) > 2 and ballot[0] != ballot[1] else "majority")
            assert row["prompt"][-1] == {"role": "user", "content": key[0]}
            assert row["generation_model"] == ["acme/" + key[1]]


@given(VOTES, FRACTIONS, SEEDS, st.randoms())
def test_the_order_of_the_votes_does_not_matter(
    votes: list[dict], fraction: float, seed: int, chance: random.Random
) -> None:
    # Of one answer the order in which they were cast tells whether a third vote has decided.
    shuffled = sorted(chance.sample(votes, len(votes)), key=lambda vote: vote["annotator"])
    assert make_splits(shuffled, fraction, seed) == make_splits(votes, fraction, seed)


@given(VOTES, FRACTIONS, SEEDS)
def test_a_prompt_is_in_one_split(votes: list[dict], fraction: float, seed: int) -> None:
    splits = make_splits(votes, fraction, seed)
    assert not {row["prompt_id"] for row in splits.train} & {row["prompt_id"] for row in splits.test}
    assert splits.train or not splits.test, "something must be left to train on"


@given(VOTES, VOTES, FRACTIONS, SEEDS)
def test_more_votes_move_no_prompt(votes: list[dict], more: list[dict], fraction: float, seed: int) -> None:
    before, after = make_splits(votes, fraction, seed), make_splits([*votes, *more], fraction, seed)
    prompts = [{row["prompt_id"] for row in part} for part in (before.train, after.train, before.test, after.test)]
    # Where everything would be held back, nothing is; that alone may change, when a vote adds a prompt or makes a tie.
    assume(before.test or not prompts[0] & prompts[3])
    assume(after.test or not prompts[2] & prompts[1])
    assert not prompts[0] & prompts[3] and not prompts[2] & prompts[1]


@given(st.integers(2, 9), st.integers(1, 6), SEEDS)
def test_neighbours_have_different_prompts(prompts: int, answers: int, seed: int) -> None:
    votes = [make_vote(f"p{n}", f"a{m}", 0, True) for n in range(prompts) for m in range(answers)]
    train = make_splits(votes, 0, seed).train
    assert len(train) == prompts * answers
    assert all(a["prompt_id"] != b["prompt_id"] for a, b in itertools.pairwise(train))


def test_the_seed_decides_order_and_split() -> None:
    votes = [make_vote(f"p{n}", f"a{m}", 0, m == 0) for n in range(40) for m in range(3)]
    by_seed = [make_splits(votes, 0.2, seed) for seed in range(5)]
    assert by_seed[0] == make_splits(votes, 0.2, 0)
    assert len({str(splits.train) for splits in by_seed}) == 5
    assert len({frozenset(row["prompt_id"] for row in splits.test) for splits in by_seed}) == 5
    # All first answers are thumbs up: they must not come first.
    labels = [row["label"] for row in by_seed[0].train]
    assert 0 < sum(labels[: len(labels) // 3]) < len(labels) // 3


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_the_share_of_the_test_split(fraction: float) -> None:
    votes = [make_vote(f"p{n}", "a", 0, True) for n in range(3000)]
    splits = make_splits(votes, fraction, 7)
    assert len(splits.test) / 3000 == pytest.approx(fraction, abs=0.03)


def test_no_vote_makes_no_row() -> None:
    assert make_splits([], 0.1, 0) == rows.Splits([], [])
