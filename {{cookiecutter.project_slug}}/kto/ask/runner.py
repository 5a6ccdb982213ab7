"""Asks one model: retries what can be retried, stops where nothing helps, and stores every answer."""

import asyncio
import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kto.ask import client, lookups, request_fields
from kto.ask.client import Chat
from kto.ask.language import LanguageCheck
from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup, is_empty
from kto.ask.pace import Slots
from kto.ask.store import Answer, Message, NewAnswer, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter, BudgetExceeded, StoreUnwritable
from kto.cleaning import clean
from kto.errors import UserError
from kto.texts import t

_FIRST_WAIT = 1.0  # seconds before the second attempt, if the server is not well; doubles with each further one
_FIRST_WAIT_FAILED = 0.25  # the same after a 500, which often is about one request only
_FIRST_WAIT_ALONE = 0.1  # the same if others were answered meanwhile
_LONGEST_WAIT = 60.0
_LOOK_LOADING = 2.0  # seconds between two requests to a server that is loading the model, at least
_LONGEST_LOOK_LOADING = 15.0
_SAY_LOADING = 30.0  # seconds between two lines that say so
_FEWEST_GAPS = 10  # give up on a model after this many consecutive failures
_MOST_REJECTED = 100  # the same, if the server took none of the prompts
_FRAME = 32  # tokens that a chat template puts around a message, generously
_LONGEST_REASON = 200  # characters
_WINDOW = 2  # prompts in progress per slot, so that waiting retries do not leave slots idle


class _Missing(Exception):
    """Why there is no answer."""


