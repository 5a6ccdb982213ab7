"""Which answer a person gets next.

Everybody goes through the answers in nearly one order, so that the first ones reach their overlap early, whether 5
people vote or 50; of the next ones each person gets others first. A card that was given out is leased: it counts as a
vote that will come, until the lease ends. When nothing else is left, a card whose holder was not heard of for some
minutes is given to somebody else, too: rather a vote more than wanted than a person sent away while the last answers
wait for somebody who has left.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from kto.questions import BAD, GOOD
from kto.vote.overlap import Overlap

LEASE = 20 * 60
"""Seconds that a card is held for the person who got it."""
PATIENCE = 3 * 60
"""Seconds that it is theirs alone when nothing else is left."""
_LOOKED_AT = 500  # cards of prompts that a person has just seen; if there are more, one of them has to do
_NEXT = 30  # cards that a person's next ones are chosen from


class Answer(NamedTuple):
    """One person's response to a record."""

    status: str  # as in Argilla: submitted, discarded or draft
    vote: str | None = None
    is_flagged: bool = False  # names a reason for which nobody else is to see the answer

    @property
    def is_given(self) -> bool:
        """Whether this person is not asked again."""
        return self.status != "draft"


@dataclass(slots=True, eq=False)
class _Card:
    id: str
    prompt: str
    can_be_given: bool  # is given out, and counts towards the goal
    is_measured: bool = False
    decision: str | None = None  # of the lead: about a tie, or that flags do not count
    place: int = -1  # in the order in which cards are given out
    votes: int = 0
    good: int = 0  # of the votes
    bad: int = 0
    flagged: int = 0
    wanted: int = 0  # votes; 0 if it is not given out
    answers: dict[str, Answer] = field(default_factory=dict)  # by user
    leases: dict[str, float] = field(default_factory=dict)  # user → end of the lease, seconds since the epoch

    @property
    def is_short(self) -> bool:
        """Whether it lacks votes."""
        return self.votes < self.wanted

    def has_from(self, user: str) -> bool:
        """Whether this person has judged or skipped it."""
        answer = self.answers.get(user)
        return answer is not None and answer.is_given

    def put(self, user: str, answer: Answer) -> None:
        """Take a person's response in place of an earlier one; then `want` is to be called."""
        for sign, each in ((-1, self.answers.get(user)), (1, answer)):
            if each and each.status == "submitted":
                self.votes += sign
                self.good += sign * (each.vote == GOOD)
                self.bad += sign * (each.vote == BAD)
                self.flagged += sign * each.is_flagged
        self.answers[user] = answer

    def want(self, overlap: Overlap) -> None:
        is_given_out = self.can_be_given and not overlap.is_closed(self.decision, self.flagged > 0)
        self.wanted = overlap.wanted(self.good, self.bad, self.is_measured) if is_given_out else 0


