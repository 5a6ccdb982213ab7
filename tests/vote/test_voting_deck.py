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

from kto.vote.overlap import Overlap
from kto.vote.voting_server.deck import LEASE, PATIENCE, Answer, Deck

PEOPLE = st.sampled_from(["amina", "piet", "wanjiku", "zuri"])
GOOD, BAD = Answer("submitted", "good"), Answer("submitted", "bad")
SKIPPED, DRAFT = Answer("discarded"), Answer("draft")


def card(prompt: object, answer: object, can_be_given: bool = True) -> tuple[str, str, bool, str, str | None]:
    return f"{prompt}-{answer}", str(prompt), can_be_given, f"{prompt}-{answer}", None


def deck(records: int, answers: int = 3, overlap: int = 2, **more: Any) -> Deck:
    """A deck with a number of prompts; the records of a prompt are far from each other."""
    return Deck(
        Overlap(overlap), [card(prompt, answer) for answer in range(answers) for prompt in range(records)], **more
    )


def test_two_records_of_one_prompt_do_not_follow_each_other() -> None:
    ids = [card(prompt, answer) for prompt in range(50) for answer in range(4)]
    random.Random(1).shuffle(ids)
    everybody = Deck(Overlap(3), ids)
    cards: list[str] = []
    seen: list[str] = []
    while drawn := everybody.draw("amina", 10 - len(cards), [*cards, *seen[-1:]]):
        cards += drawn
        for record in cards[:5]:  # as the page does: it asks for more while some cards are there
            everybody.settle(record, "amina", GOOD)
        seen, cards = seen + cards[:5], cards[5:]
    seen += cards
    assert sorted(seen) == sorted(id for id, *_ in ids)
    prompts = [id.split("-")[0] for id in seen]
    assert all(one != two for one, two in itertools.pairwise(prompts))


def test_only_answers_to_one_prompt_are_left() -> None:
    everybody = Deck(Overlap(2), [card(0, answer) for answer in range(4)])
    first = everybody.draw("amina", 2)
    assert len({*first}) == 2
    assert {*first, *everybody.draw("amina", 2, first)} == {f"0-{answer}" for answer in range(4)}, "rather than nothing"


def test_each_person_has_an_order_of_their_own() -> None:
    """All get the first cards first, so that these are complete early, but not in one order."""
    everybody = deck(200, answers=1, overlap=90)
    orders = [everybody.draw(f"person {number}", 10) for number in range(20)]
    assert len({tuple(order) for order in orders}) == 20
    assert {int(record.split("-")[0]) for order in orders for record in order} <= set(range(30))


def test_a_card_is_held_for_its_person() -> None:
    everybody = deck(5, answers=1, overlap=1)
    hers = everybody.draw("amina", 3, now=0)
    his = everybody.draw("piet", 5, now=1)
    assert (len(hers), len(his)) == (3, 2) and not {*hers} & {*his}
    assert everybody.draw("piet", 5, his, now=2) == []
    assert everybody.wait("piet", his, now=2) == PATIENCE - 2, "they may come back"
    # Amina is not heard of: when nothing else is left, somebody else gets her cards, too.
    assert everybody.draw("piet", 1, his, now=PATIENCE + 1)[0] in hers
    # As long as others are left, they stay hers.
    everybody = deck(5, answers=1, overlap=1)
    hers = everybody.draw("amina", 4, now=0)
    (other,) = everybody.draw("piet", 1, now=LEASE - 1)
    assert other not in hers
    assert everybody.draw("piet", 1, [other], now=LEASE + 1)[0] in hers


def test_somebody_who_is_there_keeps_their_cards() -> None:
    everybody = deck(3, answers=1, overlap=1)
    held = everybody.draw("amina", 3, now=0)
    assert everybody.draw("amina", 0, held, now=170) == []  # asks for more, and names what the device holds
    assert everybody.draw("piet", 3, now=300) == []
    assert everybody.leases("amina", held) == [(id, "amina", 170 + LEASE) for id in held]


def test_a_second_device_gets_other_cards() -> None:
    everybody = deck(4, answers=1, overlap=1)
    first, second = everybody.draw("amina", 2), everybody.draw("amina", 2)
    assert not {*first} & {*second}
    third = everybody.draw("amina", 2)
    assert len(third) == 2, "those of the other device if there are no others"
    everybody.settle(third[0], "amina", GOOD)
    assert everybody.answered("amina", [third[0], third[1], "gone"]) == [third[0], "gone"]


