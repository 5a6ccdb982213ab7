"""Repeats a call to the Hub or to Argilla that failed for a moment. For model servers, `ask/runner.py` does this."""

import time
from collections.abc import Callable
from typing import TypeVar

WAITS = (1, 2, 4, 8)  # seconds before each further attempt
# HTTP statuses of temporary failures; 409 and 412: somebody else was writing.
TEMPORARY = frozenset((408, 409, 412, 429, 500, 502, 503, 504))

T = TypeVar("T")


def retry(call: Callable[[], T], is_temporary: Callable[[Exception], bool]) -> T:
    """Return what `call` gives; after a temporary failure, call it again some seconds later."""
    for wait in WAITS:
        try:
            return call()
        except Exception as error:
            if not is_temporary(error):
                raise
        time.sleep(wait)
    return call()
