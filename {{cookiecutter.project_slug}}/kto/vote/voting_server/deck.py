"""Which answer a person gets next.

Everybody goes through the answers in one order, so that the first ones reach their overlap early, whether 5 people vote
or 50. A card that was given out is leased: it counts as a vote that will come, until the lease ends. When nothing else
is left, a card whose holder was not heard of for some minutes is given to somebody else, too: rather a vote more than
wanted than a person sent away while the last answers wait for somebody who has left.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

LEASE = 20 * 60
"""Seconds that a card is held for the person who got it."""
PATIENCE = 3 * 60
"""Seconds that it is theirs alone when nothing else is left."""
_LOOKED_AT = 500  # cards of prompts that a person has just seen; if there are more, one of them has to do

ANSWERED = ("submitted", "discarded")


@dataclass(slots=True)
class _Card:
    id: str
    prompt: str
    wanted: bool  # is given out, and counts towards the goal
    place: int = -1  # in the order in which cards are given out
    votes: int = 0
    statuses: dict[str, str] = field(default_factory=dict)  # user → status of their response
    leases: dict[str, float] = field(default_factory=dict)  # user → end of the lease, seconds since the epoch


class Deck:
    """The records of a dataset with their responses and leases, in memory. One thread uses it; any may ask `progress`.

    Parameters
    ----------
    overlap
        Votes wanted per record.
    records
        Id, id of the prompt, and whether it can be given out, in an order that mixes the prompts.
    responses
        Record, user and status in Argilla; those on other records are passed over.
    leases
        Record, user and end.
    """

    def __init__(
        self,
        overlap: int,
        records: Iterable[tuple[str, str, bool]] = (),
        responses: Iterable[tuple[str, str, str]] = (),
        leases: Iterable[tuple[str, str, float]] = (),
    ) -> None:
        self.overlap = overlap
        self._cards = {id: _Card(id, prompt, bool(wanted)) for id, prompt, wanted in records}
        self._order: list[_Card] = []
        self._starts: dict[str, int] = {}  # user → place before which there is no card for them
        self._mine: Counter[str] = Counter()
        self._votes = self._goal = 0  # that count towards the goal
        for record, user, status in responses:
            if card := self._cards.get(record):
                card.statuses[user] = status
                card.votes += status == "submitted"
                self._mine[user] += status in ANSWERED
        for record, user, end in leases:
            if (card := self._cards.get(record)) and card.statuses.get(user) not in ANSWERED:
                card.leases[user] = end
        for card in self._cards.values():
            if card.wanted:
                self._goal += overlap
                self._votes += min(card.votes, overlap)
                if card.votes < overlap:
                    self._append(card)

    def _append(self, card: _Card) -> None:
        card.place = len(self._order)
        self._order.append(card)

    def _count(self, record: str, user: str, status: str) -> str:
        card = self._cards.get(record) or self._cards.setdefault(record, _Card(record, "", False))  # not loaded yet
        before = card.statuses.get(user, "")
        card.statuses[user] = status
        self._mine[user] += (status in ANSWERED) - (before in ANSWERED)
        votes = card.votes + (status == "submitted") - (before == "submitted")
        if card.wanted:
            self._votes += min(votes, self.overlap) - min(card.votes, self.overlap)
        card.votes = votes
        return before

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
        drawn: list[_Card] = []
        postponed: list[_Card] = []
        for card in self._available(user, have, now, short=False):
            if card.prompt in seen:
                postponed.append(card)
            else:
                drawn.append(card)
                seen.add(card.prompt)
            if len(drawn) == count or len(postponed) == _LOOKED_AT:
                break
        _fill(drawn, postponed, count)
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
                missing = self.overlap - card.votes
                waits.append(ends[-missing] - now if len(ends) >= missing else 0)
        return max(1, round(min(waits))) if waits else None

    def _left(self, user: str) -> Iterator[_Card]:
        """Give the cards that lack votes and that a person has not answered."""
        start = self._starts.get(user, 0)
        contiguous = True  # up to here nothing is left for this person
        for place in range(start, len(self._order)):
            card = self._order[place]
            if card.votes < self.overlap and card.statuses.get(user) not in ANSWERED:
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
            if card.votes + others < self.overlap and (short or not mine):
                yield card

    def settle(self, record: str, user: str, status: str, now: float | None = None) -> None:
        """Note the status of a person's response; a draft is no answer, and the card goes back to this person."""
        now = time.time() if now is None else now
        before = self._count(record, user, status)
        card = self._cards[record]
        if status in ANSWERED:
            card.leases.pop(user, None)
        else:
            card.leases[user] = now + LEASE
        if card.wanted and before in ANSWERED and card.votes < self.overlap:  # somebody may get it again
            if card.place < 0:
                self._append(card)
            for other, start in self._starts.items():
                self._starts[other] = min(start, card.place)

    def answered(self, user: str, records: Iterable[str]) -> list[str]:
        """Return those of the records that a person has answered, and those that are given out no more."""
        found = ((id, self._cards.get(id)) for id in records)
        return [id for id, card in found if card is None or not card.wanted or card.statuses.get(user) in ANSWERED]

    def progress(self, user: str) -> dict[str, int]:
        """Return how many answers this person has judged, the votes that count towards the goal, and the goal."""
        return {"mine": self._mine[user], "all": self._votes, "all_goal": self._goal}


def _fill(drawn: list[_Card], others: list[_Card], count: int) -> None:
    """Add others until there are `count`, so that two of one prompt do not follow each other if that can be."""
    while others and len(drawn) < count:
        last = drawn[-1].prompt if drawn else None
        card = next((card for card in others if card.prompt != last), others[0])
        others.remove(card)
        drawn.append(card)
