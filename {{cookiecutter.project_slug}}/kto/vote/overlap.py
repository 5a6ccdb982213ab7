"""How many votes an answer gets: the overlap, one more where these are tied, one more on a share that is measured.

The third vote goes where it decides something. The measured share was drawn before anybody voted, so that agreement
can be computed from votes that nobody asked for because people differ.
"""

import hashlib
from typing import NamedTuple


class Overlap(NamedTuple):
    """How many votes answers get."""

    votes: int = 2
    asks_third: bool = False
    measured: float = 0.0  # share of the answers

    def is_measured(self, record_id: str) -> bool:
        """Tell whether an answer is one of the measured share, by its id: the same for all, and for good."""
        digest = hashlib.blake2b(record_id.encode("utf-8", "surrogatepass"), digest_size=6, person=b"measured").digest()
        return int.from_bytes(digest) < self.measured * 2**48

    def wanted(self, good: int, bad: int, is_measured: bool) -> int:
        """Return how many votes an answer gets that has so many. Only one more is asked for, however they differ."""
        first = self.votes + is_measured
        return first + (self.asks_third and good == bad and good + bad == first)
