"""Groups calls that come one by one into batches for one thread; for the store's writer and the language gate."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Batched(Generic[T]):
    """Awaitable calls of a blocking function, in batches, from any event loop.

    `work` gets at most `most` items and returns a result, or an exception to raise, for each. It runs in one thread.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[Any]], most: int) -> None:
        self._work, self._most = work, most
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[tuple[T, Future[Any]]] = []

    async def __call__(self, item: T) -> Any:
        """Return the result for an item; the work is also done if nobody awaits it any more."""
        future: Future[Any] = Future()
        self._waiting.append((item, future))
        self._thread.submit(self._run)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Return when all items are done."""
        self._thread.shutdown()

    def _run(self) -> None:
        batch = self._waiting[: self._most]
        if not batch:  # an earlier call took the item along
            return
        del self._waiting[: len(batch)]
        try:
            results = self._work([item for item, _ in batch])
        except Exception as error:
            results = [error] * len(batch)
        for (_, future), result in zip(batch, results, strict=True):
            if not future.set_running_or_notify_cancel():
                continue
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
