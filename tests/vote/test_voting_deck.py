"""Which answer a person gets next."""

import itertools
import random
import sys
from collections import Counter
from typing import Any

from argilla_server import TEMPLATE
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

sys.path.insert(0, str(TEMPLATE))

from kto.vote.voting_server.deck import ANSWERED, LEASE, PATIENCE, Deck

PEOPLE = st.sampled_from(["amina", "piet", "wanjiku", "zuri"])


def deck(records: int, answers: int = 3, overlap: int = 2, **more: Any) -> Deck:
    """A deck with a number of prompts; the records of a prompt are far from each other."""
    ids = [(f"{prompt}-{answer}", str(prompt), True) for answer in range(answers) for prompt in range(records)]
    return Deck(overlap, ids, **more)


def test_two_records_of_one_prompt_do_not_follow_each_other() -> None:
    ids = [(f"{prompt}-{answer}", str(prompt), True) for prompt in range(50) for answer in range(4)]
    random.Random(1).shuffle(ids)
    everybody = Deck(3, ids)
    cards: list[str] = []
    seen: list[str] = []
    while drawn := everybody.draw("amina", 10 - len(cards), [*cards, *seen[-1:]]):
        cards += drawn
        for record in cards[:5]:  # as the page does: it asks for more while some cards are there
            everybody.settle(record, "amina", "submitted")
        seen, cards = seen + cards[:5], cards[5:]
    seen += cards
    assert sorted(seen) == sorted(id for id, _, _ in ids)
    prompts = [id.split("-")[0] for id in seen]
    assert all(one != two for one, two in itertools.pairwise(prompts))


def test_only_answers_to_one_prompt_are_left() -> None:
    everybody = Deck(2, [(f"0-{answer}", "0", True) for answer in range(4)])
    assert everybody.draw("amina", 2) == ["0-0", "0-1"]
    assert everybody.draw("amina", 2, ["0-0", "0-1"]) == ["0-2", "0-3"], "rather these than nothing"


def test_a_card_is_held_for_its_person() -> None:
    everybody = deck(5, answers=1, overlap=1)
    assert everybody.draw("amina", 3, now=0) == ["0-0", "1-0", "2-0"]
    assert everybody.draw("piet", 5, now=1) == ["3-0", "4-0"]
    assert everybody.draw("piet", 5, ["3-0", "4-0"], now=2) == []
    assert everybody.wait("piet", ["3-0", "4-0"], now=2) == PATIENCE - 2, "they may come back"
    # Amina is not heard of: when nothing else is left, somebody else gets her cards, too.
    assert everybody.draw("piet", 1, ["3-0", "4-0"], now=PATIENCE + 1) == ["0-0"]
    # As long as others are left, they stay hers.
    everybody = deck(5, answers=1, overlap=1)
    everybody.draw("amina", 3, now=0)
    assert everybody.draw("piet", 1, now=LEASE - 1) == ["3-0"]
    assert everybody.draw("piet", 1, now=LEASE + 1) == ["0-0"]


def test_somebody_who_is_there_keeps_their_cards() -> None:
    everybody = deck(3, answers=1, overlap=1)
    held = everybody.draw("amina", 3, now=0)
    assert everybody.draw("amina", 0, held, now=170) == []  # asks for more, and names what the device holds
    assert everybody.draw("piet", 3, now=300) == []
    assert everybody.leases("amina", held) == [(id, "amina", 170 + LEASE) for id in held]


def test_a_second_device_gets_other_cards() -> None:
    everybody = deck(4, answers=1, overlap=1)
    assert everybody.draw("amina", 2) == ["0-0", "1-0"]
    assert everybody.draw("amina", 2) == ["2-0", "3-0"]
    assert everybody.draw("amina", 2) == ["0-0", "1-0"], "those of the first one if there are no others"
    everybody.settle("0-0", "amina", "submitted")
    assert everybody.answered("amina", ["0-0", "1-0", "gone"]) == ["0-0", "gone"]


