"""Argilla, used with its owner's key: by its SDK, and by its REST API where that is quicker or tells more."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from kto.errors import Failure, UserError
from kto.keys import secret
from kto.retries import TEMPORARY, retry
from kto.settings import Settings
from kto.texts import t

T = TypeVar("T")

_TEXTS = {
    0: "errors.argilla_not_there",
    200: "errors.no_argilla_there",
    401: "errors.argilla_key_refused",
    403: "errors.argilla_not_owner",
    409: "technical.argilla_conflict",
    412: "technical.argilla_conflict",
    413: "technical.argilla_too_large",
    429: "technical.argilla_busy",
}
"""What an `ArgillaError` says, by its status; others say `argilla_failed`."""


@dataclasses.dataclass(eq=False)
class ArgillaError(Failure):
    """A request that failed; its status is 0 without a reply, and 200 if the reply is not one of Argilla's."""

    url: str = ""

    def __str__(self) -> str:
        return t(_TEXTS.get(self.status, "errors.argilla_failed"), url=self.url, reason=self.detail)


class Argilla:
    """The Argilla at `api_url`; `sdk` is the client of its SDK, whose calls stand in `errors()` or `repeat()`."""

    def __init__(self, url: str, key: str) -> None:
        import argilla as rg  # 1.2 s: `--help` and the database of a stopped server do without

        self.api_url, self.key = url.rstrip("/"), key
        self.sdk = self.repeat(lambda: rg.Argilla(api_url=self.api_url, api_key=key, timeout=120, retries=1))

    def request(self, method: str, path: str, **content: Any) -> Any:
        """Return the JSON of the reply, None if it is empty; raise `ArgillaError` if the request fails.

        A GET or PUT is repeated after a temporary failure. `path` is below `/api/v1`, `content` as in httpx.
        """

        def send() -> Any:
            reply = self.sdk.http_client.request(method, f"/api/v1{path}", **content).raise_for_status()
            return reply.json() if reply.content else None

        if method in ("GET", "PUT"):
            return self.repeat(send)
        with self.errors():
            return send()

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return what Argilla lists at `path`."""
        return list(self.request("GET", path, params=query)["items"])

    def repeat(self, call: Callable[[], T]) -> T:
        """Call until no temporary failure stops it, and return the result; raise `ArgillaError` if it fails."""
        import httpx

        def is_temporary(error: Exception) -> bool:
            cause = _cause(error)
            if isinstance(cause, httpx.HTTPStatusError):
                return cause.response.status_code in TEMPORARY
            return isinstance(cause, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)

        with self.errors():
            return retry(call, is_temporary)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Raise errors of the SDK and of httpx as `ArgillaError`."""
        import httpx

        try:
            yield
        except Exception as error:
            match _cause(error):
                case httpx.HTTPStatusError(response=reply):
                    text = " ".join(reply.text.split())
                    raise ArgillaError(reply.status_code, f"{reply.status_code} {text}"[:500], self.api_url) from None
                case httpx.TransportError() | httpx.InvalidURL() | UnicodeError() as cause:
                    raise ArgillaError(0, str(cause) or type(cause).__name__, self.api_url) from None
                case json.JSONDecodeError():  # the page of a proxy
                    raise ArgillaError(200, url=self.api_url) from None
            raise


def _cause(error: BaseException) -> BaseException:
    """Return the error that the SDK was handling when it raised its own: most of those do not have the status."""
    import httpx

    while error.__context__ and not isinstance(error, httpx.HTTPError | httpx.InvalidURL | ValueError):
        error = error.__context__
    return error


def connect(config: Settings) -> Argilla:
    """Log in to the Argilla of `ARGILLA_API_URL` and `ARGILLA_API_KEY`; raise `UserError` if they are not set."""
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not url or not key:
        raise UserError("argilla_not_set")
    return log_in(url, key)


def log_in(url: str, key: str) -> Argilla:
    """Log in to an Argilla; raise `ArgillaError` if nothing answers, or the key is refused or is not the owner's."""
    try:
        argilla = Argilla(url, key)
        if argilla.repeat(lambda: argilla.sdk.me.role) != "owner":
            raise ArgillaError(403, url=url)
        return argilla
    except (ArgillaError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ArgillaError) and error.status != 404:
            raise
        raise ArgillaError(200, url=url) from None
