"""Every HTTP request to a model server, in OpenAI's format: chat completions, the list of models, is it up?

One rule for certificates and proxies holds for all of them.
"""

import contextlib
import email.utils
import functools
import json
import math
import os
import re
import ssl
import sys
import time
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import aiohttp
import aiohttp_socks
import certifi
import requests.utils
import truststore

from kto import errors
from kto.ask import error_body
from kto.ask.error_body import ErrorBody
from kto.ask.pace import Crowded, ReplyDeadline
from kto.ask.servers import ModelList, Server
from kto.ask.store import Answer, finish_reason
from kto.model_names import hide_login, is_address

_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
_SOCKS = {"socks": "socks5", "socks5": "socks5", "socks5h": "socks5", "socks4": "socks4", "socks4a": "socks4"}
_PROXY_ERRORS = (
    aiohttp.ClientProxyConnectionError,
    aiohttp_socks.ProxyError,
    aiohttp_socks.ProxyConnectionError,
    aiohttp_socks.ProxyTimeoutError,
)
Reply = tuple[aiohttp.ClientResponse, bytes]

_TIMEOUT = 10.0  # seconds for a question about the server itself
_NO_LIMIT = aiohttp.ClientTimeout(total=None)
_QUESTION = aiohttp.ClientTimeout(connect=_TIMEOUT, sock_read=_TIMEOUT, total=6 * _TIMEOUT)
_MOVED = (301, 302, 303)  # redirects after which clients send no body any more
_TRANSIENT = frozenset((408, 409, 424, 425, 498))  # 424 and 498: what is behind the server failed, or is full
_UNPAID = frozenset(
    ("insufficient_quota", "insufficient_balance", "exceeded_current_quota_error", "billing_hard_limit_reached")
)  # error codes that say, whatever the status, that the money is used up
_MODERATED = re.compile(r"flagged|moderation|guardrail|safety|content[ _-]?(?:policy|filter)", re.IGNORECASE)
_LOADING = re.compile(
    r"\bloading\b|estimated_time|scal(ed|ing)\b|warming|starting|initiali[sz]|not ready", re.IGNORECASE
)
_SCALES_TO_ZERO = ".endpoints.huggingface.cloud"  # answers 502 or 503 while it starts an endpoint


@functools.cache
def certificates() -> ssl.SSLContext:
    """Return the trusted certificates: those that the environment names, as in requests and OpenSSL, or the system's.

    Companies put their own there. On Linux those of certifi count, too, because small containers have none.
    """
    for name in _BUNDLES:
        if path := os.environ.get(name):
            try:
                if name == "SSL_CERT_DIR" or os.path.isdir(path):
                    return ssl.create_default_context(capath=path)
                return ssl.create_default_context(cafile=path)
            except OSError as error:
                reason = error.strerror or error
                raise errors.UserError("technical.bad_certificates", name=name, path=path, reason=reason) from None
    if sys.platform in ("win32", "darwin"):
        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _proxy(server: Server) -> str:
    """Return the proxy for a server, "" for none; the environment is read as requests does."""
    if server.is_loopback:
        return ""
    proxies = requests.utils.get_environ_proxies(server.base_url, no_proxy=None)
    proxy = requests.utils.select_proxy(server.base_url, proxies) or ""
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def _session(server: Server, connections: int) -> aiohttp.ClientSession:
    proxy = _proxy(server)
    try:
        parts = urlsplit(proxy)
        usable = not proxy or (parts.scheme in ("http", "https", *_SOCKS) and parts.hostname and parts.port != 0)
    except ValueError:
        usable = False
    if not usable:
        raise errors.UserError("technical.bad_proxy", proxy=hide_login(proxy))
    trusted = certificates() if "https" in (urlsplit(server.base_url).scheme, parts.scheme) else True
    options: dict[str, Any] = {"limit": connections, "ssl": trusted}
    connector: aiohttp.TCPConnector
    if parts.scheme in _SOCKS:
        # As in curl, the proxy looks up the server's name only where the scheme says so.
        remote_lookup = parts.scheme in ("socks5h", "socks4a")
        netloc = parts.netloc if parts.port else f"{parts.netloc}:1080"
        url = parts._replace(scheme=_SOCKS[parts.scheme], netloc=netloc).geturl()
        connector = aiohttp_socks.ProxyConnector.from_url(url, rdns=remote_lookup, **options)
        proxy = ""
    else:
        connector = aiohttp.TCPConnector(ttl_dns_cache=300, **options)
    return aiohttp.ClientSession(
        connector=connector,
        headers=server.headers,
        proxy=proxy or None,
        trust_env=False,  # otherwise passwords would be read from ~/.netrc
        cookie_jar=aiohttp.DummyCookieJar(),
    )


