"""One chat completion: the request, the reply, and what went wrong told apart by what can be done about it."""

import email.utils
import json
import math
import time
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from kto.endpoint import Endpoint
from kto.store import Answer
from kto.texts import t

_LONGEST_DETAIL = 200  # characters of a server's own words that a message repeats


class Trouble(Exception):
    """A request without an answer; the text is a sentence for people."""

    def __init__(self, reason: str, *, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait  # seconds that the server asks for before the next request


class WillFailAgain(Trouble):
    """The same request will fail again (400, 404, 422 …)."""


class Refused(Trouble):
    """Every request to this model will fail until somebody does something (401, 402, 403)."""


class Limited(Trouble):
    """The server gets too many requests (429, or 503 with the time to wait)."""


class Failed(Trouble):
    """The server failed with this request (500)."""


class Unwell(Trouble):
    """The server is not well, or cannot be reached well: other 5xx, no answer in time, a lost connection."""


class NotThere(Unwell):
    """The server takes no connection."""


class Chat:
    """A client for one server; belongs to one event loop.

    Parameters
    ----------
    endpoint
        The server.
    concurrency
        Connections that are kept open.
    timeout
        Seconds that one request may take.
    """

    def __init__(self, endpoint: Endpoint, concurrency: int, timeout: float) -> None:
        self._url = f"{endpoint.base_url}/chat/completions"
        self._timeout = timeout
        self._proxy = None if endpoint.is_local else _proxy(endpoint.base_url)
        headers = {"Authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=concurrency, ttl_dns_cache=300),
            headers=headers | {"Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=timeout),
            trust_env=False,  # otherwise it would look for passwords in ~/.netrc
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def complete(self, body: Mapping[str, Any]) -> Answer:
        """Send a request (format: OpenAI's "create chat completion") and return the answer.

        Raises
        ------
        Trouble
            There is none; the class says what can be done about it.
        """
        began = time.monotonic()
        try:
            async with self._session.post(self._url, data=json.dumps(body), proxy=self._proxy) as response:
                content = await response.read()
        except TimeoutError:
            raise Unwell(t("generate.failed_timeout", seconds=round(self._timeout))) from None
        except aiohttp.ClientConnectorError:
            raise NotThere(t("generate.failed_connection")) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise Unwell(t("generate.failed_connection")) from None
        if response.status >= 400:
            raise _trouble(response, content)
        try:
            answer = _answer(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise Unwell(t("generate.failed_reply")) from None
        return answer._replace(seconds=round(time.monotonic() - began, 3))


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment names for an address, None if there is none."""
    parts = urlsplit(url)
    if urllib.request.proxy_bypass(parts.hostname or ""):
        return None
    return urllib.request.getproxies().get(parts.scheme)


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
    read, said = (_count(counts.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    return Answer(text, reason, read, said, refused=bool(refusal) or reason == "content_filter")


def _count(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None


def _trouble(response: aiohttp.ClientResponse, content: bytes) -> Trouble:
    status, detail = response.status, _detail(response, content)
    if status in (401, 402, 403):
        return Refused(t(f"generate.failed_{status}", detail=detail))
    reason = t("generate.failed_status", status=status, detail=detail)
    wait = retry_after(response.headers.get("Retry-After"))
    if status == 429 or (status == 503 and wait):
        return Limited(reason, wait=wait)
    if status == 500:
        return Failed(reason, wait=wait)
    return (Unwell if status > 500 or status in (408, 409, 425) else WillFailAgain)(reason, wait=wait)


def retry_after(value: str | None) -> float:
    """Return the seconds that a `Retry-After` header asks for: it holds seconds, or a date (RFC 9110, 10.2.3)."""
    try:
        seconds = float(value or 0)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value or "").timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def _detail(response: aiohttp.ClientResponse, content: bytes) -> str:
    """Return what the server said about it, in its own words and short."""
    text = content[:20_000].decode("utf-8", "replace")
    try:
        said: object = json.loads(text)
    except (ValueError, RecursionError):
        said = text
    while isinstance(said, dict):
        said = said.get("message") or said.get("error") or said.get("detail")
    short = " ".join(str(said or text or response.reason or "").split())
    short = short.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return short if len(short) <= _LONGEST_DETAIL else short[:_LONGEST_DETAIL].rstrip() + "…"
