"""The connection to Argilla, as its owner, and what goes wrong on it as sentences."""

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kto.errors import UserError
from kto.patience import PASSING, patiently
from kto.secrets import secret
from kto.settings import Settings

if TYPE_CHECKING:
    import argilla as rg

_BY_STATUS = {
    401: "argilla_key_refused",
    403: "argilla_not_owner",
    409: "technical.argilla_conflict",
    412: "technical.argilla_conflict",
    413: "technical.argilla_too_large",
    429: "technical.argilla_busy",
}


def connect(config: Settings) -> "rg.Argilla":
    """Log in to the Argilla of `ARGILLA_API_URL` with `ARGILLA_API_KEY`, from the environment or else `.env`.

    Raises
    ------
    UserError
        One of them is not set, nothing answers there, or the key is refused or is not the owner's.
    """
    url, key = secret(config, "ARGILLA_API_URL").rstrip("/"), secret(config, "ARGILLA_API_KEY")
    if not url or not key:
        raise UserError("argilla_not_set")
    return log_in(url, key)


def log_in(url: str, key: str) -> "rg.Argilla":
    """Log in to the Argilla at `url` with its owner's key; raise `UserError` as `connect` does."""
    import argilla as rg  # with `datasets` and pandas, which takes a second
    from argilla._exceptions import NotFoundError

    with argilla_errors(url):
        try:
            client = rg.Argilla(api_url=url, api_key=key, timeout=120, retries=1)
            role = client.me.role
        except (NotFoundError, ValueError, TypeError):  # a web server, but something else
            raise UserError("no_argilla_there", url=url) from None
    if role != "owner":
        raise UserError("argilla_not_owner", url=url)
    return client


@contextlib.contextmanager
def argilla_errors(url: str) -> Iterator[None]:
    """Turn errors of the Argilla at `url`, and of the network on the way to it, into a `UserError`."""
    import httpx
    from argilla._exceptions import ArgillaCredentialsError, ForbiddenError, UnauthorizedError
    from argilla._exceptions._base import ArgillaError

    try:
        yield
    except (ArgillaCredentialsError, UnauthorizedError):
        raise UserError("argilla_key_refused", url=url) from None
    except ForbiddenError:
        raise UserError("argilla_not_owner", url=url) from None
    except json.JSONDecodeError:  # the page of a proxy
        raise UserError("no_argilla_there", url=url) from None
    except (httpx.TransportError, httpx.InvalidURL, UnicodeError) as error:
        raise UserError("argilla_not_there", url=url, reason=str(error) or type(error).__name__) from None
    except (ArgillaError, httpx.HTTPStatusError) as error:
        status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else None
        if status in _BY_STATUS:
            raise UserError(_BY_STATUS[status], url=url) from None
        reason = " ".join(str(error.__cause__ or error).split())
        unreachable = isinstance(error.__cause__, httpx.TransportError)
        key = "argilla_not_there" if unreachable else "argilla_failed"
        raise UserError(key, url=url, reason=reason[: None if unreachable else 500]) from None


def request(client: "rg.Argilla", method: str, url: str, **content: Any) -> Any:
    """Send a request of Argilla's REST API and return the JSON of the reply, None if there is none."""
    reply = getattr(client.api.http_client, method)(url, **content).raise_for_status()
    return reply.json() if reply.content else None


def request_patiently(client: "rg.Argilla", method: str, url: str, **content: Any) -> Any:
    """Send a request that does no harm when it is sent twice; retry it after a temporary failure."""
    return patiently(lambda: request(client, method, url, **content), _is_temporary)


def _is_temporary(error: Exception) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code in PASSING
    unreachable = isinstance(error, httpx.ConnectError)
    return isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError) and not unreachable
