"""Groups calls that come one by one into batches for one thread; for the store's writer and the language gate."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Batched(Generic[T]):
    """Awaitable calls of a blocking function, in batches, from one event loop at a time.

    `work` gets at most `most` items and returns a result, or an exception to raise, for each. It runs in one thread.
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[Any]], most: int) -> None:
        self._work, self._most = work, most
        self._thread = ThreadPoolExecutor(1)
        self._waiting: list[tuple[T, asyncio.Future[Any]]] = []

    async def __call__(self, item: T) -> Any:
        """Return the result for an item; the work is also done if nobody awaits it any more."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if len(self._waiting) == 1:  # else the thread is at work, and takes this item with its next batch
            self._thread.submit(self._run)
        return await future

    def close(self) -> None:
        """Return when all items are done."""
        self._thread.shutdown()

    def _run(self) -> None:
        while batch := self._waiting[: self._most]:
            del self._waiting[: len(batch)]
            try:
                results = self._work([item for item, _ in batch])
            except Exception as error:
                results = [error] * len(batch)
            futures = [future for _, future in batch]
            # One message to the event loop per batch: one per item would cost more than the work.
            with contextlib.suppress(RuntimeError):  # the loop has ended
                futures[-1].get_loop().call_soon_threadsafe(_resolve, futures, results)


def _resolve(futures: Sequence[asyncio.Future[Any]], results: Sequence[Any]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():  # cancelled, perhaps because its loop has ended
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
