"""Argilla's REST API, used with its owner's key."""

import dataclasses
import json
from typing import Any

from kto.errors import Failure, UserError
from kto.patience import PASSING, patiently
from kto.secrets import secret
from kto.settings import Settings
from kto.texts import t

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
    """The Argilla at `api_url`."""

    def __init__(self, url: str, key: str) -> None:
        import httpx  # `--help` does without

        self.api_url = url.rstrip("/")
        transport = httpx.HTTPTransport(retries=1)  # with it httpx reads no proxy from the environment
        self.http = httpx.Client(headers={"X-Argilla-Api-Key": key}, timeout=120, transport=transport)

    def request(self, method: str, path: str, **content: Any) -> Any:
        """Return the JSON of the reply, None if it is empty; raise `ArgillaError` if the request fails.

        A GET or PUT is repeated after a temporary failure. `path` is below `/api/v1`, `content` as in httpx.
        """
        import httpx

        def send() -> httpx.Response:
            return self.http.request(method, f"{self.api_url}/api/v1{path}", **content).raise_for_status()

        def is_temporary(error: Exception) -> bool:
            if isinstance(error, httpx.HTTPStatusError):
                return error.response.status_code in PASSING
            return isinstance(error, httpx.ReadError | httpx.WriteError | httpx.RemoteProtocolError)

        try:
            reply = patiently(send, is_temporary) if method in ("GET", "PUT") else send()
            return reply.json() if reply.content else None
        except httpx.HTTPStatusError as error:
            status, text = error.response.status_code, " ".join(error.response.text.split())
            raise ArgillaError(status, f"{status} {text}"[:500], self.api_url) from None
        except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
            raise ArgillaError(0, str(error) or type(error).__name__, self.api_url) from None
        except json.JSONDecodeError:  # the page of a proxy
            raise ArgillaError(200, url=self.api_url) from None

    def items(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Return what Argilla lists at `path`."""
        return list(self.request("GET", path, params=query)["items"])


def connect(config: Settings) -> Argilla:
    """Log in to the Argilla of `ARGILLA_API_URL` and `ARGILLA_API_KEY`; raise `UserError` if they are not set."""
    url, key = secret(config, "ARGILLA_API_URL"), secret(config, "ARGILLA_API_KEY")
    if not url or not key:
        raise UserError("argilla_not_set")
    return log_in(url, key)


def log_in(url: str, key: str) -> Argilla:
    """Log in to an Argilla; raise `ArgillaError` if nothing answers, or the key is refused or is not the owner's."""
    argilla = Argilla(url, key)
    try:
        role = argilla.request("GET", "/me")["role"]
    except (ArgillaError, KeyError, TypeError) as error:
        if isinstance(error, ArgillaError) and error.status != 404:
            raise
        raise ArgillaError(200, url=url) from None
    if role != "owner":
        raise ArgillaError(403, url=url)
    return argilla