def test_a_skipped_card_is_free_for_somebody_else() -> None:
    everybody = deck(1, answers=1, overlap=1)
    assert everybody.draw("amina", 1) == ["0-0"]
    everybody.settle("0-0", "amina", SKIPPED)
    assert everybody.draw("amina", 1) == [] and everybody.wait("amina") is None
    assert everybody.draw("piet", 1) == ["0-0"]
    assert everybody.progress("amina") == {"mine": 1, "all": 0, "all_goal": 1}


def test_an_undone_vote_brings_the_card_back() -> None:
    everybody = deck(2, answers=1, overlap=1)
    assert {*everybody.draw("amina", 2, now=0)} == {"0-0", "1-0"}
    for record in ("0-0", "1-0"):
        everybody.settle(record, "amina", GOOD, now=0)
    assert everybody.draw("piet", 2, now=0) == [], "all have their votes"
    everybody.settle("0-0", "amina", DRAFT, now=0)
    assert everybody.draw("piet", 2, now=1) == [], "it is in front of amina again"
    assert everybody.draw("piet", 2, now=LEASE + 1) == ["0-0"]
    assert everybody.progress("amina") == {"mine": 1, "all": 1, "all_goal": 2}


def test_an_undone_vote_on_a_card_that_was_complete_at_the_start() -> None:
    everybody = deck(1, answers=1, overlap=1, responses=[("0-0", "amina", GOOD)])
    assert everybody.draw("piet", 1) == []
    everybody.settle("0-0", "amina", DRAFT, now=0)
    assert everybody.draw("piet", 1, now=LEASE + 1) == ["0-0"]


def test_a_late_vote_counts_once_towards_the_goal() -> None:
    everybody = deck(2, answers=1, overlap=1)
    for who in ("amina", "piet"):
        everybody.settle("0-0", who, GOOD)
    assert everybody.progress("piet") == {"mine": 1, "all": 1, "all_goal": 2}
    everybody.settle("0-0", "piet", DRAFT)
    assert everybody.progress("piet") == {"mine": 0, "all": 1, "all_goal": 2}


def test_records_that_are_not_given_out() -> None:
    everybody = Deck(Overlap(1), [card("old", 0, False), card("new", 0)], [("old-0", "amina", GOOD)])
    assert everybody.draw("piet", 9) == ["new-0"]
    assert everybody.progress("amina") == {"mine": 1, "all": 0, "all_goal": 1}
    everybody.settle("old-0", "piet", GOOD)  # a card that piet had before
    everybody.settle("unknown", "piet", GOOD)  # one that another process has just added
    assert everybody.progress("piet") == {"mine": 2, "all": 0, "all_goal": 1}
    assert everybody.answered("zuri", ["old-0", "new-0"]) == ["old-0"]


def test_where_two_differ_somebody_else_is_asked() -> None:
    everybody = Deck(Overlap(2, asks_third=True), [card(0, 0), card(1, 0)])
    for who, vote in (("amina", GOOD), ("piet", BAD)):
        everybody.settle("0-0", who, vote)
        everybody.settle("1-0", who, GOOD)
    assert everybody.progress("zuri") == {"mine": 0, "all": 4, "all_goal": 5}
    assert everybody.draw("amina", 2) == everybody.draw("piet", 2) == [], "these have said what they think"
    assert everybody.draw("zuri", 2) == ["0-0"]
    assert everybody.draw("wanjiku", 2) == [], "one more is enough"
    everybody.settle("0-0", "zuri", BAD)
    assert everybody.draw("wanjiku", 2, now=LEASE * 9) == []
    assert everybody.progress("zuri") == {"mine": 1, "all": 4, "all_goal": 4}
    # Piet thinks better of it: the third vote has been cast, and nobody is asked again.
    everybody.settle("0-0", "piet", GOOD)
    assert everybody.draw("wanjiku", 2, now=LEASE * 9) == []


