"""Limits on how often something is done: counted by key, in memory, for a while."""

import math
import threading
import time
from collections import deque

_KEYS = 20_000  # counted at once; what was not counted for longest is forgotten first


class Attempts:
    """At most `most` attempts by one key within any `seconds`. Safe to use from several threads."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._times: dict[bytes | str, deque[float]] = {}  # of the last attempts, `most` at most

    def count(self, key: bytes | str, attempts: int = 1) -> None:
        with self._lock:
            now, times = time.monotonic(), self._times.pop(key, None) or deque(maxlen=self._most)
            while times and times[0] <= now - self._seconds:
                times.popleft()  # else a device would take 20 kB for as long as the page runs
            times.extend([now] * attempts)
            self._times[key] = times
            if len(self._times) > _KEYS:
                del self._times[next(iter(self._times))]

    def has(self, key: bytes | str) -> bool:
        """Tell whether an attempt by this key is remembered."""
        with self._lock:
            return key in self._times

    def seconds_to_wait(self, key: bytes | str) -> int:
        """Return for how many seconds no further attempt is allowed, 0 if one is."""
        with self._lock:
            times = self._times.get(key)
            if times is None or len(times) < self._most:
                return 0
            return max(0, math.ceil(self._seconds - (time.monotonic() - times[0])))
