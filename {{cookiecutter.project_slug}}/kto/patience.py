"""Repeats a call to the Hub or to Argilla that failed for a moment. For model servers, `ask/runner.py` does this."""

import time
from collections.abc import Callable
from typing import TypeVar

WAITS = (1, 2, 4, 8)
"""Seconds before each further attempt."""
PASSING = frozenset((408, 409, 412, 429, 500, 502, 503, 504))
"""Statuses that may be gone in a moment; 409 and 412: somebody else was writing."""

T = TypeVar("T")


def patiently(call: Callable[[], T], passes: Callable[[Exception], bool]) -> T:
    """Return what `call` gives; where it raises something that passes, call it again, some seconds later."""
    for wait in WAITS:
        try:
            return call()
        except Exception as error:
            if not passes(error):
                raise
        time.sleep(wait)
    return call()