def test_a_skipped_card_is_free_for_somebody_else() -> None:
    everybody = deck(1, answers=1, overlap=1)
    assert everybody.draw("amina", 1) == ["0-0"]
    everybody.settle("0-0", "amina", "discarded")
    assert everybody.draw("amina", 1) == [] and everybody.wait("amina") is None
    assert everybody.draw("piet", 1) == ["0-0"]
    assert everybody.progress("amina") == {"mine": 1, "all": 0, "all_goal": 1}


def test_an_undone_vote_brings_the_card_back() -> None:
    everybody = deck(2, answers=1, overlap=1)
    assert everybody.draw("amina", 2, now=0) == ["0-0", "1-0"]
    for record in ("0-0", "1-0"):
        everybody.settle(record, "amina", "submitted", now=0)
    assert everybody.draw("piet", 2, now=0) == [], "all have their votes"
    everybody.settle("0-0", "amina", "draft", now=0)
    assert everybody.draw("piet", 2, now=1) == [], "it is in front of amina again"
    assert everybody.draw("piet", 2, now=LEASE + 1) == ["0-0"]
    assert everybody.progress("amina") == {"mine": 1, "all": 1, "all_goal": 2}


def test_an_undone_vote_on_a_card_that_was_complete_at_the_start() -> None:
    everybody = deck(1, answers=1, overlap=1, responses=[("0-0", "amina", "submitted")])
    assert everybody.draw("piet", 1) == []
    everybody.settle("0-0", "amina", "draft", now=0)
    assert everybody.draw("piet", 1, now=LEASE + 1) == ["0-0"]


def test_a_late_vote_counts_once_towards_the_goal() -> None:
    everybody = deck(2, answers=1, overlap=1)
    for who in ("amina", "piet"):
        everybody.settle("0-0", who, "submitted")
    assert everybody.progress("piet") == {"mine": 1, "all": 1, "all_goal": 2}
    everybody.settle("0-0", "piet", "draft")
    assert everybody.progress("piet") == {"mine": 0, "all": 1, "all_goal": 2}


def test_records_that_are_not_given_out() -> None:
    everybody = Deck(1, [("old", "0", False), ("new", "1", True)], [("old", "amina", "submitted")])
    assert everybody.draw("piet", 9) == ["new"]
    assert everybody.progress("amina") == {"mine": 1, "all": 0, "all_goal": 1}
    everybody.settle("old", "piet", "submitted")  # a card that piet had before
    everybody.settle("unknown", "piet", "submitted")  # one that another process has just added
    assert everybody.progress("piet") == {"mine": 2, "all": 0, "all_goal": 1}
    assert everybody.answered("zuri", ["old", "new"]) == ["old"]


