"""A server that answers few requests at a time: patience with those that wait for their turn, and fewer of them."""

import asyncio
from types import TracebackType

_STEP = 8  # so many times fewer requests in flight, if the server can answer none of them in time


class Crowded(TimeoutError):
    """No answer in time, while others waited, too, and none of them has overtaken this one."""


class Patience:
    """Tells a request that the server has lost from one that waits for its turn there.

    A request has `timeout` seconds; with every reply to another one they begin anew, because the queue has moved. That
    ends when more replies have come than a queue explains: twice as many as requests were in flight before this one.

    Belongs to one event loop.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.in_flight = 0
        self.replies = 0  # so far
        self.last = 0.0  # time of the last one

    def waiting(self) -> "_Waiting":
        """Return a block that sends a request and takes its reply; it raises `TimeoutError` when that takes too long.

        The error is `Crowded` if the request perhaps only waited for its turn.
        """
        return _Waiting(self)


class _Waiting:
    """A request in flight."""

    __slots__ = ("_ahead", "_before", "_began", "_loop", "_patience", "_scope", "_timer")

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._before, self._ahead = patience.replies, patience.in_flight

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._scope = asyncio.timeout(None)
        await self._scope.__aenter__()
        self._timer = self._loop.call_at(self._began + self._patience.timeout, self._look)
        self._patience.in_flight += 1

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self._patience.in_flight -= 1
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            if not self._is_overtaken() and (self._ahead or self._patience.in_flight):
                raise Crowded from None
            raise
        if kind is None:
            self._patience.replies += 1
            self._patience.last = self._loop.time()

    def _is_overtaken(self) -> bool:
        return self._patience.replies - self._before > 2 * self._ahead

    def _look(self) -> None:
        """Look whether the time is over; it may have begun anew since."""
        began = self._began if self._is_overtaken() else max(self._began, self._patience.last)
        until = began + self._patience.timeout
        if until > self._loop.time():
            self._timer = self._loop.call_at(until, self._look)
        else:
            self._scope.reschedule(self._loop.time())


class Slots:
    """Places for requests in flight: `most` at first, fewer while the server cannot answer so many in time.

    Belongs to one event loop.
    """

    def __init__(self, most: int) -> None:
        self.allowed = most
        self._most = most
        self._free = asyncio.Semaphore(most)
        self._owed = 0  # places that are taken away as soon as they become free
        self._in_time = 0  # answers, one after the other

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._owed:
            self._owed -= 1
        else:
            self._free.release()

    @property
    def reduced(self) -> bool:
        """Whether there are fewer places than at first."""
        return self.allowed < self._most

    def reduce(self, allowed: int) -> bool:
        """Note that one of so many requests was one too many; return whether there are fewer places now than then."""
        if allowed <= self.allowed:
            self.set(self.allowed // _STEP)
        return self.allowed < allowed

    def set(self, allowed: int) -> None:
        """Allow so many requests, but at least one, until answers come."""
        self._in_time = 0
        allowed = max(1, min(allowed, self.allowed))
        self._owed += self.allowed - allowed
        self.allowed = allowed

    def answered(self, *, soon: bool) -> None:
        """Note an answer; if so many came soon as there are places, twice as many would come in time, too."""
        if not self.reduced:
            return
        self._in_time = self._in_time + 1 if soon else 0
        if self._in_time >= self.allowed:
            self._in_time = 0
            more = min(self.allowed, self._most - self.allowed)
            self.allowed += more
            kept = min(more, self._owed)
            self._owed -= kept
            for _ in range(more - kept):
                self._free.release()