class ModelRunner:
    """Asks one model for what the store lacks; an answer counts only when it is on the disk.

    A request that fails leaves only its own prompt without an answer, with a sentence that says why. A refused payment,
    a server that is gone, or many failures in a row end the requests for this model; what is in flight is awaited. An
    answer in the wrong language is asked for again with a stricter instruction. Belongs to one event loop.

    Parameters
    ----------
    language
        Checks the language of answers; None: nothing is checked.
    """

    def __init__(self, target: ModelTarget, sink: AnswerWriter, language: LanguageWorker | None) -> None:
        self._target = target
        self._sink = sink
        self._language = language
        self._gate = language.gate.name if language else ""
        self._chat: Chat | None = None
        self._slots = Slots(target.concurrency)
        self._window = asyncio.Semaphore(_WINDOW * target.concurrency)
        self._refused = set(target.unsupported)  # fields that the server does not take
        self._taken: set[str] = set()  # fields that it has taken
        self._answers = 0  # so far
        self._last = time.monotonic()  # time of the last answer
        self._gaps = 0  # prompts without an answer since then
        self._rejected = False  # the last of these was about its prompt (400, 404, 422 …)
        self._limits = 0  # 429s since then
        self._loading: float | None = None  # time since which the server says that it is loading the model
        self._said_loading = 0.0  # time of the last line that says so
        self._resume_at = 0.0  # time before which the server wants no request
        self._stopped = ""  # why no further request is sent
        self._end = asyncio.Event()  # set then

    async def close(self) -> None:
        """Close the connections."""
        if self._chat:
            await self._chat.close()
            self._chat = None

    async def look_up(self, conversation: Sequence[Message]) -> list[Lookup]:
        """Return what the store has for the requests of an answer."""
        target = self._target
        return [await self._sink.look_up(target, self._gate, conversation, number) for number in target.requests]

    async def stored(self, conversation: Sequence[Message]) -> StoredAnswer | None:
        """Return the answer that the store has, None if there is none; nobody is asked."""
        last = None
        for number in self._target.requests:
            lookup = await self._sink.look_up(self._target, self._gate, conversation, number)
            last = lookup.stored or last
            if lookup.stored and not lookups.is_wrong(lookup.stored):
                break
        return last

    async def answer(self, conversation: Sequence[Message], found: Sequence[Lookup]) -> tuple[StoredAnswer | None, str]:
        """Return the answer to a conversation, None if there is none, and why it is missing ("": it is not).

        Parameters
        ----------
        found
            What the store has for its requests.
        """
        found = list(found)
        failure = ""
        try:
            if lookups.is_missing(found):
                async with self._window:
                    await self._complete(conversation, found)
        except _Missing as missing:
            failure = str(missing)
        except Exception as error:  # a prompt's failure stays with that prompt, whatever it is
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            failure = t("generate.failed_unexpectedly", reason=reason)
        self._gaps = self._gaps + 1 if failure else 0
        if failure and not self._stopped:
            self._stop_if_useless(failure)
        await self._sink.settle(self._target.model, self._target.key(conversation) if failure else "", failure)
        number = lookups.chosen([lookup.stored for lookup in found])
        return None if number is None else found[number].stored, failure

    def _stop(self, reason: str) -> None:
        """Stop this model; waiting requests are cancelled."""
        self._stopped = reason
        self._end.set()

    def _stop_if_useless(self, failure: str) -> None:
        # A prompt that the server does not take says nothing about others, unless none has ever been taken. Then more
        # of them are tried, because the first ones of a list may be of one kind.
        if self._rejected and self._answers:
            return
        most = _MOST_REJECTED if self._rejected else _FEWEST_GAPS
        if self._gaps >= max(most, self._target.concurrency):
            self._stop(failure)

    async def _sleep(self, seconds: float) -> None:
        """Wait, or until the model is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    async def _complete(self, conversation: Sequence[Message], found: list[Lookup]) -> None:
        """Send requests until nothing in `found` is missing; raise `_Missing` when that cannot be."""
        first = lookups.chosen([lookup.stored for lookup in found])
        if first is None or not found[first].short:
            # A stored answer is in the wrong language, else nothing would be missing; earlier requests are of no use.
            first = 1 + max((number for number, lookup in enumerate(found) if lookup.stored), default=-1)
        for number in range(first, len(found)):
            if found[number].stored is None or found[number].short:
                answer, key = await self._ask(conversation, number, len(found[number].empty))
                check = await self._check(key, answer, conversation[-1]["content"])
                found[number] = Lookup(StoredAnswer(answer, check), key)
            if not lookups.is_wrong(found[number].stored):
                return

    async def _check(self, key: str, answer: Answer, prompt: str) -> LanguageCheck | None:
        if self._language is None:
            return None
        check = await self._language.check(clean(answer.text) or "", prompt)
        await self._sink.note(self._gate, key, check)
        return check

    async def _ask(self, conversation: Sequence[Message], number: int, empty: int) -> tuple[Answer, str]:
        """Return the answer to request `number` and its key, once it is on the disk; raise `_Missing` without one.

        Parameters
        ----------
        empty
            How many answers without a text the store has for this request; all of them are kept, too.
        """
        target = self._target
        messages = target.messages(conversation, number)
        refused: set[str] = set()  # fields that the server does not take of this request
        failed = limited = 0
        began = before = self._answers
        while True:
            while (seconds := self._resume_at - time.monotonic()) > 0:
                if self._stopped:
                    raise _Missing(self._stopped)
                await self._sleep(seconds + random.random())  # not all at the same moment
            async with self._slots:
                if self._stopped:
                    raise _Missing(self._stopped)
                if self._resume_at > time.monotonic():  # set while this request waited for its slot
                    continue
                allowed = self._slots.allowed
                try:
                    answer = await self._request(messages, refused, conversation)
                    key = target.key(conversation, number, empty)
                    # A request slot is released only after its answer is committed: so no more answers can be lost, and
                    # paid for again, than requests may be in flight.
                    await self._sink.put(NewAnswer(key, target.model, messages, target.arguments, answer))
                    self._answers += 1
                    self._limits = 0
                    self._last = time.monotonic()
                    self._loading = None
                    self._slots.answered(soon=2 * (answer.seconds or 0.0) < target.timeout)
                    if not is_empty(answer):
                        return answer, key
                    empty += 1
                    if answer.finish_reason == "length":  # dear, and the next one would most likely end so, too
                        self._rejected = False
                        raise _Missing(t("generate.failed_thinking"))
                    raise client.ServerError(t("generate.failed_empty"))
                except (StoreUnwritable, BudgetExceeded, client.ModelUnusable, UserError) as reason:
                    self._stop(str(reason))
                    raise _Missing(self._stopped) from None
                except (client.RejectedRequest, client.AccessDenied) as failure:
                    self._rejected = isinstance(failure, client.RejectedRequest)
                    raise _Missing(str(failure)) from None
                except client.RequestFailed as failure:
                    error = failure
            if isinstance(error, client.ModelLoading):
                await self._wait_for_loading(error)
                continue
            if error.wait > target.timeout:
                self._stop(t("generate.failed_wait", seconds=round(error.wait)))
                raise _Missing(self._stopped)
            if isinstance(error, client.RateLimited):
                count = limited = limited + 1
                self._limit(error.wait)
            elif isinstance(error, client.QueueTimeout) and self._slots.reduce(allowed):
                count = limited = limited + 1  # there were too many requests; it says nothing about this one
            else:
                count = failed = failed + 1
            if isinstance(error, client.Unavailable) and self._slots.reduced and self._is_silent():
                self._stop(str(error))
            if failed == target.max_attempts:
                if isinstance(error, client.Unreachable) and self._answers == began:
                    self._stop(str(error))  # the server is gone
                self._rejected = False
                raise _Missing(str(error))
            if error.wait:
                first = error.wait
            elif isinstance(error, client.ServerError):
                first = _FIRST_WAIT_ALONE if self._answers > before else _FIRST_WAIT_FAILED
            else:
                first = _FIRST_WAIT
            before = self._answers
            wait = min(first * 2 ** min(count - 1, 30), _LONGEST_WAIT)
            told = error.wait + min(error.wait, 1) * random.random()  # not all at the same moment
            await self._sleep(max(wait * random.uniform(0.5, 1), told))

    def _limit(self, wait: float) -> None:
        """Note a rate-limit reply."""
        self._limits += 1
        # One may be about one request; many in a row say that everybody has to wait.
        if self._limits > self._target.concurrency // 4:
            self._resume_at = max(self._resume_at, time.monotonic() + wait)
        if time.monotonic() - self._last > self._target.timeout:
            self._stop(t("generate.failed_limit", seconds=round(self._target.timeout)))

    def _is_silent(self) -> bool:
        """Tell whether a server with few requests brings no answer for longer than one hard prompt explains."""
        return time.monotonic() - self._last > (self._target.max_attempts + 2) * self._target.timeout

    async def _wait_for_loading(self, error: client.ModelLoading) -> None:
        """Let one request at a time find out whether the model is loaded; raise `_Missing` when it takes too long."""
        now, most = time.monotonic(), self._target.loading_timeout
        if self._loading is None:
            self._loading, self._said_loading = now, now - _SAY_LOADING
        self._last = now  # the server answers
        waited = round(now - self._loading)
        if waited > most:
            self._stop(t("technical.failed_loading", seconds=waited, reason=error))
        if self._stopped:
            raise _Missing(self._stopped)
        self._slots.set(1)
        self._resume_at = max(self._resume_at, now + min(max(error.wait, _LOOK_LOADING), _LONGEST_LOOK_LOADING))
        if now - self._said_loading >= _SAY_LOADING:
            self._said_loading = now
            said = t("generate.loading", model=self._target.model, seconds=waited, most=round(most))
            await self._sink.say(self._target.model, said)

    async def _request(self, messages: list[Message], refused: set[str], conversation: Sequence[Message]) -> Answer:
        """Send a request, and again without a field that the server says it does not take.

        That holds for all requests once an answer has come that way, unless the server has taken the field before: it
        may be several servers, or the words of an error may be about something else after all.

        Parameters
        ----------
        refused
            Fields that the server did not take of this request; those that it names now are added.
        """
        target = self._target
        while True:
            left_out = self._refused | refused
            body = request_fields.without({**target.body, **target.arguments, "messages": messages}, left_out)
            try:
                answer = await self._send(body)
                break
            except (client.RateLimited, client.ModelLoading, client.AccessDenied, client.ModelUnusable):
                raise
            except client.RequestFailed as failure:
                field = request_fields.refused_field(failure.said, body, left_out)
                if not field or self._stopped:
                    raise
                refused.add(field)
        for field in sorted(refused):
            await self._sink.say(target.model, _told(target.model, field))
        self._refused |= refused - self._taken
        self._taken.update(request_fields.sent_fields(body))
        return answer._replace(sent=request_fields.described(body, conversation))

    async def _send(self, body: Mapping[str, Any]) -> Answer:
        """Send one request; raise `RequestFailed` without an answer, `BudgetExceeded` if it may cost too much."""
        target = self._target
        assert target.server is not None
        if self._chat is None:
            self._chat = Chat(target.server, target.concurrency, target.timeout)
        if target.prices is None:
            return await self._chat.complete(body)
        # A prompt never has more tokens than bytes.
        read = sum(len(message["content"].encode()) + _FRAME for message in body["messages"])
        most = target.cost(read, int(target.arguments["max_tokens"]))
        await self._sink.reserve(target.model, most)
        cost = most  # what is not known to be cheaper counts in full
        try:
            answer = await self._chat.complete(body)
            counted, written = answer.prompt_tokens, answer.completion_tokens
            if counted and written is not None and (written or not answer.text):  # 0 beside a text: nobody counted
                cost = target.cost(counted, written)
            return answer
        except client.RequestFailed as failure:
            if isinstance(failure, client.Unreachable) or not isinstance(failure, client.Unavailable):
                cost = 0.0  # requests that are refused, or that nobody took, are not billed
            raise
        finally:
            await self._sink.pay(target.model, most, cost)


def _told(model: str, field: str) -> str:
    """Return a sentence about a field that a server does not take."""
    key = {request_fields.SYSTEM: "refused_system", "max_tokens": "refused_limit"}.get(field, "refused_field")
    return t(f"technical.{key}", model=model, field=field)