class ModelClient:
    """A client for one server, with `timeout` seconds per chat completion (`ReplyDeadline`); belongs to one event loop.

    Raises `UserError` if the environment names certificates or a proxy that cannot be used.
    """

    def __init__(self, server: Server, concurrency: int = 1, timeout: float = _TIMEOUT) -> None:
        self._server, self._timeout = server, timeout
        self._chat_url = f"{server.base_url}/chat/completions"
        self._deadline = ReplyDeadline(timeout)
        self._session = _session(server, concurrency)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _send(self, method: str, url: str, timeout: aiohttp.ClientTimeout, **options: Any) -> Reply:
        """Send a request and return the reply with its body; raise `RequestFailed` or `TimeoutError` without one."""
        try:
            async with self._session.request(method, url, timeout=timeout, **options) as response:
                content = await response.read()
        except (*_PROXY_ERRORS, aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, _PROXY_ERRORS):
                raise
            raise _connection_failure(self._server, error) from None
        for reply in (*response.history, response):
            if method == "POST" and reply.status in _MOVED and (target := self._target(reply)):
                raise errors.Redirected(reply.status, url=self._server.base_url, target=target)
        if response.status == 407:
            proxy, said = hide_login(_proxy(self._server)), f"407 {response.reason or ''}".strip()
            raise errors.ProxyRefused(407, said, url=self._server.base_url, proxy=proxy)
        return response, content

    def _target(self, reply: aiohttp.ClientResponse) -> str:
        """Return the address, as `base_url` has it, to which a redirect of chat leads; "" if it is none."""
        location = reply.headers.get("Location", "")
        try:
            target = urljoin(self._chat_url, location)
        except ValueError:
            return ""
        return hide_login(target.removesuffix("/chat/completions")) if location and is_address(target) else ""

    async def is_ready(self) -> bool:
        """Tell whether the server is up: at `/health`, some answer 404, and those that are still loading 503."""
        try:
            response, _ = await self._send("GET", urljoin(self._server.base_url, "/health"), _QUESTION)
        except (errors.RequestFailed, TimeoutError):
            return False
        return response.status < 500

    async def models(self) -> ModelList | None:
        """Return what the server says about its models, None if it says nothing: then chat decides.

        Raises `RequestFailed` if no server answers, it refuses the key, or there is no chat at this address.
        """
        try:
            response, content = await self._send("GET", f"{self._server.base_url}/models", _QUESTION)
        except errors.ProxyUnreachable:
            raise
        except (errors.Unavailable, aiohttp.ConnectionTimeoutError):
            raise errors.NoServer(url=self._server.base_url) from None
        except TimeoutError:  # it is busy
            return None
        if response.status in (408, 429) or response.status >= 500:
            return None
        listed = ModelList.parse(_json(content)) if response.status < 300 else None
        if listed is None or any(reply.status in _MOVED for reply in response.history):
            await self._look_for_chat()
        return listed

    async def _look_for_chat(self) -> None:
        """Send an empty request, which asks no model; raise `RequestFailed` if the server has no chat."""
        url = self._server.base_url
        try:
            response, content = await self._send("POST", self._chat_url, _QUESTION, json={}, allow_redirects=False)
        except errors.Redirected:
            raise
        except (errors.RequestFailed, TimeoutError):
            return
        status, said = response.status, _json(content)
        if status == 401 and not self._server.key:
            raise errors.KeyMissing(status, error_body.read(content).short or str(status), url=url)
        if status == 401:
            raise errors.KeyRefused(status, url=url)
        # A server may say that it knows no such model; and some answer 200 where there is nothing.
        unknown = status in (404, 405) and (said is None or "model" not in str(said).lower())
        if unknown or (status < 300 and not (isinstance(said, dict) and "choices" in said)):
            raise errors.NoModelServer(status, url=url)

    async def complete(self, body: Mapping[str, Any]) -> Answer:
        """Send a request in OpenAI's format and return the answer; raise `RequestFailed` without one."""
        began, url = time.monotonic(), self._chat_url
        options: dict[str, Any] = {"data": json.dumps(body), "headers": {"Content-Type": "application/json"}}
        try:
            async with self._deadline.waiting():
                response, content = await self._send("POST", url, _NO_LIMIT, **options, allow_redirects=False)
                if response.status in (307, 308):
                    response, content = await self._send("POST", url, _NO_LIMIT, **options)
        except TimeoutError as late:
            kind = errors.QueueTimeout if isinstance(late, Crowded) else errors.ReplyTimeout
            raise kind(seconds=round(self._timeout)) from None
        if response.status >= 400:
            error = error_body.read(content)
            error = error._replace(words=error.words or response.reason or "", status=response.status)
            raise self._failure(response, error, content)
        try:
            completion = json.loads(content)
            said = error_body.in_answer(completion)
            if said is None:
                return _answer(completion)._replace(seconds=round(time.monotonic() - began, 3))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said = error_body.read(content)
        raise self._failure(response, said)

    def _failure(
        self, response: aiohttp.ClientResponse, said: ErrorBody, content: bytes | None = None
    ) -> errors.RequestFailed:
        """Return what can be done about an error; `content` is the body if the reply has the status of the error."""
        status = said.status  # 0 where a reply with status 200 names none
        fields: dict[str, Any] = {"status": status, "detail": said.short, "words": said.words, "param": said.param}
        if status == 402 or said.codes & _UNPAID:
            return errors.PaymentRequired(**fields)
        if status in (401, 403) and not (status == 403 and _MODERATED.search(said.words)):
            denied = errors.AccessDenied if self._server.key else errors.KeyMissing
            return denied(**fields, url=self._server.base_url)
        if not status:
            return errors.InvalidReply(**fields) if said.words else errors.EmptyReply()
        wait = retry_after(response.headers.get("Retry-After"), response.headers.get("Date"))
        if content is not None and status in (502, 503):
            text = content[: error_body.LONGEST].decode("utf-8", "replace")
            starts = (response.url.host or "").endswith(_SCALES_TO_ZERO)
            if starts or (status == 503 and _LOADING.search(text)):
                with contextlib.suppress(ValueError, LookupError, TypeError, RecursionError):
                    wait = max(wait, _finite(float(json.loads(text)["estimated_time"])))
                return errors.ModelLoading(**fields, wait=max(wait, 1.0))
        kind: type[errors.RequestFailed] = errors.RejectedRequest
        if status == 429 or (status == 503 and wait):
            kind = errors.RateLimited
        elif status == 500:
            kind = errors.ServerError
        elif status > 500 or status in _TRANSIENT:
            kind = errors.Unavailable
        return kind(**fields, wait=wait)