def test_a_changed_vote_brings_a_complete_card_back() -> None:
    tie = [("0-0", "amina", GOOD), ("0-0", "piet", GOOD)]
    everybody = Deck(Overlap(2, asks_third=True), [card(0, 0)], tie)
    assert everybody.draw("zuri", 1) == []
    everybody.settle("0-0", "piet", BAD)
    assert everybody.draw("zuri", 1) == ["0-0"]
    again = Deck(Overlap(2, asks_third=True), [card(0, 0)], [tie[0], ("0-0", "piet", BAD)])
    assert again.draw("zuri", 1) == ["0-0"], "after a restart, too"
    assert Deck(Overlap(2), [card(0, 0)], [tie[0], ("0-0", "piet", BAD)]).draw("zuri", 1) == [], (
        "if it is not switched on"
    )


def test_the_measured_share_gets_one_vote_more() -> None:
    rule = Overlap(2, measured=0.1)
    cards = [card(number, 0) for number in range(2000)]
    measured = [id for id, *_ in cards if rule.is_measured(id)]
    assert 140 < len(measured) < 260
    assert {*measured} <= {id for id, *_ in cards if Overlap(measured=0.2).is_measured(id)}, (
        "a larger share has them, too"
    )
    everybody = Deck(rule, cards, [(id, who, GOOD) for id, *_ in cards for who in ("amina", "piet")])
    assert {*everybody.draw("zuri", 2000)} == {*measured}
    assert everybody.progress("zuri")["all_goal"] == 4000 + len(measured)


def test_a_flagged_answer_is_shown_to_nobody_until_the_lead_has_looked() -> None:
    flagged = Answer("submitted", "bad", is_flagged=True)
    everybody = Deck(Overlap(3), [card(0, 0), card(1, 0)])
    held = everybody.draw("piet", 2)
    everybody.settle("0-0", "amina", flagged)
    assert everybody.answered("piet", held) == ["0-0"], "his device drops it"
    assert everybody.draw("zuri", 2) == ["1-0"]
    assert everybody.progress("zuri") == {"mine": 0, "all": 0, "all_goal": 3}
    everybody.settle("0-0", "amina", BAD)  # taken back
    assert {*everybody.draw("zuri", 2, ["1-0"])} == {"0-0"}
    kept = Deck(Overlap(3), [(*card(0, 0)[:4], "keep")], [("0-0", "amina", flagged)])
    assert kept.draw("zuri", 1) == ["0-0"]


def test_nobody_is_asked_about_a_tie_that_the_lead_has_decided() -> None:
    tie = [("0-0", "amina", GOOD), ("0-0", "piet", BAD)]
    for decision, drawn in ((None, ["0-0"]), ("keep", ["0-0"]), ("good", []), ("bad", [])):
        everybody = Deck(Overlap(2, asks_third=True), [(*card(0, 0)[:4], decision)], tie)
        assert everybody.draw("zuri", 1) == drawn, decision


