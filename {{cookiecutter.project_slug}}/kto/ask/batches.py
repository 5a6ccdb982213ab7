"""Between an event loop and a thread that works for it: requests come in batches, results go back."""

import asyncio
import contextlib
import itertools
import queue
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def batches(waiting: "queue.SimpleQueue[T | None]", most: int) -> Iterator[list[T]]:
    """Yield what is in the queue, about `most` at a time, and wait for more, until None comes.

    What came before None is yielded, too; the last batch may be empty.
    """
    last = False
    while not last:
        batch = [waiting.get()]
        with contextlib.suppress(queue.Empty):
            while len(batch) < most:
                batch.append(waiting.get_nowait())
        last = None in batch
        yield [each for each in batch if each is not None]


def deliver(results: "Iterable[tuple[asyncio.Future[Any], Any]]") -> None:
    """Give futures their results, exceptions as such; each belongs to a loop of its own or to one that others share."""
    for loop, group in itertools.groupby(results, lambda each: each[0].get_loop()):
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(fulfil, list(group))


def fulfil(results: "Iterable[tuple[asyncio.Future[Any], Any]]") -> None:
    """Do what `deliver` does, in the loop of the futures."""
    for future, result in results:
        if future.done():  # cancelled
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
