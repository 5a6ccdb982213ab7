"""Blocking work beside an event loop: items that come in while a call runs go together into the next call."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Batched(Generic[T]):
    """Awaitable calls of a blocking function, in batches; belongs to one event loop at a time.

    Parameters
    ----------
    work
        Gets a list of items and returns a result, or an exception to raise, for each of them. Runs in a thread, never
        twice at the same time.
    most
        Items per call.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[Any]], most: int) -> None:
        self._work, self._most = work, most
        self._task: asyncio.Task[None] | None = None
        self.waiting: list[tuple[T, asyncio.Future[Any]]] = []

    async def __call__(self, item: T) -> Any:
        """Return the result for an item."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self.waiting.append((item, future))
        if self._task is None or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._drain())
        return await future

    async def _drain(self) -> None:
        while batch := self.waiting[: self._most]:
            items = [item for item, _ in batch]
            try:
                results: Sequence[Any] = await asyncio.to_thread(self._work, items)
            except Exception as error:
                results = [error] * len(items)
            del self.waiting[: len(batch)]  # not before: a cancelled call has to be made again
            for (_, future), result in zip(batch, results, strict=True):
                if future.done() or future.get_loop() is not asyncio.get_running_loop():  # nobody waits any more
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        self._task = None