def _connection_failure(server: Server, error: Exception) -> errors.RequestFailed:
    """Return what it means that a connection failed: at the server, its certificate, or a proxy."""
    url, proxy = server.base_url, hide_login(_proxy(server))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        kind = errors.ProxyRefused if error.status < 500 else errors.ProxyUnreachable
        return kind(url=url, proxy=proxy, status=error.status, detail=f"{error.status} {error.message}".strip())
    if isinstance(error, _PROXY_ERRORS):
        reason = getattr(error, "os_error", error)
        return errors.ProxyUnreachable(url=url, proxy=proxy, detail=str(getattr(reason, "strerror", None) or reason))
    # Each way through aiohttp has its own place for an error of TLS.
    for cause in (getattr(error, "certificate_error", None), getattr(error, "os_error", None), error.__cause__, error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return errors.CertificateRefused(url=url, detail=cause.verify_message or str(cause))
        if isinstance(cause, ssl.SSLError):
            return errors.NotEncrypted(url=url, detail=cause.reason or str(cause))
    return errors.Unreachable() if isinstance(error, aiohttp.ClientConnectorError) else errors.ConnectionLost()


def _json(content: bytes) -> Any:
    with contextlib.suppress(ValueError, RecursionError):
        return json.loads(content)


def _answer(completion: Any) -> Answer:
    """Return what a reply says; raise `LookupError`, `TypeError` or `AttributeError` if it is no chat completion."""
    choice = completion["choices"][0]
    message = choice["message"]
    content, refusal = message.get("content"), message.get("refusal")
    reason = choice.get("finish_reason") or ""
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part.get("type") == "text")
    if not isinstance(content, str | None) or not isinstance(reason, str):
        raise TypeError
    text = content or (refusal if isinstance(refusal, str) else "")
    usage = completion.get("usage")
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    counts = [usage.get(name) if isinstance(usage, dict) else None for name in names]
    read, written, total = (count if type(count) is int and 0 <= count < 2**63 else None for count in counts)
    if read is not None and written is not None and total is not None:
        written = max(written, total - read)  # some servers leave thoughts out of the answer's tokens, and bill them
    refused = bool(refusal) or reason == "content_filter"
    return Answer(error_body.whole(text), finish_reason(error_body.whole(reason)), read, written, refused=refused)


def retry_after(value: str | None, date: str | None = None) -> float:
    """Return the seconds that a `Retry-After` header asks for: it holds seconds, or a date (RFC 9110, 10.2.3).

    A date is one of the server's clock, which `date`, its `Date` header, tells.
    """
    try:
        seconds = float(value or 0)
    except ValueError:
        then, now = _timestamp(value), _timestamp(date)
        seconds = 0.0 if then is None else then - (now or time.time())
    return max(_finite(seconds), 0.0)


def _finite(seconds: float) -> float:
    return seconds if math.isfinite(seconds) else 0.0


def _timestamp(date: str | None) -> float | None:
    with contextlib.suppress(ValueError, OverflowError):
        return email.utils.parsedate_to_datetime(date or "").timestamp()
    return None
