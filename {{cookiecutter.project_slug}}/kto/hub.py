"""Who we are on the Hub, and what it says when something goes wrong."""

import contextlib
import json
from collections.abc import Iterator

import httpx2
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from kto.errors import UserError
from kto.patience import PASSING
from kto.secrets import secret
from kto.settings import Settings

_SAID = {409: "hub_conflict", 412: "hub_conflict", 413: "hub_too_large", 429: "hub_busy"}


def hub_token(config: Settings) -> str:
    """Return the token for the Hub.

    Raises
    ------
    UserError
        There is none.
    """
    token = secret(config, "HF_TOKEN")
    if not token:
        raise UserError("no_hub_token")
    return token


def _cause(error: BaseException) -> BaseException:
    """Return what the Hub or the network said, which an upload of a large file wraps in a `RuntimeError`."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def passes(error: Exception) -> bool:
    """Tell whether a moment later the Hub may do it; where nothing can be reached, the client has waited already."""
    cause = _cause(error)
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code in PASSING
    if isinstance(cause, httpx2.ConnectError | httpx2.ProxyError):
        return False
    return isinstance(cause, httpx2.TransportError | json.JSONDecodeError)


@contextlib.contextmanager
def told_plainly(repo_id: str) -> Iterator[None]:
    """Turn what goes wrong between us and the Hub into a `UserError`, and keep the client's own remarks away."""
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    except OfflineModeIsEnabled:
        raise UserError("hub_offline") from None
    except (HfHubHTTPError, httpx2.HTTPError, ConnectionError, RuntimeError, json.JSONDecodeError) as error:
        raise _plain(repo_id, _cause(error)) from None


def _plain(repo_id: str, error: BaseException) -> UserError:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        reason = " ".join((error.server_message or str(error)).split())
        if status == 401:
            return UserError("hub_token_refused")
        if status in (403, 404) and "storage" not in reason.lower():  # 403 also says that an account is full
            return UserError("hub_not_allowed", repo_id=repo_id)
        if status in _SAID:
            return UserError(f"technical.{_SAID[status]}", repo_id=repo_id)
        return UserError("hub_failed", repo_id=repo_id, reason=reason)
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, httpx2.HTTPError | ConnectionError):
        return UserError("hub_not_there", reason=reason)
    return UserError("hub_failed", repo_id=repo_id, reason=reason[:500])
