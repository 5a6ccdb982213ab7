"""Asks one model: tries again what can be tried again, stops where nothing helps, and keeps every answer."""

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from kto.ask import chat, request_fields, tries
from kto.ask.chat import Chat
from kto.ask.endpoint import Endpoint
from kto.ask.judging import Judge
from kto.ask.keeper import CannotKeep, Keeping, Spent
from kto.ask.language_gate import Judgement
from kto.ask.pace import Slots
from kto.ask.store import Answer, Entry, Kept, Message
from kto.ask.tries import Tries, Try, is_empty
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
_FEWEST_GAPS = 10  # so many prompts without an answer, one after the other, say that the model is of no use now
_MOST_REJECTED = 100  # the same, if the server took none of them
_FRAME = 32  # tokens that a chat template puts around a message, generously
_LONGEST_REASON = 200  # characters


class _Gap(Exception):
    """Why there is no answer."""


@dataclasses.dataclass(frozen=True)
class Manner:
    """How a model is asked.

    Attributes
    ----------
    endpoint
        The server.
    body
        What requests hold besides messages and arguments: `model`, the name that the server gives it.
    concurrency
        Requests in flight at the same time.
    attempts
        How often one answer is asked for. A 429 does not count: it says that others come first. But if no answer at
        all comes through for `timeout` seconds, the requests for this model end.
    timeout
        Seconds that one request may take.
    prices
        Dollars per token read and written, None if they are not known.
    unsupported
        Fields that the server is known to refuse; see `kto.ask.request_fields`.
    loading_timeout
        Seconds in which the server may say that it is loading the model; such a reply does not count as an attempt.
    """

    endpoint: Endpoint
    body: Mapping[str, Any]
    concurrency: int
    attempts: int
    timeout: float
    prices: tuple[float, float] | None = None
    unsupported: Collection[str] = ()
    loading_timeout: float = 600.0


