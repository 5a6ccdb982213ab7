"""How many requests are in flight: fewer after timeouts, more after early replies. Waits after a 429: `runner.py`."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence

_STEP = 8  # divides the requests in flight when the server answers none of them in time
_OTHER_FILES = 100  # for everything but connections: the store, pipes to other processes, the table


class Crowded(TimeoutError):
    """No reply in time while others waited, too, and none of them has overtaken this one."""


class ReplyDeadline:
    """A timeout that distinguishes a request that the server has lost from one that waits for its turn there.

    Each reply to another request starts the `timeout` seconds anew, because the queue has moved. That ends after more
    replies than a queue explains: twice as many as requests were in flight before. Belongs to one event loop.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._in_flight = 0
        self._replies = 0
        self._last_reply = 0.0

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Run a block that sends a request and reads its reply; raise `TimeoutError` when that takes too long."""
        loop = asyncio.get_running_loop()
        began, replies, ahead = loop.time(), self._replies, self._in_flight
        scope = asyncio.timeout(None)

        def is_overtaken() -> bool:
            return self._replies - replies > 2 * ahead

        timer: asyncio.TimerHandle

        def check() -> None:
            nonlocal timer
            end = self._timeout + (began if is_overtaken() else max(began, self._last_reply))
            if end > loop.time():
                timer = loop.call_at(end, check)
            else:
                scope.reschedule(loop.time())

        timer = loop.call_at(began + self._timeout, check)
        self._in_flight += 1
        try:
            async with scope:
                yield
        except TimeoutError:
            if scope.expired() and not is_overtaken() and (ahead or self._in_flight > 1):
                raise Crowded from None
            raise
        finally:
            timer.cancel()
            self._in_flight -= 1
        self._replies += 1
        self._last_reply = loop.time()


class Slots:
    """Slots for requests in flight: `most` at first, fewer while the server cannot answer that many in time."""

    def __init__(self, most: int) -> None:
        self.allowed = most
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._owed = 0  # slots to take away when they become free
        self._in_time = 0  # consecutive answers in time

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(self, *_: object) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    @property
    def reduced(self) -> bool:
        """Whether there are fewer slots than at first."""
        return self.allowed < self._most

    def reduce(self, allowed: int) -> bool:
        """Note a timeout of one of `allowed` requests in flight; return whether fewer are allowed now."""
        if allowed <= self.allowed:
            self.set(self.allowed // _STEP)
        return self.allowed < allowed

    def set(self, allowed: int) -> None:
        """Allow at most `allowed` requests, at least one, until answers come."""
        self._in_time = 0
        self._change(max(1, min(allowed, self.allowed)))

    def answered(self, *, soon: bool) -> None:
        """Note an answer; after as many early ones as there are slots, double the slots."""
        if self.reduced:
            self._in_time = self._in_time + 1 if soon else 0
            if self._in_time >= self.allowed:
                self._in_time = 0
                self._change(min(2 * self.allowed, self._most))

    def _change(self, allowed: int) -> None:
        self._owed += self.allowed - allowed
        self.allowed = allowed
        while self._owed < 0:
            self._owed += 1
            self._free.release()


def fitting(wanted: Sequence[int]) -> list[int]:
    """Return how many of the wanted connections fit; raise the limit of open files, which count them, if it helps."""
    if sys.platform == "win32":  # where connections are no files
        return list(wanted)
    import resource

    total = sum(wanted)
    limit, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < total + _OTHER_FILES:
        more = total + _OTHER_FILES if hard == resource.RLIM_INFINITY else min(total + _OTHER_FILES, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a further limit that it does not tell
            resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
            limit = more
    room = max(limit - _OTHER_FILES, 0)
    if limit == resource.RLIM_INFINITY or room >= total:
        return list(wanted)
    return [max(1, count * room // total) for count in wanted]
