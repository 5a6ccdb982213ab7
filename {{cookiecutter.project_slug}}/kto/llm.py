"""distilabel's `OpenAILLM`, changed so that no answer is lost, asked for twice, or spoiled by its neighbours."""

import asyncio
import contextlib
import email.utils
import math
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import openai
from distilabel.models.llms import OpenAILLM
from pydantic import PrivateAttr

from kto.store import Answer, Message, Store, answer_key
from kto.texts import t

_FIRST_WAIT = 1.0  # seconds before the second attempt; doubles with each further one
_LONGEST_WAIT = 60.0
_LONGEST_DETAIL = 200  # characters of a server's own words that a message repeats


class _Gap(Exception):
    """Why there is no answer."""


class StoredLLM(OpenAILLM):
    """Asks for what the store lacks, and commits each answer as soon as it is there.

    A request that fails leaves a gap in its own row only; the gap comes with a sentence that says why. A refused key
    or payment, or a server that is gone, ends the requests for this model at once.

    Attributes
    ----------
    store
        Path of the answer store.
    request_model
        The name that the server gives the model; `model` is the name in the project.
    weights
        Digest of the files of a model in a folder, "" for others.
    concurrency
        Requests in flight at the same time.
    attempts
        How often one answer is asked for. A 429 does not count: it says that others come first. But if no answer at
        all comes through for `timeout` seconds, the requests for this model end.
    extra_body
        What requests hold besides the model, the messages and the generation arguments; no part of the answer's key.
    """

    store: str
    request_model: str
    weights: str = ""
    concurrency: int
    attempts: int
    extra_body: dict[str, Any] | None = None

    _answers: Store = PrivateAttr()
    _slots: asyncio.Semaphore = PrivateAttr()
    _received: int = PrivateAttr(default=0)  # answers so far
    _last: float = PrivateAttr(default=0.0)  # monotonic time of the last answer
    _resume_at: float = PrivateAttr(default=0.0)  # monotonic time before which the server wants no request
    _stopped: str = PrivateAttr(default="")  # why no further request is sent

    def load(self) -> None:
        """Open the store and the client; called in the process that asks."""
        super().load()
        self._answers = Store(Path(self.store))
        self._slots = asyncio.Semaphore(self.concurrency)
        self._last = time.monotonic()

    def unload(self) -> None:
        """Close what `load` opened."""
        super().unload()
        with contextlib.suppress(AttributeError):  # `load` failed
            self._answers.close()

    async def agenerate(  # type: ignore[override]
        self, input: list[Message], num_generations: int = 1, max_new_tokens: int = 1024, temperature: float = 1.0
    ) -> dict[str, Any]:
        """Return the answer to one conversation, from the store or from the server.

        Args:
            input: the messages.
            num_generations: always 1.
            max_new_tokens: the longest answer, in tokens.
            temperature: how much chance there is in an answer.

        Returns:
            Lists with one item each: the text (None for a gap), the key in the store, why the model stopped, and why
            there is a gap ("" if there is none).
        """
        arguments: dict[str, object] = {"max_tokens": max_new_tokens, "temperature": temperature}
        key = answer_key(self.model, input, arguments, self.weights)
        failure = ""
        answer = self._answers.get(key)
        if answer is None:
            try:
                async with self._slots:
                    answer = await self._ask(input, arguments)
                answer = self._keep(key, input, arguments, answer)
            except _Gap as gap:
                failure = str(gap)
            except Exception as error:  # a row's trouble stays in that row, whatever it is
                failure = t("generate.failed_unexpectedly", reason=f"{type(error).__name__}: {error}"[:_LONGEST_DETAIL])
        return {
            "generations": [answer.text if answer else None],
            "statistics": {},
            "answer_id": [key],
            "finish_reason": [answer.finish_reason if answer else ""],
            "failure": [failure],
        }

    def _keep(self, key: str, messages: list[Message], arguments: dict[str, object], answer: Answer) -> Answer:
        try:
            return self._answers.put(key, self.model, messages, arguments, answer)
        except sqlite3.Error as error:  # a full disk: every further answer would be lost, and may be paid for
            self._stopped = t("generate.failed_to_keep", path=self.store, reason=error)
            return answer  # this one reaches the table, at least

    async def _ask(self, messages: list[Message], arguments: dict[str, object]) -> Answer:
        """Ask until there is an answer; raise `_Gap` when there will be none."""
        failed = limited = 0
        began = self._received
        while True:
            await self._wait_for_leave()
            try:
                completion = await self._aclient.chat.completions.create(
                    model=self.request_model,
                    messages=messages,  # type: ignore[arg-type]
                    extra_body=self.extra_body,
                    **arguments,  # type: ignore[arg-type]
                )
                answer = _answer(completion)
            except openai.RateLimitError as error:
                self._judge(error)
                limited += 1
                if time.monotonic() - self._last > self.timeout:
                    self._stopped = t("generate.failed_limit", seconds=self.timeout)
            except openai.APIStatusError as error:
                reason = self._judge(error)
                failed += 1
            except openai.APITimeoutError:
                reason = t("generate.failed_timeout", seconds=self.timeout)
                failed += 1
            except openai.APIConnectionError as error:
                reason = t("generate.failed_connection")
                failed += 1
                took_no_connection = "Connect" in type(error.__cause__).__name__
                if took_no_connection and failed == self.attempts and self._received == began:
                    self._stopped = reason  # the server is gone
            except (openai.OpenAIError, ValueError, AttributeError, TypeError):
                reason = t("generate.failed_reply")
                failed += 1
            else:
                self._received += 1
                self._last = time.monotonic()
                return answer
            if failed == self.attempts:
                raise _Gap(reason)
            wait = min(_FIRST_WAIT * 2 ** (failed + limited - 1), _LONGEST_WAIT)
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))

    async def _wait_for_leave(self) -> None:
        while (seconds := self._resume_at - time.monotonic()) > 0:
            await asyncio.sleep(seconds + random.random())  # not all at the same moment
        if self._stopped:
            raise _Gap(self._stopped)

    def _judge(self, error: openai.APIStatusError) -> str:
        """Return why a request failed; raise `_Gap` if the same request will fail again."""
        status = error.status_code
        reason = t("generate.failed_status", status=status, detail=_detail(error))
        if status in (401, 402, 403):
            self._stopped = t(f"generate.failed_{status}", detail=_detail(error))
            raise _Gap(self._stopped)
        if status < 500 and status not in (408, 409, 425, 429):
            raise _Gap(reason)
        seconds = _retry_after(error.response.headers.get("retry-after"))
        if seconds > self.timeout:
            self._stopped = t("generate.failed_wait", seconds=round(seconds))
            raise _Gap(self._stopped)
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)
        return reason


def _answer(completion: openai.types.chat.ChatCompletion) -> Answer:
    """Return what a reply says; raise `AttributeError` or `TypeError` if it is no chat completion."""
    choice = completion.choices[0] if completion.choices else None
    text = choice.message.content or ""  # type: ignore[union-attr]
    # JSON can spell half of a surrogate pair, which no file takes.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return Answer(text, choice.finish_reason or "")  # type: ignore[union-attr]


def _retry_after(value: str | None) -> float:
    """Return the seconds that a `Retry-After` header asks for: it holds seconds, or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(value or 0)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _detail(error: openai.APIStatusError) -> str:
    """Return what the server said about it, in its own words and short."""
    said: object = error.body
    while isinstance(said, dict):
        said = said.get("message") or said.get("error") or said.get("detail")
    text = " ".join(str(said or error.response.text or error.response.reason_phrase).split())
    return text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL].rstrip() + "…"
