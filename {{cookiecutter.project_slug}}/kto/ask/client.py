"""One chat completion: the request, the reply, and what went wrong told apart by what can be done about it."""

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from kto.ask import connections, error_body
from kto.ask.error_body import ErrorBody
from kto.ask.pace import Crowded, Patience
from kto.ask.servers import MOVED, Server, moved_to
from kto.ask.store import Answer, finish_reason
from kto.texts import t

_TRANSIENT = frozenset((408, 409, 424, 425, 498))
"""Statuses below 500 that pass: 424 and 498 say that what is behind the server failed, or is full."""
_UNPAID = frozenset(
    ("insufficient_quota", "insufficient_balance", "exceeded_current_quota_error", "billing_hard_limit_reached")
)
"""Error codes that say, whatever the status, that the money is used up."""
_MODERATED = re.compile(r"flagged|moderation|guardrail|safety|content[ _-]?(?:policy|filter)", re.IGNORECASE)
_LOADING = re.compile(
    r"\bloading\b|estimated_time|scal(ed|ing)\b|warming|starting|initiali[sz]|not ready", re.IGNORECASE
)
_SCALES_TO_ZERO = ".endpoints.huggingface.cloud"  # whose 502 and 503 say that the endpoint is being started
_JSON = {"Content-Type": "application/json"}


# RequestFailed
# ├── RejectedRequest   400, 404, 422 …: the same request will fail again
# ├── AccessDenied      401, 403: most likely all requests fail, but a firewall refuses a single prompt like this
# ├── ModelUnusable     402, a proxy, a redirect: every request to this model fails until somebody does something
# ├── RateLimited       429, or 503 with a time to wait
# ├── ServerError       500: the server failed with this request
# ├── ModelLoading      503 with words to that effect
# └── Unavailable       other 5xx, no answer in time, a lost connection
#     ├── QueueTimeout  no answer in time, perhaps because the request waited for others in flight
#     └── Unreachable   the server takes no connection


class RequestFailed(Exception):
    """A request without an answer; the text is a sentence for people.

    Attributes
    ----------
    wait
        Seconds that the server asks for before the next request.
    said
        The server's error.
    """

    def __init__(self, reason: str, *, wait: float = 0.0, said: ErrorBody | None = None) -> None:
        super().__init__(reason)
        self.wait = wait
        self.said = said or ErrorBody()


class RejectedRequest(RequestFailed):
    """The same request will fail again."""


class AccessDenied(RequestFailed):
    """The key is refused, or a firewall refuses this prompt."""


class ModelUnusable(RequestFailed):
    """Every request to this model fails until somebody does something."""


class RateLimited(RequestFailed):
    """The server gets too many requests."""


class ServerError(RequestFailed):
    """The server failed with this request."""


class ModelLoading(RequestFailed):
    """The server is still loading the model."""


class Unavailable(RequestFailed):
    """The server is not well, or cannot be reached well."""


class QueueTimeout(Unavailable):
    """No answer in time, perhaps only because the request waited for others in flight."""


class Unreachable(Unavailable):
    """The server takes no connection."""


class Chat:
    """A client for one server; belongs to one event loop.

    Parameters
    ----------
    server
        The server.
    concurrency
        Connections that are kept open.
    timeout
        Seconds that one request may take, besides those in which it waits for others; see `kto.ask.pace.Patience`.

    Raises
    ------
    UserError
        The certificates or the proxy that the environment names cannot be used.
    """

    def __init__(self, server: Server, concurrency: int, timeout: float) -> None:
        self._server = server
        self._url = f"{server.base_url}/chat/completions"
        self._timeout = timeout
        self._patience = Patience(timeout)
        self._session = connections.session(server, concurrency, aiohttp.ClientTimeout(total=None))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _post(self, data: str) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self._session.post(self._url, data=data, headers=_JSON, allow_redirects=False) as response:
            content = await response.read()
        if response.status in (307, 308):  # the others would take the body away
            async with self._session.post(self._url, data=data, headers=_JSON) as response:
                content = await response.read()
        return response, content

    async def complete(self, body: Mapping[str, Any]) -> Answer:
        """Send a request (format: OpenAI's "create chat completion") and return the answer.

        Raises
        ------
        RequestFailed
            There is none; the class says what can be done about it.
        """
        began = time.monotonic()
        try:
            with connections.named(self._server):
                async with self._patience.waiting():
                    response, content = await self._post(json.dumps(body))
        except TimeoutError as late:
            reason = t("generate.failed_timeout", seconds=round(self._timeout))
            raise (QueueTimeout if isinstance(late, Crowded) else Unavailable)(reason) from None
        except connections.NoWay as way:
            raise (ModelUnusable if way.lasting else Unreachable)(str(way)) from None
        except aiohttp.ClientConnectorError:
            raise Unreachable(t("generate.failed_connection")) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise Unavailable(t("generate.failed_connection")) from None
        for each in (*response.history, response):
            if each.status in MOVED and (target := moved_to(self._server, each.headers.get("Location", ""))):
                raise ModelUnusable(t("technical.redirected", url=self._server.base_url, target=target))
        if response.status == 407:
            raise ModelUnusable(str(connections.refused_by_proxy(self._server, response.reason or "")))
        if response.status >= 400:
            error = error_body.read(content)
            error = error if error.words else error._replace(words=response.reason or "")
            loading = _seconds_of_loading(response.status, response.url.host or "", content)
            raise self._failure(response.status, error, response.headers, loading)
        said: ErrorBody | None = None
        try:
            completion = json.loads(content)
            said = error_body.in_answer(completion)
            answer = _answer(completion)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said = said or error_body.read(content)
        if said:
            raise self._failure(said.status, said, response.headers)
        return answer._replace(seconds=round(time.monotonic() - began, 3))

    def _failure(self, status: int, said: ErrorBody, headers: Mapping[str, str], loading: float = 0.0) -> RequestFailed:
        """Return what `_failure` does; without a key, none can be wrong."""
        failure = _failure(status, said, headers, loading)
        if isinstance(failure, AccessDenied) and not self._server.key:
            return AccessDenied(t("errors.no_key", url=self._server.base_url, detail=said.short), said=said)
        return failure


