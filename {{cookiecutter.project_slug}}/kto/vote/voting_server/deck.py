"""Which answer a person gets next.

Everybody goes through the answers in one order, so that the first ones reach their overlap early, whether 5 people vote
or 50. A card that was given out is leased: it counts as a vote that will come, until the lease ends.
"""

import random
import sqlite3
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field

LEASE = 20 * 60  # seconds that a card is held for the person who got it


@dataclass(slots=True)
class _Record:
    id: str
    prompt: str
    answered: set[str] = field(default_factory=set)  # users who voted or skipped
    votes: int = 0
    leases: dict[str, float] = field(default_factory=dict)  # user → end of the lease, seconds since the epoch


class Deck:
    """The records of a dataset with their votes and leases, in memory. Safe to use from several threads."""

    def __init__(self, overlap: int) -> None:
        self.overlap = overlap
        self._lock = threading.Lock()
        self._records: dict[str, _Record] = {}
        self._open: list[_Record] = []  # in the order in which they are given out
        self._last_prompt: dict[str, str] = {}  # user → prompt of the card given last

    def load(self, connection: sqlite3.Connection, dataset: str) -> None:
        """Read everything anew: at the start, and when another process has written."""
        records = {
            id: _Record(id, prompt or id)
            for id, prompt in connection.execute(
                "SELECT id, json_extract(metadata, '$.prompt_id') FROM records WHERE dataset_id = ?", (dataset,)
            )
        }
        responses = """
            SELECT record_id, user_id, responses.status FROM responses JOIN records ON records.id = record_id
            WHERE dataset_id = ? AND responses.status != 'draft'"""
        for record, user, status in connection.execute(responses, (dataset,)):
            records[record].answered.add(user)
            records[record].votes += status == "submitted"
        for record, user, end in connection.execute("SELECT * FROM kto_leases WHERE expires_at > ?", (time.time(),)):
            if record in records and user not in records[record].answered:
                records[record].leases[user] = end
        order = sorted(records)
        random.Random(dataset).shuffle(order)  # nosec: an order, no secret
        with self._lock:
            self._records = records
            self._open = [records[id] for id in order if records[id].votes < self.overlap]

    def draw(self, user: str, count: int, have: Collection[str] = ()) -> list[str]:
        """Return ids of records for this person, at most `count`, and lease them; `have` are on the device already."""
        now = time.time()
        drawn: list[str] = []
        postponed: list[_Record] = []
        with self._lock:
            last = self._last_prompt.get(user, "")
            for record in self._open:
                if len(drawn) == count:
                    break
                if user in record.answered or record.id in have or not self._has_room(record, user, now):
                    continue
                if record.prompt == last:
                    postponed.append(record)
                    continue
                for next_ in (record, *postponed):
                    if len(drawn) < count and next_.prompt != last:
                        drawn.append(next_.id)
                        last = next_.prompt
                        next_.leases[user] = now + LEASE
                        postponed = [other for other in postponed if other is not next_]
            if not drawn:  # only answers to one prompt are left
                for record in postponed[:count]:
                    drawn.append(record.id)
                    last = record.prompt
                    record.leases[user] = now + LEASE
            self._last_prompt[user] = last
        return drawn

    def _has_room(self, record: _Record, user: str, now: float) -> bool:
        if record.leases:
            record.leases = {holder: end for holder, end in record.leases.items() if end > now}
        others = len(record.leases) - (user in record.leases)
        return record.votes + others < self.overlap

    def settle(self, record_id: str, user: str, before: str, after: str) -> None:
        """Note that a person's response has another status ("" for none); a draft is no answer."""
        with self._lock:
            record = self._records.get(record_id)
            if record is None:
                return
            record.leases.pop(user, None)
            was_open = record.votes < self.overlap
            record.votes += (after == "submitted") - (before == "submitted")
            if after in ("submitted", "discarded"):
                record.answered.add(user)
            else:
                record.answered.discard(user)
                record.leases[user] = time.time() + LEASE  # the card goes back to this person
            if was_open and record.votes >= self.overlap:
                self._open.remove(record)
            elif not was_open and record.votes < self.overlap:
                self._open.insert(0, record)

    def is_known(self, record_id: str) -> bool:
        return record_id in self._records

    def progress(self, user: str) -> dict[str, int]:
        """Return the votes of this person, those of all that count towards the goal, and the goal."""
        with self._lock:
            records = self._records.values()
            return {
                "mine": sum(user in record.answered for record in records),
                "all": sum(min(record.votes, self.overlap) for record in records),
                "all_goal": len(self._records) * self.overlap,
            }
