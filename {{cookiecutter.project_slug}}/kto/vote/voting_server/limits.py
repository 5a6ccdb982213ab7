"""How much one device that came by an open link may do: its votes may be anybody's."""

import threading
import time
from collections import deque

from kto.vote.voting_server.http_server import BadRequest
from kto.vote.voting_server.links import Voter

PER_HOUR = 600
"""Answers that such a device may judge within an hour. What it judges beyond waits there."""


class HourlyLimit:
    """Counts in memory, which a restart forgets. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}  # user → when they judged an answer, by the monotonic clock

    def check(self, voter: Voter) -> None:
        """Raise `BadRequest` (429) if somebody has judged too much."""
        now = time.monotonic()
        with self._lock:
            times = self._times.get(voter.user)
            while times and times[0] <= now - 3600:
                times.popleft()
            if times and len(times) >= PER_HOUR:
                raise BadRequest(429, "too_many", seconds=max(1, round(times[-PER_HOUR] + 3600 - now)))

    def count(self, voter: Voter, answers: int) -> None:
        """Note that somebody has judged a number of answers."""
        if voter.is_open and answers:
            with self._lock:
                self._times.setdefault(voter.user, deque()).extend([time.monotonic()] * answers)
