"""Limits on how often something is tried: counted by key, in memory, forgotten with the window."""

import collections
import threading
import time

_KEYS = 20_000  # counted at once; the oldest are forgotten first


class Attempts:
    """At most `most` attempts by one key in `seconds`. Safe to use from several threads."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._lock = threading.Lock()
        self._counts: collections.OrderedDict[bytes, tuple[float, int]] = collections.OrderedDict()

    def count(self, key: bytes) -> None:
        """Count an attempt."""
        now = time.monotonic()
        with self._lock:
            begin, count = self._counts.get(key, (now, 0))
            if now - begin >= self._seconds:
                self._counts.pop(key)
                begin, count = now, 0
            self._counts[key] = begin, count + 1
            if len(self._counts) > _KEYS:
                self._counts.popitem(last=False)

    def has(self, key: bytes) -> bool:
        """Tell whether an attempt by this key is remembered."""
        with self._lock:
            return key in self._counts

    def seconds_to_wait(self, key: bytes) -> int:
        """Return for how many seconds no further attempt is allowed, 0 if one is."""
        with self._lock:
            begin, count = self._counts.get(key, (0.0, 0))
        left = begin + self._seconds - time.monotonic()
        return int(left) + 1 if count >= self._most and left > 0 else 0