class Asker:
    """Asks one model for what the store lacks; an answer counts only when it is on the disk.

    A request that fails leaves a gap for its own prompt only; the gap comes with a sentence that says why. A refused
    payment, a server that is gone, or many gaps in a row end the requests for this model; what is in flight then is
    waited for. An answer in the wrong language is asked for again, with a firmer instruction. Belongs to one
    event loop.

    Parameters
    ----------
    judge
        Judges the language of answers; None: nobody does.
    """

    def __init__(self, tries: Tries, manner: Manner, keeper: Keeping, judge: Judge | None) -> None:
        self._tries = tries
        self._manner = manner
        self._keeper = keeper
        self._judge = judge
        self._gate = judge.gate.name if judge else ""
        self._chat: Chat | None = None
        self._slots = Slots(manner.concurrency)
        self._refused = set(manner.unsupported)  # fields that the server does not take
        self._taken: set[str] = set()  # fields that it has taken
        self._answers = 0  # so far
        self._last = time.monotonic()  # time of the last answer
        self._gaps = 0  # prompts without an answer since then
        self._rejected = False  # the last of these gaps is about its prompt (400, 404, 422 …)
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

    async def look_up(self, conversation: Sequence[Message]) -> list[Try]:
        """Return what the store has for the tries of an answer."""
        numbers = range(1 + self._tries.again)
        return [await self._keeper.find(self._tries, self._gate, conversation, number) for number in numbers]

    async def answer(self, conversation: Sequence[Message], found: Sequence[Try]) -> tuple[Kept | None, str]:
        """Return the answer to a conversation, None if there is none, and why one is missing ("": none is).

        Parameters
        ----------
        found
            What the store has for its tries.
        """
        found = list(found)
        failure = ""
        try:
            if tries.is_missing(found):
                await self._complete(conversation, found)
        except _Gap as gap:
            failure = str(gap)
        except Exception as error:  # a prompt's trouble stays with that prompt, whatever it is
            reason = f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
            failure = t("generate.failed_unexpectedly", reason=reason)
        self._gaps = self._gaps + 1 if failure else 0
        if failure and not self._stopped:
            self._stop_if_useless(failure)
        await self._keeper.settle(self._tries.model, self._tries.key(conversation, 0) if failure else "", failure)
        number = tries.chosen([each.kept for each in found])
        return None if number is None else found[number].kept, failure

    def _stop(self, reason: str) -> None:
        """Send no further request; whoever waits to send one gives up."""
        self._stopped = reason
        self._end.set()

    def _stop_if_useless(self, failure: str) -> None:
        # A prompt that the server does not take says nothing about others, unless none has ever been taken. Then more
        # of them are tried, because the first ones of a list may be of one kind.
        if self._rejected and self._answers:
            return
        most = _MOST_REJECTED if self._rejected else _FEWEST_GAPS
        if self._gaps >= max(most, self._manner.concurrency):
            self._stop(failure)

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until the model is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._end.wait()

    async def _complete(self, conversation: Sequence[Message], found: list[Try]) -> None:
        """Ask until nothing in `found` is missing, try by try; raise `_Gap` when that cannot be."""
        first = tries.chosen([each.kept for each in found])
        if first is None or not found[first].short:
            # What is there is in the wrong language, else nothing would be missing; earlier tries are of no use then.
            first = 1 + max((number for number, each in enumerate(found) if each.kept), default=-1)
        for number in range(first, len(found)):
            if found[number].kept is None or found[number].short:
                answer, key = await self._ask(conversation, number, len(found[number].empty))
                found[number] = Try(Kept(answer, await self._judged(key, answer, conversation[-1]["content"])), key)
            if not tries.is_wrong(found[number].kept):
                return

    async def _judged(self, key: str, answer: Answer, prompt: str) -> Judgement | None:
        if self._judge is None:
            return None
        judgement = await self._judge.judge(clean(answer.text) or "", prompt)
        await self._keeper.judge(self._gate, key, judgement)
        return judgement

    async def _ask(self, conversation: Sequence[Message], number: int, empty: int) -> tuple[Answer, str]:
        """Ask until there is an answer and it is on the disk; raise `_Gap` when there will be none.

        Parameters
        ----------
        empty
            How many answers without a text the store has for this try; all of them are kept, too.

        Returns
        -------
        The answer, and its key.
        """
        messages = self._tries.messages(conversation, number)
        refused: set[str] = set()  # fields that the server does not take of this request
        failed = limited = 0
        began = before = self._answers
        while True:
            while (seconds := self._resume_at - time.monotonic()) > 0:
                if self._stopped:
                    raise _Gap(self._stopped)
                await self._sleep(seconds + random.random())  # not all at the same moment
            async with self._slots:
                if self._stopped:
                    raise _Gap(self._stopped)
                if self._resume_at > time.monotonic():  # said while this one waited for its place
                    continue
                allowed = self._slots.allowed
                try:
                    answer = await self._request(messages, refused, conversation)
                    key = self._tries.key(conversation, number, empty)
                    # The place is free for the next one only when this one is safe: so no more answers can be lost, and
                    # paid for again, than requests may be in flight.
                    await self._keeper.put(Entry(key, self._tries.model, messages, self._tries.arguments, answer))
                    self._answers += 1
                    self._limits = 0
                    self._last = time.monotonic()
                    self._loading = None
                    self._slots.answered(soon=2 * (answer.seconds or 0.0) < self._manner.timeout)
                    if not is_empty(answer):
                        return answer, key
                    empty += 1
                    if answer.finish_reason == "length":  # dear, and the next one would most likely end so, too
                        self._rejected = False
                        raise _Gap(t("generate.failed_thinking"))
                    raise chat.Failed(t("generate.failed_empty"))
                except (CannotKeep, Spent, chat.Refused, UserError) as reason:
                    self._stop(str(reason))
                    raise _Gap(self._stopped) from None
                except (chat.WillFailAgain, chat.Denied) as trouble:
                    self._rejected = isinstance(trouble, chat.WillFailAgain)
                    raise _Gap(str(trouble)) from None
                except chat.Trouble as trouble:
                    what = trouble
            if isinstance(what, chat.Loading):
                await self._wait_for_loading(what)
                continue
            if what.wait > self._manner.timeout:
                self._stop(t("generate.failed_wait", seconds=round(what.wait)))
                raise _Gap(self._stopped)
            if isinstance(what, chat.Limited):
                count = limited = limited + 1
                self._limit(what.wait)
            elif isinstance(what, chat.Queued) and self._slots.reduce(allowed):
                count = limited = limited + 1  # it says that there were too many, and nothing about this one
            else:
                count = failed = failed + 1
            if isinstance(what, chat.Unwell) and self._slots.reduced and self._is_silent():
                self._stop(str(what))
            if failed == self._manner.attempts:
                if isinstance(what, chat.NotThere) and self._answers == began:
                    self._stop(str(what))  # the server is gone
                self._rejected = False
                raise _Gap(str(what))
            if what.wait:
                first = what.wait
            elif isinstance(what, chat.Failed):
                first = _FIRST_WAIT_ALONE if self._answers > before else _FIRST_WAIT_FAILED
            else:
                first = _FIRST_WAIT
            before = self._answers
            wait = min(first * 2 ** min(count - 1, 30), _LONGEST_WAIT)
            told = what.wait + min(what.wait, 1) * random.random()  # not all at the same moment
            await self._sleep(max(wait * random.uniform(0.5, 1), told))

    def _limit(self, wait: float) -> None:
        """Note that a request was one too many."""
        self._limits += 1
        # One refusal may be about one request; a row of them says that everybody has to wait.
        if self._limits > self._manner.concurrency // 4:
            self._resume_at = max(self._resume_at, time.monotonic() + wait)
        if time.monotonic() - self._last > self._manner.timeout:
            self._stop(t("generate.failed_limit", seconds=round(self._manner.timeout)))

    def _is_silent(self) -> bool:
        """Tell whether a server that is asked for little brings no answer for longer than one hard prompt explains."""
        return time.monotonic() - self._last > (self._manner.attempts + 2) * self._manner.timeout

    async def _wait_for_loading(self, what: chat.Loading) -> None:
        """Let one request at a time find out whether the model is loaded; raise `_Gap` when that takes too long."""
        now, most = time.monotonic(), self._manner.loading_timeout
        if self._loading is None:
            self._loading, self._said_loading = now, now - _SAY_LOADING
        self._last = now  # it is there
        waited = round(now - self._loading)
        if waited > most:
            self._stop(t("technical.failed_loading", seconds=waited, reason=what))
        if self._stopped:
            raise _Gap(self._stopped)
        self._slots.set(1)
        self._resume_at = max(self._resume_at, now + min(max(what.wait, _LOOK_LOADING), _LONGEST_LOOK_LOADING))
        if now - self._said_loading >= _SAY_LOADING:
            self._said_loading = now
            said = t("generate.loading", model=self._tries.model, seconds=waited, most=round(most))
            await self._keeper.say(self._tries.model, said)

    async def _request(self, messages: list[Message], refused: set[str], conversation: Sequence[Message]) -> Answer:
        """Send a request, and send it again without a field that the server says it does not take.

        That stands for all requests once an answer has come that way, unless the server has taken the field before: it
        may be several servers, or the words of an error may be about something else after all.

        Parameters
        ----------
        refused
            Fields that the server did not take of this request; those that it names now are added.
        """
        while True:
            left_out = self._refused | refused
            whole = {**self._manner.body, **self._tries.arguments, "messages": messages}
            body = request_fields.without(whole, left_out)
            try:
                answer = await self._send(body)
                break
            except (chat.Limited, chat.Loading, chat.Denied, chat.Refused):
                raise
            except chat.Trouble as trouble:
                field = request_fields.refused_field(trouble.said, body, left_out)
                if not field or self._stopped:
                    raise
                refused.add(field)
        for field in sorted(refused):
            await self._keeper.say(self._tries.model, _told(self._tries.model, field))
        self._refused |= refused - self._taken
        self._taken.update(request_fields.sent_fields(body))
        return answer._replace(sent=request_fields.described(body, conversation))

    async def _send(self, body: Mapping[str, Any]) -> Answer:
        """Send one request; raise `chat.Trouble` if it brings no answer, `Spent` if it might cost too much."""
        if self._chat is None:
            self._chat = Chat(self._manner.endpoint, self._manner.concurrency, self._manner.timeout)
        if self._manner.prices is None:
            return await self._chat.complete(body)
        read = sum(len(each["content"].encode()) + _FRAME for each in body["messages"])
        most = self._dollars(read, int(self._tries.arguments["max_tokens"]))
        await self._keeper.reserve(self._tries.model, most)
        cost = most  # what is not known to be cheaper is counted in full
        try:
            answer = await self._chat.complete(body)
            counted, written = answer.prompt_tokens, answer.completion_tokens
            if counted and written is not None and (written or not answer.text):  # 0 beside a text: nobody counted
                cost = self._dollars(counted, written)
            return answer
        except chat.Trouble as trouble:
            if isinstance(trouble, chat.NotThere) or not isinstance(trouble, chat.Unwell):
                cost = 0.0  # requests that are refused, or that nobody took, are not billed
            raise
        finally:
            await self._keeper.pay(self._tries.model, most, cost)

    def _dollars(self, read: int, written: int) -> float:
        """Return the price of so many tokens; a prompt never has more of them than bytes."""
        assert self._manner.prices is not None
        return read * self._manner.prices[0] + written * self._manner.prices[1]


def _told(model: str, field: str) -> str:
    """Return a sentence about a field that a server does not take."""
    key = {request_fields.SYSTEM: "refused_system", "max_tokens": "refused_limit"}.get(field, "refused_field")
    return t(f"technical.{key}", model=model, field=field)