class Campaign(RuleBasedStateMachine):
    """People draw, vote, skip, change, undo and go; the server restarts at any moment. Compared with a simple model."""

    @initialize(
        prompts=st.integers(1, 6), answers=st.integers(1, 3), overlap=st.integers(1, 3), third=st.booleans(),
        measured=st.sampled_from([0.0, 0.3, 1.0])
    )  # fmt: skip
    def begin(self, prompts: int, answers: int, overlap: int, third: bool, measured: float) -> None:
        self.records = [card(prompt, answer) for prompt in range(prompts) for answer in range(answers)]
        self.overlap, self.now = Overlap(overlap, third, measured), 1_000.0
        self.deck = Deck(self.overlap, self.records)
        self.responses: dict[tuple[str, str], Answer] = {}
        self.leases: dict[tuple[str, str], float] = {}  # as the database has them
        self.held: dict[str, list[str]] = {}
        self.late: set[str] = set()  # records that got a vote from somebody whose lease had ended, or was passed on

    def votes(self, record: str) -> int:
        return sum(answer.status == "submitted" for (other, _), answer in self.responses.items() if other == record)

    def wanted(self, record: str) -> int:
        votes = [answer.vote for (other, _), answer in self.responses.items() if other == record]
        counts = Counter(vote for vote in votes if vote)
        first = self.overlap.votes + self.overlap.is_measured(record)
        return first + (self.overlap.asks_third and 2 * counts["good"] == 2 * counts["bad"] == counts.total() == first)

    def has(self, record: str, who: str) -> bool:
        return (record, who) in self.responses and self.responses[record, who] != DRAFT

    @rule(who=PEOPLE, count=st.integers(0, 4))
    def draw(self, who: str, count: int) -> None:
        have = self.held.setdefault(who, [])
        free = {
            record
            for record, *_ in self.records
            if not self.has(record, who) and record not in have
            if self.votes(record) + sum(
                end > self.now for (other, holder), end in self.leases.items() if other == record and holder != who
            ) < self.wanted(record)
        }  # fmt: skip
        mine = {record for record, holder in self.leases if holder == who and self.leases[record, holder] > self.now}
        drawn = self.deck.draw(who, count, have, self.now)
        assert len(drawn) == len(set(drawn)) <= count
        assert not set(drawn) & set(have)
        assert not any(self.has(record, who) for record in drawn), "no card twice to one person"
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
                assert self.votes(record) + len(fresh) < self.wanted(record)
                self.late.add(record)
        for record, user, end in self.deck.leases(who, [*have, *drawn]):
            self.leases[record, user] = end
        have += drawn

    @rule(who=PEOPLE, vote=st.sampled_from([GOOD, GOOD, BAD, BAD, SKIPPED]), data=st.data())
    def vote(self, who: str, vote: Answer, data: st.DataObject) -> None:
        if held := self.held.get(who):
            record = data.draw(st.sampled_from(held))
            held.remove(record)
            if self.leases.get((record, who), 0) <= self.now:
                self.late.add(record)
            self.settle(record, who, vote)

    @rule(who=PEOPLE, answer=st.sampled_from([GOOD, BAD, SKIPPED, DRAFT]), data=st.data())
    def change(self, who: str, answer: Answer, data: st.DataObject) -> None:
        mine = sorted(record for record, user in self.responses if user == who and self.has(record, user))
        if mine:
            record = data.draw(st.sampled_from(mine))
            if answer.vote and answer != self.responses[record, who]:
                self.late.add(record)  # free for others meanwhile, or tied no more
            self.settle(record, who, answer)
            if answer == DRAFT:
                self.late.add(record)
                self.held[who].insert(0, record)

    def settle(self, record: str, who: str, answer: Answer) -> None:
        self.deck.settle(record, who, answer, self.now)
        self.responses[record, who] = answer
        self.leases.pop((record, who), None)
        if answer == DRAFT:
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
        responses = [(record, user, answer) for (record, user), answer in self.responses.items()]
        leases = [(record, user, end) for (record, user), end in self.leases.items() if end > self.now]
        self.deck = Deck(self.overlap, self.records, responses, leases)

    @invariant()
    def progress(self) -> None:
        counts = Counter(user for record, user in self.responses if self.has(record, user))
        votes = sum(min(self.wanted(record), self.votes(record)) for record, *_ in self.records)
        goal = sum(self.wanted(record) for record, *_ in self.records)
        for who in ("amina", "piet", "wanjiku", "zuri"):
            assert self.deck.progress(who) == {"mine": counts[who], "all": votes, "all_goal": goal}

    @invariant()
    def overlap_is_kept(self) -> None:
        for record, *_ in self.records:
            votes = self.votes(record)
            most = self.overlap.votes + self.overlap.is_measured(record) + self.overlap.asks_third
            assert votes <= most or record in self.late, "no vote beyond the overlap but late ones"

    def teardown(self) -> None:
        """In the end all votes come in, by people who come back until nothing is left."""
        if not hasattr(self, "deck"):
            return
        self.now += LEASE + 1
        people = ["amina", "piet", "wanjiku", "zuri"]
        for who in people:
            for record in self.held.get(who, []):
                self.settle(record, who, GOOD)
        for _ in range(2):
            for who in people:
                while drawn := self.deck.draw(who, 3, now=self.now):
                    for record in drawn:
                        self.settle(record, who, GOOD)
        for record, *_ in self.records:
            skipped = sum(self.responses.get((record, who)) == SKIPPED for who in people)
            assert self.votes(record) >= min(self.wanted(record), len(people) - skipped)


TestCampaign = Campaign.TestCase
TestCampaign.settings = settings(max_examples=150, stateful_step_count=40)
