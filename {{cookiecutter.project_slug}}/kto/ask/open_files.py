"""How many connections fit: most systems count them among the files that a process may have open."""

import contextlib
import sys
from collections.abc import Sequence

_OTHERS = 100  # files for everything else: the store, pipes to other processes, the table


def room_for(connections: Sequence[int]) -> list[int]:
    """Return how many of the wanted connections there may be, of each kind, and raise the system's limit for them."""
    wanted = sum(connections) + _OTHERS
    room = _raise_limit(wanted) - _OTHERS
    if room >= sum(connections):
        return list(connections)
    return [max(1, each * max(room, 0) // sum(connections)) for each in connections]


def _raise_limit(wanted: int) -> int:
    """Let this process open so many files, or as many as it may; return how many that are, at most `wanted`."""
    if sys.platform == "win32":  # there connections are no files
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):  # macOS has a further limit that it does not tell
        resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
        return more
    return soft