class Campaign(RuleBasedStateMachine):
    """People draw, vote, skip, change, undo and go; the server restarts at any moment. Compared with a simple model."""

    @initialize(prompts=st.integers(1, 6), answers=st.integers(1, 3), overlap=st.integers(1, 3))
    def begin(self, prompts: int, answers: int, overlap: int) -> None:
        self.records = [(f"{p}-{a}", str(p), True) for p in range(prompts) for a in range(answers)]
        self.overlap, self.now = overlap, 1_000.0
        self.deck = Deck(overlap, self.records)
        self.responses: dict[tuple[str, str], str] = {}
        self.leases: dict[tuple[str, str], float] = {}  # as the database has them
        self.held: dict[str, list[str]] = {}
        self.late: set[str] = set()  # records that got a vote from somebody whose lease had ended, or was passed on

    def votes(self, record: str) -> int:
        return sum(status == "submitted" for (other, _), status in self.responses.items() if other == record)

    @rule(who=PEOPLE, count=st.integers(0, 4))
    def draw(self, who: str, count: int) -> None:
        have = self.held.setdefault(who, [])
        free = {
            record
            for record, _, _ in self.records
            if self.responses.get((record, who)) not in ANSWERED and record not in have
            if self.votes(record) + sum(
                end > self.now for (other, holder), end in self.leases.items() if other == record and holder != who
            ) < self.overlap
        }  # fmt: skip
        mine = {record for record, holder in self.leases if holder == who and self.leases[record, holder] > self.now}
        drawn = self.deck.draw(who, count, have, self.now)
        assert len(drawn) == len(set(drawn)) <= count
        assert not set(drawn) & set(have)
        assert all(self.responses.get((record, who)) not in ANSWERED for record in drawn), "no card twice to one person"
        assert len(drawn) >= min(count, len(free - mine)), "nobody is sent away while there are cards"
        if free - mine:
            assert set(drawn) <= free - mine, "none that another has just been given"
        else:
            for record in set(drawn) - free:
                fresh = [
                    holder
                    for (other, holder), end in self.leases.items()
                    if other == record and holder != who and end - LEASE + PATIENCE > self.now
                ]
                assert self.votes(record) + len(fresh) < self.overlap
                self.late.add(record)
        for record, user, end in self.deck.leases(who, [*have, *drawn]):
            self.leases[record, user] = end
        have += drawn

    @rule(who=PEOPLE, vote=st.sampled_from(["submitted", "submitted", "submitted", "discarded"]), data=st.data())
    def vote(self, who: str, vote: str, data: st.DataObject) -> None:
        if held := self.held.get(who):
            record = data.draw(st.sampled_from(held))
            held.remove(record)
            if self.leases.get((record, who), 0) <= self.now:
                self.late.add(record)
            self.settle(record, who, vote)

    @rule(who=PEOPLE, status=st.sampled_from(["submitted", "discarded", "draft"]), data=st.data())
    def change(self, who: str, status: str, data: st.DataObject) -> None:
        mine = sorted(record for (record, user), was in self.responses.items() if user == who and was in ANSWERED)
        if mine:
            record = data.draw(st.sampled_from(mine))
            if status == "submitted" and self.responses[record, who] == "discarded":
                self.late.add(record)  # it was free for others meanwhile
            self.settle(record, who, status)
            if status == "draft":
                self.late.add(record)
                self.held[who].insert(0, record)

    def settle(self, record: str, who: str, status: str) -> None:
        self.deck.settle(record, who, status, self.now)
        self.responses[record, who] = status
        self.leases.pop((record, who), None)
        if status == "draft":
            self.leases[record, who] = self.now + LEASE

    @rule(seconds=st.sampled_from([1.0, 30.0, PATIENCE + 1.0, LEASE + 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.now > 1_000)
    @rule(who=PEOPLE)
    def lose_the_phone(self, who: str) -> None:
        self.held[who] = []

    @rule()
    def restart(self) -> None:
        responses = [(record, user, status) for (record, user), status in self.responses.items()]
        leases = [(record, user, end) for (record, user), end in self.leases.items() if end > self.now]
        self.deck = Deck(self.overlap, self.records, responses, leases)

    @invariant()
    def progress(self) -> None:
        counts = Counter(user for (_, user), status in self.responses.items() if status in ANSWERED)
        votes = sum(min(self.overlap, self.votes(record)) for record, _, _ in self.records)
        for who in ("amina", "piet", "wanjiku", "zuri"):
            goal = len(self.records) * self.overlap
            assert self.deck.progress(who) == {"mine": counts[who], "all": votes, "all_goal": goal}

    @invariant()
    def overlap_is_kept(self) -> None:
        for record, _, _ in self.records:
            assert self.votes(record) <= self.overlap or record in self.late, "no vote beyond the overlap but late ones"

    def teardown(self) -> None:
        """In the end all votes come in, by people who come back until nothing is left."""
        if not hasattr(self, "deck"):
            return
        self.now += LEASE + 1
        people = ["amina", "piet", "wanjiku", "zuri"]
        for who in people:
            for record in self.held.get(who, []):
                self.settle(record, who, "submitted")
        for _ in range(2):
            for who in people:
                while drawn := self.deck.draw(who, 3, now=self.now):
                    for record in drawn:
                        self.settle(record, who, "submitted")
        for record, _, _ in self.records:
            skipped = sum(self.responses.get((record, who)) == "discarded" for who in people)
            assert self.votes(record) >= min(self.overlap, len(people) - skipped)


TestCampaign = Campaign.TestCase
TestCampaign.settings = settings(max_examples=150, stateful_step_count=40)