def _answer(completion: Any) -> Answer:
    """Return what a reply says; raise `LookupError`, `TypeError` or `AttributeError` if it is no chat completion."""
    choice = completion["choices"][0]
    message = choice["message"]
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if content is not None and not isinstance(content, str):
        raise TypeError
    refusal = message.get("refusal")
    text = content or (refusal if isinstance(refusal, str) else "") or ""
    reason = choice.get("finish_reason") or ""
    if not isinstance(text, str) or not isinstance(reason, str):
        raise TypeError
    # JSON can spell half of a surrogate pair, which no file takes.
    text, reason = (each.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for each in (text, reason))
    usage = completion.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    read, said, total = (_count(counts.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    if read is not None and said is not None and total is not None:
        said = max(said, total - read)  # some servers leave thoughts out of the answer's tokens, and bill them
    refused = bool(refusal) or reason == "content_filter"
    return Answer(text, finish_reason(reason), read, said, refused=refused)


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _failure(status: int, said: ErrorBody, headers: Mapping[str, str], loading: float = 0.0) -> RequestFailed:
    """Return what can be done about an error.

    Parameters
    ----------
    status
        The HTTP status; where a reply with status 200 holds an error, the status that the error names, or 0.
    loading
        Seconds that the server will still load the model; 0: it does not say that.
    """
    if status == 402 or said.codes & _UNPAID:
        return ModelUnusable(t("generate.failed_402", detail=said.short), said=said)
    if status:
        reason = t("generate.failed_status", status=status, detail=said.short)
    else:
        reason = t("technical.failed_reply", detail=said.short) if said.words else t("generate.failed_reply")
    if status in (401, 403) and not (status == 403 and _MODERATED.search(said.words)):
        return AccessDenied(t(f"generate.failed_{status}", detail=said.short), said=said)
    wait = retry_after(headers.get("Retry-After"), headers.get("Date"))
    if loading:
        return ModelLoading(reason, wait=max(wait, loading), said=said)
    if status == 429 or (status == 503 and wait):
        return RateLimited(reason, wait=wait, said=said)
    if status == 500:
        return ServerError(reason, wait=wait, said=said)
    transient = not status or status > 500 or status in _TRANSIENT
    return (Unavailable if transient else RejectedRequest)(reason, wait=wait, said=said)


def _seconds_of_loading(status: int, host: str, content: bytes) -> float:
    """Return how long the server says that it will still load the model, at least 1; 0 if it is not loading one."""
    starts = host.endswith(_SCALES_TO_ZERO) and status in (502, 503)
    text = content[:20_000].decode("utf-8", "replace")
    if not (starts or (status == 503 and _LOADING.search(text))):
        return 0.0
    try:
        seconds = float(json.loads(text)["estimated_time"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return 1.0
    return max(seconds, 1.0) if math.isfinite(seconds) else 1.0


def retry_after(value: str | None, date: str | None = None) -> float:
    """Return the seconds that a `Retry-After` header asks for: it holds seconds, or a date (RFC 9110, 10.2.3).

    A date is one of the server's clock, which `date`, its `Date` header, tells.
    """
    try:
        seconds = float(value or 0)
    except ValueError:
        then = _moment(value)
        now = _moment(date)
        seconds = 0.0 if then is None else then - (time.time() if now is None else now)
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _moment(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return None