class Deck:
    """The records of a dataset with their responses and leases, in memory. One thread uses it; any may ask `progress`.

    Of `records`, in an order that mixes the prompts: id, id of the prompt, whether it can be given out, id outside of
    Argilla, and what the lead has decided. Of `responses`: record, user and response; those on other records are passed
    over. Of `leases`: record, user and end.
    """

    def __init__(
        self,
        overlap: Overlap,
        records: Iterable[tuple[str, str, bool, str, str | None]] = (),
        responses: Iterable[tuple[str, str, Answer]] = (),
        leases: Iterable[tuple[str, str, float]] = (),
    ) -> None:
        self.overlap = overlap
        self._cards = {
            id: _Card(id, prompt, bool(given), overlap.is_measured(external_id), decision)
            for id, prompt, given, external_id, decision in records
        }
        self._order: list[_Card] = []
        self._starts: dict[str, int] = {}  # user → place before which there is no card for them
        self._mine: Counter[str] = Counter()
        self._votes = self._goal = 0  # that count towards the goal
        for record, user, answer in responses:
            if card := self._cards.get(record):
                card.put(user, answer)
                self._mine[user] += answer.is_given
        for record, user, end in leases:
            if (card := self._cards.get(record)) and not card.has_from(user):
                card.leases[user] = end
        for card in self._cards.values():
            card.want(overlap)
            self._goal += card.wanted
            self._votes += min(card.votes, card.wanted)
            if card.is_short:
                self._append(card)

    def _append(self, card: _Card) -> None:
        card.place = len(self._order)
        self._order.append(card)

    def draw(self, user: str, count: int, have: Collection[str] = (), now: float | None = None) -> list[str]:
        """Return the ids of at most `count` records for a person, and lease them.

        `have` are records that their device holds or has just shown: their leases go on, and as long as there are
        others, no card has a prompt of theirs.
        """
        now = time.time() if now is None else now
        for card in self._held(user, have):
            card.leases[user] = now + LEASE
        if count < 1:
            return []
        seen = {self._cards[id].prompt for id in have if id in self._cards}
        near: list[_Card] = []
        postponed: list[_Card] = []
        for card in self._available(user, have, now, short=False):
            (postponed if card.prompt in seen else near).append(card)
            if len(near) == max(_NEXT, count) or len(postponed) == _LOOKED_AT:
                break
        drawn: list[_Card] = []
        for card in sorted(near, key=lambda card: _mixed(user, card)):
            if card.prompt not in seen and len(drawn) < count:
                drawn.append(card)
                seen.add(card.prompt)
        _fill(drawn, [*(card for card in near if card not in drawn), *postponed], count)
        if not drawn:
            # Those of their own, which another device holds, come first: a second vote of theirs is no vote too many.
            short = sorted(self._available(user, have, now, short=True), key=lambda card: user not in card.leases)
            _fill(drawn, short, count)
        for card in drawn:
            card.leases[user] = now + LEASE
        return [card.id for card in drawn]

    def _held(self, user: str, have: Collection[str]) -> list[_Card]:
        return [card for id in have if (card := self._cards.get(id)) and user in card.leases]

    def leases(self, user: str, records: Collection[str]) -> list[tuple[str, str, float]]:
        """Return record, user and end of the leases that a person has on these records."""
        return [(card.id, user, card.leases[user]) for card in self._held(user, records)]

    def wait(self, user: str, have: Collection[str] = (), now: float | None = None) -> int | None:
        """Return the seconds until a card may be there for a person for whom there is none now; None for never."""
        now = time.time() if now is None else now
        waits = []
        for card in self._left(user):
            if card.id not in have:
                ends = sorted(end - LEASE + PATIENCE for holder, end in card.leases.items() if holder != user)
                missing = card.wanted - card.votes
                waits.append(ends[-missing] - now if len(ends) >= missing else 0)
        return max(1, round(min(waits))) if waits else None

    def _left(self, user: str) -> Iterator[_Card]:
        """Give the cards that lack votes and that a person has not answered."""
        start = self._starts.get(user, 0)
        contiguous = True  # up to here nothing is left for this person
        for place in range(start, len(self._order)):
            card = self._order[place]
            if card.is_short and not card.has_from(user):
                contiguous = False
                yield card
            elif contiguous:
                self._starts[user] = place + 1

    def _available(self, user: str, have: Collection[str], now: float, short: bool) -> Iterator[_Card]:
        until = now + LEASE - PATIENCE if short else now
        for card in self._left(user):
            if card.id in have:
                continue
            mine = False
            others = 0
            for holder, end in card.leases.items():
                if holder == user:
                    mine = end > now
                else:
                    others += end > until
            if card.votes + others < card.wanted and (short or not mine):
                yield card

    def settle(self, record: str, user: str, answer: Answer, now: float | None = None) -> None:
        """Note a person's response; a draft is no answer, and the card goes back to this person."""
        now = time.time() if now is None else now
        card = self._cards.get(record) or self._cards.setdefault(record, _Card(record, "", False))  # not loaded yet
        was_short, wanted, votes = card.is_short, card.wanted, card.votes
        had_answered = card.has_from(user)
        self._mine[user] += answer.is_given - had_answered
        card.put(user, answer)
        card.want(self.overlap)
        self._goal += card.wanted - wanted
        self._votes += min(card.votes, card.wanted) - min(votes, wanted)
        if answer.is_given:
            card.leases.pop(user, None)
        else:
            card.leases[user] = now + LEASE
        if card.is_short and (had_answered or not was_short):  # somebody may get it again
            if card.place < 0:
                self._append(card)
            for other, start in self._starts.items():
                self._starts[other] = min(start, card.place)

    def answered(self, user: str, records: Iterable[str]) -> list[str]:
        """Return those of the records that a person has answered, and those that are given out no more."""
        found = ((id, self._cards.get(id)) for id in records)
        return [id for id, card in found if card is None or not card.wanted or card.has_from(user)]

    def progress(self, user: str) -> dict[str, int]:
        """Return how many answers this person has judged, the votes that count towards the goal, and the goal."""
        return {"mine": self._mine[user], "all": self._votes, "all_goal": self._goal}


def _mixed(user: str, card: _Card) -> bytes:
    return hashlib.blake2b(f"{user} {card.id}".encode(), digest_size=8).digest()


def _fill(drawn: list[_Card], others: list[_Card], count: int) -> None:
    """Add others until there are `count`, so that two of one prompt do not follow each other if that can be."""
    while others and len(drawn) < count:
        last = drawn[-1].prompt if drawn else None
        card = next((card for card in others if card.prompt != last), others[0])
        others.remove(card)
        drawn.append(card)
