"""Asks one model: waits and retries after errors (429, 5xx, loading), stops where nothing helps, stores all answers."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from kto import errors
from kto.ask import lookups, request_fields
from kto.ask.cleaning import clean
from kto.ask.client import ModelClient
from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup
from kto.ask.pace import Slots
from kto.ask.store import Answer, Message, NewAnswer, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter
from kto.errors import UserError
from kto.texts import t

T = TypeVar("T")

_FIRST_WAIT = 1.0  # seconds before the second attempt; doubles with each further one
_FIRST_WAIT_FAILED = 0.25  # the same after a 500, which often is about one request only
_FIRST_WAIT_ALONE = 0.1  # the same if others were answered meanwhile
_LONGEST_WAIT = 60.0
_LOOK_LOADING = 2.0  # least seconds between two requests to a server that is loading the model
_LONGEST_LOOK_LOADING = 15.0
_SAY_LOADING = 30.0  # seconds between two lines about it
_FEWEST_FAILURES = 10  # give up on a model after this many consecutive failures
_MOST_REJECTED = 100  # the same, if the server has taken none of the prompts
_FRAME = 32  # tokens that a chat template puts around a message, generously
_LONGEST_REASON = 200  # characters
_WINDOW = 2  # prompts in progress per slot, so that waiting retries do not leave slots idle


class ModelRunner:
    """Asks one model for what the store lacks; an answer counts only when it is on the disk.

    A request that fails leaves only its own prompt without an answer. A refused payment, a server that is gone, or many
    failures in a row end the requests for this model; those in flight are awaited. An answer in the wrong language is
    asked for again with a stricter instruction, if `language` checks it. Belongs to one event loop.
    """

    def __init__(self, target: ModelTarget, sink: AnswerWriter, language: LanguageWorker | None) -> None:
        self._target = target
        self._sink = sink
        self._language = language
        self._gate = language.gate.name if language else ""
        self._client: ModelClient | None = None
        self._slots = Slots(target.concurrency)
        self._window = asyncio.Semaphore(_WINDOW * target.concurrency)
        self._refused = set(target.unsupported)  # fields that the server does not take
        self._taken: set[str] = set()  # fields that it has taken
        self._answers = 0
        self._last_answer = time.monotonic()
        self._failures = 0  # consecutive prompts without an answer
        self._limits = 0  # 429s since the last answer
        self._loading: float | None = None  # time since which the server says that it is loading the model
        self._said_loading = 0.0
        self._resume_at = 0.0  # time before which the server wants no request
        self._stopped: UserError | None = None  # why no further request is sent
        self._end = asyncio.Event()  # set when stopped

    async def close(self) -> None:
        """Close the connections."""
        if self._client:
            await self._client.close()

    def look_up(self, conversation: Sequence[Message]) -> list[Lookup]:
        """Return what the store has for the requests of an answer."""
        return lookups.look_up(self._sink.reader, self._target, self._gate, conversation)

    async def start(self, work: Callable[..., Coroutine[Any, Any, T]], *arguments: Any) -> asyncio.Task[T]:
        """Start work on a prompt when few others are in progress: tasks that only wait would take memory."""
        await self._window.acquire()
        task = asyncio.create_task(work(*arguments))
        task.add_done_callback(lambda _: self._window.release())
        return task

    async def answer(
        self, conversation: Sequence[Message], found: Sequence[Lookup]
    ) -> tuple[StoredAnswer | None, UserError | None]:
        """Return the answer to a conversation, None if there is none, and why one is missing.

        `found` is what the store has for its requests.
        """
        found = list(found)
        failure: UserError | None = None
        try:
            if lookups.is_missing(found):
                await self._complete(conversation, found)
        except UserError as error:
            failure = error
        except Exception as error:  # a prompt's failure stays with that prompt, whatever it is
            failure = errors.UnexpectedError(detail=f"{type(error).__name__}: {error}"[:_LONGEST_REASON])
        if failure:
            failure.__traceback__ = failure.__context__ = None  # they hold all that is in progress
        self._failures = self._failures + 1 if failure else 0
        if failure and not self._stopped and self._ends_model(failure):
            self._stop(failure)
        await self._sink.settle(self._target.model, self._target.key(conversation) if failure else "", failure)
        return lookups.best(found), failure

    def _stop(self, reason: UserError) -> None:
        """Stop this model; waiting requests are cancelled."""
        self._stopped = reason
        self._end.set()

    def _ends_model(self, failure: UserError) -> bool:
        """Tell whether further requests to this model are useless."""
        of_one_prompt = isinstance(failure, errors.RequestFailed | errors.UnexpectedError)
        if isinstance(failure, errors.ModelUnusable) or not of_one_prompt:
            return True
        # A prompt that the server does not take says nothing about others, unless none has ever been taken. Then more
        # of them are tried, because the first ones of a list may be of one kind.
        is_rejected = isinstance(failure, errors.RejectedRequest)
        most = _MOST_REJECTED if is_rejected else _FEWEST_FAILURES
        return not (is_rejected and self._answers) and self._failures >= max(most, self._target.concurrency)

    def _raise_if_stopped(self) -> None:
        if self._stopped:
            raise self._stopped.with_traceback(None)

    async def _sleep(self, seconds: float) -> None:
        """Wait, at most until the model is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    async def _complete(self, conversation: Sequence[Message], found: list[Lookup]) -> None:
        """Send requests until nothing in `found` is missing; raise `UserError` when that cannot be."""
        first = lookups.chosen(found)
        if first is None or not found[first].short:
            # A stored answer is in the wrong language, else nothing would be missing; earlier requests are of no use.
            first = 1 + max((number for number, lookup in enumerate(found) if lookup.stored), default=-1)
        for number in range(first, len(found)):
            if found[number].stored is None or found[number].short:
                answer, key = await self._ask(conversation, number, len(found[number].empty))
                check = None
                if self._language:
                    check = await self._language.check(clean(answer.text) or "", conversation[-1]["content"])
                    await self._sink.note(self._gate, key, check)
                found[number] = Lookup(StoredAnswer(answer, check), key)
            if not lookups.is_wrong(found[number].stored):
                return

    async def _ask(self, conversation: Sequence[Message], number: int, empty: int) -> tuple[Answer, str]:
        """Return the answer to request `number` and its key, once it is on the disk.

        `empty` counts the answers without a text that the store has for this request; all of them are kept.
        """
        target = self._target
        messages = target.messages(conversation, number)
        refused: set[str] = set()  # fields that the server does not take of this request
        failed = limited = 0
        began = before = self._answers
        while True:
            while (seconds := self._resume_at - time.monotonic()) > 0:
                self._raise_if_stopped()
                await self._sleep(seconds + random.random())  # not all at the same moment
            async with self._slots:
                self._raise_if_stopped()
                if self._resume_at > time.monotonic():  # set while this request waited for its slot
                    continue
                allowed = self._slots.allowed
                try:
                    answer = await self._request(messages, refused, conversation)
                    key = target.key(conversation, number, empty)
                    # A request slot is released only after its answer is committed, so no more answers can be lost, and
                    # paid for again, than requests may be in flight.
                    await self._sink.put(NewAnswer(key, target.model, messages, target.arguments, answer))
                    self._note_answer(answer)
                    if not lookups.is_empty(answer):
                        return answer, key
                    empty += 1
                    # After `max_tokens` of thoughts the next answer would most likely end so, too, and is dear.
                    raise errors.OnlyThoughts() if answer.finish_reason == "length" else errors.EmptyAnswer()
                except (errors.RejectedRequest, errors.AccessDenied, errors.OnlyThoughts, errors.ModelUnusable):
                    raise
                except errors.RequestFailed as error:
                    failure = error
            if isinstance(failure, errors.ModelLoading):
                await self._wait_for_loading(failure)
                continue
            if failure.wait > target.timeout:
                raise errors.WaitTooLong(seconds=round(failure.wait))
            if isinstance(failure, errors.RateLimited):
                count = limited = limited + 1
                self._note_limit(failure.wait)
            elif isinstance(failure, errors.QueueTimeout) and self._slots.reduce(allowed):
                count = limited = limited + 1  # there were too many requests; it says nothing about this one
            else:
                count = failed = failed + 1
            if isinstance(failure, errors.Unavailable) and self._slots.reduced and self._is_silent():
                self._stop(failure)
            if failed == target.max_attempts:
                if isinstance(failure, errors.Unreachable) and self._answers == began:
                    self._stop(failure)  # the server is gone
                raise failure
            first = failure.wait or _FIRST_WAIT
            if isinstance(failure, errors.ServerError) and not failure.wait:
                first = _FIRST_WAIT_ALONE if self._answers > before else _FIRST_WAIT_FAILED
            before = self._answers
            wait = min(first * 2 ** min(count - 1, 30), _LONGEST_WAIT) * random.uniform(0.5, 1)
            await self._sleep(max(wait, failure.wait + min(failure.wait, 1) * random.random()))

    def _note_answer(self, answer: Answer) -> None:
        self._answers += 1
        self._limits = 0
        self._last_answer = time.monotonic()
        self._loading = None
        self._slots.answered(soon=2 * (answer.seconds or 0.0) < self._target.timeout)

    def _note_limit(self, wait: float) -> None:
        self._limits += 1
        # One may be about one request; many in a row say that everybody has to wait.
        if self._limits > self._target.concurrency // 4:
            self._resume_at = max(self._resume_at, time.monotonic() + wait)
        if time.monotonic() - self._last_answer > self._target.timeout:
            raise errors.StillLimited(seconds=round(self._target.timeout))

    def _is_silent(self) -> bool:
        """Tell whether a server with few requests brings no answer for longer than one hard prompt explains."""
        return time.monotonic() - self._last_answer > (self._target.max_attempts + 2) * self._target.timeout

    async def _wait_for_loading(self, failure: errors.ModelLoading) -> None:
        """Let one request at a time find out whether the model is loaded; raise `StillLoading` if it takes too long."""
        now, most = time.monotonic(), self._target.loading_timeout
        if self._loading is None:
            self._loading, self._said_loading = now, now - _SAY_LOADING
        self._last_answer = now  # the server answers
        waited = round(now - self._loading)
        self._raise_if_stopped()
        if waited > most:
            raise errors.StillLoading(seconds=waited, detail=str(failure))
        self._slots.set(1)
        self._resume_at = max(self._resume_at, now + min(max(failure.wait, _LOOK_LOADING), _LONGEST_LOOK_LOADING))
        if now - self._said_loading >= _SAY_LOADING:
            self._said_loading = now
            said = t("generate.loading", model=self._target.model, seconds=waited, most=round(most))
            await self._sink.say(self._target.model, said)

    async def _request(self, messages: list[Message], refused: set[str], conversation: Sequence[Message]) -> Answer:
        """Send a request, and again without a field that the server says it does not take; `refused` collects these.

        That holds for all requests once an answer has come that way, unless the server has taken the field before: it
        may be several servers, or the words of an error may be about something else after all.
        """
        target = self._target
        while True:
            left_out = self._refused | refused
            body = request_fields.without({**target.body, **target.arguments, "messages": messages}, left_out)
            try:
                answer = await self._send(body)
                break
            except (errors.RateLimited, errors.ModelLoading, errors.AccessDenied, errors.ModelUnusable):
                raise
            except errors.RequestFailed as failure:
                field = request_fields.refused_field(failure, body, left_out)
                if not field or self._stopped:
                    raise
                refused.add(field)
        for field in sorted(refused):
            key = {request_fields.SYSTEM: "refused_system", "max_tokens": "refused_limit"}.get(field, "refused_field")
            await self._sink.say(target.model, t(f"technical.{key}", model=target.model, field=field))
        self._refused |= refused - self._taken
        self._taken.update(request_fields.sent_fields(body))
        return answer._replace(sent=request_fields.described(body, conversation))

    async def _send(self, body: Mapping[str, Any]) -> Answer:
        """Send one request within the budget."""
        target = self._target
        assert target.server is not None
        if self._client is None:
            self._client = ModelClient(target.server, target.concurrency, target.timeout)
        # A prompt never has more tokens than bytes.
        read = sum(len(message["content"].encode()) + _FRAME for message in body["messages"])
        most = target.cost(read, int(target.arguments["max_tokens"]))
        if most is None:
            await self._sink.check_price(target.model)
            return await self._client.complete(body)
        await self._sink.reserve(most)
        cost = most  # what is not known to be cheaper counts in full
        try:
            answer = await self._client.complete(body)
            counted, written = answer.prompt_tokens, answer.completion_tokens
            if counted and written is not None and (written or not answer.text):  # 0 beside a text: nobody counted
                cost = target.cost(counted, written) or 0.0
            return answer
        except errors.RequestFailed as failure:
            if isinstance(failure, errors.Unreachable) or not isinstance(failure, errors.Unavailable):
                cost = 0.0  # requests that are refused, or that nobody took, are not billed
            raise
        finally:
            await self._sink.pay(target.model, most, cost)
