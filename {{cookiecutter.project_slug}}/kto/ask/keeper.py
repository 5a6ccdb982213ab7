"""Between the models that answer and the store: whatever arrives is on the disk before it counts."""

import asyncio
import contextlib
import dataclasses
import queue
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from kto import sqlite_files
from kto.ask.batches import batches, deliver
from kto.ask.language_gate import Judgement
from kto.ask.store import Entry, Kept, Message, Store
from kto.ask.tries import Tries, Try
from kto.errors import UserError
from kto.texts import t

_BATCH = 500  # answers in one transaction, at most

_Waiting = tuple[Entry, "asyncio.Future[None]"]


class CannotKeep(Exception):
    """Answers cannot be written, for example because the disk is full; the text is a sentence for people."""


class Spent(Exception):
    """A further request might cost more than what is left; the text is a sentence for people."""


@dataclasses.dataclass
class Tally:
    """What one model did in this run; tokens as far as the server counted them, money in dollars."""

    answers: int = 0
    settled: int = 0  # prompts that need nothing more in this run: answered, or given up
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0  # of all answers together
    cost: float = 0.0
    failures: Counter[str] = dataclasses.field(default_factory=Counter)  # reason → prompts
    said: list[str] = dataclasses.field(default_factory=list)  # to the person at the terminal

    @property
    def answered(self) -> int:
        """Prompts that this run has brought an answer."""
        return self.settled - min(self.failures.total(), self.settled)


class Keeping(Protocol):
    """What a model that answers needs; `Keeper` gives it in this process, `kto.ask.ray_cluster` to other machines."""

    async def find(self, tries: Tries, gate: str, conversation: Sequence[Message], number: int) -> Try:
        """Return what the store has for a try."""

    async def put(self, entry: Entry) -> None:
        """Return when the entry is on the disk; raise `CannotKeep` if it cannot get there."""

    async def judge(self, gate: str, key: str, judgement: Judgement) -> None:
        """Note what a gate says of an answer."""

    async def settle(self, model: str, key: str, failure: str) -> None:
        """Note that a prompt needs nothing more in this run, and why its answer, with this key, is missing."""

    async def say(self, model: str, text: str) -> None:
        """Say something about a model, once in this run."""

    async def reserve(self, model: str, dollars: float) -> None:
        """Return when a request that costs so much at most may be sent; raise `Spent` if none may any more."""

    async def pay(self, model: str, reserved: float, dollars: float) -> None:
        """Note what a request has cost, for which so much had been reserved."""


