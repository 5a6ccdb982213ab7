"""Between the models and the store: an answer counts when it is on the disk, and the budget is never exceeded."""

import asyncio
import contextlib
import dataclasses
import math
import sqlite3
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from kto import sqlite_files
from kto.ask.batches import Batched
from kto.ask.language import LanguageCheck
from kto.ask.store import NewAnswer, Store
from kto.errors import BudgetExceeded, UserError

_BATCH = 500  # answers per transaction


class StoreUnwritable(UserError):
    """Answers cannot be written, for example because the disk is full."""

    kind = "store_unwritable"


@dataclasses.dataclass
class RunCounts:
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
        return self.settled - self.failures.total()


class AnswerWriter:
    """Writes answers to the store in a thread: those that arrive during one transaction share the next.

    `max_cost` is the dollars that the run may cost. Raises `UserError` if the store cannot be opened. All coroutines
    run in one event loop at a time.
    """

    def __init__(self, path: Path, max_cost: float | None = None) -> None:
        self.counts: dict[str, RunCounts] = {}  # by model
        self.failures: dict[str, UserError] = {}  # why answers are missing, by key of the first request
        self._checks: list[tuple[str, str, LanguageCheck]] = []
        self._broken: StoreUnwritable | None = None  # why nothing can be written any more
        self._left = math.inf if max_cost is None else max_cost  # dollars that are neither spent nor reserved
        self._reservations = 0
        self._paid: asyncio.Event | None = None  # set when a request has ended, and awaited by those that need dollars
        with contextlib.ExitStack() as stack:
            self._store = stack.enter_context(Store(path))
            self.reader = stack.enter_context(Store(path))
            self._stores = stack.pop_all()
        self._write: Batched[NewAnswer] = Batched(self._commit, _BATCH)

    def count(self, model: str) -> RunCounts:
        """Return the counts of a model; they change while the run goes on."""
        return self.counts.setdefault(model, RunCounts())

    def settled(self) -> dict[str, int]:
        """Return by model how many prompts need nothing more."""
        return {model: count.settled for model, count in [*self.counts.items()]}

    async def put(self, answer: NewAnswer) -> None:
        """Return when the answer is on the disk; raise `StoreUnwritable` if it cannot get there."""
        if self._broken:
            raise self._broken
        await self._write(answer)
        count = self.count(answer.model)
        count.answers += 1
        count.prompt_tokens += answer.answer.prompt_tokens or 0
        count.completion_tokens += answer.answer.completion_tokens or 0
        count.seconds += answer.answer.seconds or 0.0

    async def note(self, gate: str, key: str, check: LanguageCheck) -> None:
        """Note a gate's verdict on an answer; it is written with the next answers, or at the end."""
        self._checks.append((gate, key, check))

    async def settle(self, model: str, key: str, failure: UserError | None) -> None:
        """Note that a prompt needs nothing more in this run, and why its answer, with this key, is missing."""
        count = self.count(model)
        count.settled += 1
        if failure:
            count.failures[str(failure)] += 1
            self.failures[key] = failure

    async def say(self, model: str, text: str) -> None:
        """Print a sentence about a model, once per run."""
        said = self.count(model).said
        if text not in said:
            said.append(text)
            print(text, flush=True)

    async def reserve(self, dollars: float) -> None:
        """Return when a request of at most this cost may be sent.

        Raises `BudgetExceeded` if it might cost more than what is left, and nothing in flight may turn out cheaper.
        """
        while dollars > self._left:
            if not self._reservations:
                raise BudgetExceeded
            self._paid = self._paid or asyncio.Event()
            await self._paid.wait()
        self._left -= dollars
        self._reservations += 1

    async def check_price(self, model: str) -> None:
        """Raise `UserError` for a model without a known price where a limit has to be kept."""
        if self._left < math.inf:
            refusal = UserError("no_price", models=model)
            await self.say(model, str(refusal))
            raise refusal

    async def pay(self, model: str, reserved: float, dollars: float) -> None:
        """Note what a request has cost, and give back what had been reserved for it."""
        self.count(model).cost += dollars
        self._left += reserved - dollars
        self._reservations -= 1
        if self._paid:
            self._paid.set()
            self._paid = None

    def close(self) -> None:
        """Write what still waits, and close the store."""
        self._write.close()
        if self._checks:
            self._commit([])
        self._stores.close()

    def _commit(self, answers: Sequence[NewAnswer]) -> Sequence[StoreUnwritable | None]:
        count = len(self._checks)
        try:
            self._store.put(answers, self._checks[:count])
        except Exception as error:  # every further answer would be lost, and may be paid for
            self._broken = _why_unwritable(self._store.path, error)
            return [self._broken] * len(answers)
        del self._checks[:count]
        return [None] * len(answers)


def _why_unwritable(path: Path, error: Exception) -> StoreUnwritable:
    text = "generate.failed_to_keep"
    if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
        text = sqlite_files.store_error(path, error).key
    return StoreUnwritable(text, path=path, reason=error)
