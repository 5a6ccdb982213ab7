"""Who we are on the Hub, and what it says when something goes wrong."""

import contextlib
from collections.abc import Iterator

import httpx2
from huggingface_hub import get_token
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from kto.config import Config
from kto.endpoint import secret
from kto.errors import UserError


def hub_token(config: Config) -> str:
    """Return the token of `HF_TOKEN`, from the environment or `.env`, or else of `hf auth login`.

    Raises
    ------
    UserError
        There is none.
    """
    token = secret(config, "HF_TOKEN") or get_token()
    if not token:
        raise UserError("no_hub_token")
    return token


@contextlib.contextmanager
def told_plainly(repo_id: str) -> Iterator[None]:
    """Turn what goes wrong between us and the Hub into a `UserError`, and keep the client's own remarks away."""
    logging.set_verbosity_error()
    disable_progress_bars()
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == 401:
            raise UserError("hub_token_refused") from None
        if status in (403, 404):
            raise UserError("hub_not_allowed", repo_id=repo_id) from None
        reason = error.server_message or str(error)
        raise UserError("hub_failed", repo_id=repo_id, reason=" ".join(reason.split())) from None
    except OfflineModeIsEnabled:
        raise UserError("hub_offline") from None
    except (httpx2.HTTPError, ConnectionError) as error:
        raise UserError("hub_not_there", reason=str(error) or type(error).__name__) from None