class Keeper:
    """Writes answers to the store in a thread, as many in one transaction as have arrived in the meantime.

    Everything but `close` belongs to one event loop.

    Parameters
    ----------
    path
        The answer store.
    max_cost
        Dollars that this run may cost, None if there is no limit.

    Raises
    ------
    UserError
        The store cannot be opened.
    """

    def __init__(self, path: Path, max_cost: float | None = None) -> None:
        self._store = Store(path)
        self.path = path
        self._max_cost = max_cost
        self._spent = self._reserved = 0.0
        self._reservations = 0
        self._paid: asyncio.Event | None = None
        self._broken = ""
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._judgements: queue.SimpleQueue[tuple[str, str, Judgement]] = queue.SimpleQueue()
        opened: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, args=(opened,), daemon=True)
        self._thread.start()
        if error := opened.get():
            self._store.close()
            raise error
        self.tallies: dict[str, Tally] = {}
        self.failures: dict[str, str] = {}  # by key of the first try

    @property
    def left(self) -> float | None:
        """Dollars that this run may still cost, if what is in flight costs all that it may; None: no limit."""
        return None if self._max_cost is None else max(self._max_cost - self._spent - self._reserved, 0.0)

    def tally(self, model: str) -> Tally:
        """Return the tally of a model; it changes while the run goes on."""
        return self.tallies.setdefault(model, Tally())

    async def get(self, key: str, gate: str) -> Kept | None:
        """Return what the store has under this key."""
        return self._store.get(key, gate)

    async def find(self, tries: Tries, gate: str, conversation: Sequence[Message], number: int) -> Try:
        """Return what the store has for a try."""
        return tries.find(self._store, gate, conversation, number)

    async def put(self, entry: Entry) -> None:
        """Return when the entry is on the disk; raise `CannotKeep` if it cannot get there."""
        if self._broken:
            raise CannotKeep(self._broken)
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((entry, written))
        await written
        tally = self.tally(entry.model)
        tally.answers += 1
        tally.prompt_tokens += entry.answer.prompt_tokens or 0
        tally.completion_tokens += entry.answer.completion_tokens or 0
        tally.seconds += entry.answer.seconds or 0.0

    async def judge(self, gate: str, key: str, judgement: Judgement) -> None:
        """Note what a gate says of an answer; it is written soon. If it gets lost, the next run judges again."""
        self._judgements.put((gate, key, judgement))

    async def settle(self, model: str, key: str, failure: str) -> None:
        """Note that a prompt needs nothing more in this run, and why its answer, with this key, is missing."""
        tally = self.tally(model)
        tally.settled += 1
        if failure:
            tally.failures[failure] += 1
            self.failures[key] = failure

    async def say(self, model: str, text: str) -> None:
        """Say something about a model, once in this run."""
        self.print_once(model, text)

    def print_once(self, model: str, text: str) -> None:
        """Do what `say` does."""
        said = self.tally(model).said
        if text not in said:
            said.append(text)
            print(text, flush=True)

    async def reserve(self, model: str, dollars: float) -> None:
        """Return when a request that costs so much at most may be sent; raise `Spent` if none may any more."""
        if self._max_cost is None:
            return
        while self._spent + self._reserved + dollars > self._max_cost:
            if not self._reservations:
                raise Spent(t("generate.failed_spent"))
            self._paid = self._paid or asyncio.Event()  # those in flight may turn out cheaper
            await self._paid.wait()
        self._reserved += dollars
        self._reservations += 1

    async def pay(self, model: str, reserved: float, dollars: float) -> None:
        """Note what a request has cost, for which so much had been reserved."""
        self.tally(model).cost += dollars
        self._spent += dollars
        if self._max_cost is not None:
            self._reservations -= 1
            self._reserved = self._reserved - reserved if self._reservations else 0.0
            if self._paid:
                self._paid.set()
                self._paid = None

    def close(self) -> None:
        """Write what is still waiting, and close the store."""
        self._queue.put(None)
        self._thread.join()
        self._store.close()

    def _write(self, opened: "queue.SimpleQueue[Exception | None]") -> None:
        """Write until None comes; runs in the thread, with a connection of its own.

        That is open before anybody is asked: later there might be too many open files.
        """
        try:
            writer = Store(self.path)
        except Exception as error:
            opened.put(error)
            return
        opened.put(None)
        for waiting in batches(self._queue, _BATCH):
            self._commit(writer, waiting)  # judgements, too, if there are no answers any more
        writer.close()

    def _commit(self, writer: Store, waiting: Sequence[_Waiting]) -> None:
        error: CannotKeep | None = None
        judgements: list[tuple[str, str, Judgement]] = []
        with contextlib.suppress(queue.Empty):
            while True:
                judgements.append(self._judgements.get_nowait())
        try:
            writer.put((entry for entry, _ in waiting), judgements)
        except Exception as reason:  # every further answer would be lost, and may be paid for
            self._broken = str(_why_not_kept(self.path, reason))
            error = CannotKeep(self._broken)
        deliver((future, error) for _, future in waiting)


def _why_not_kept(path: Path, reason: Exception) -> object:
    """Return a sentence on why nothing can be written, and what helps."""
    if isinstance(reason, UserError):
        return reason
    if isinstance(reason, sqlite3.Error) and getattr(reason, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
        return sqlite_files.trouble(path, reason)
    return t("generate.failed_to_keep", path=path, reason=reason)
