"""Errors that a person reads: one sentence that says what is wrong, one that says what to do.

Commands raise a `UserError` with the name of its text. What talks to servers raises a `Failure` with fields;
each class names its text, and the sentence is made when somebody reads it.

    UserError
    └── Failure
        ├── BudgetExceeded, UnexpectedError
        ├── RequestFailed
        │   ├── RejectedRequest        400, 404, 422 …
        │   ├── OnlyThoughts
        │   ├── AccessDenied           401, 403
        │   │   └── KeyMissing
        │   ├── ModelUnusable
        │   │   ├── KeyRefused, PaymentRequired, NoModelServer, Redirected
        │   │   ├── CertificateRefused, NotEncrypted, ProxyRefused
        │   │   └── WaitTooLong, StillLimited, StillLoading
        │   ├── RateLimited            429, or 503 with a time to wait
        │   ├── ServerError            500
        │   │   └── EmptyAnswer
        │   ├── ModelLoading           503 with words to that effect
        │   └── Unavailable            other 5xx
        │       ├── InvalidReply, EmptyReply, ConnectionLost
        │       ├── ReplyTimeout
        │       │   └── QueueTimeout
        │       └── Unreachable
        │           └── NoServer, ProxyUnreachable
        └── HubError
            ├── HubOffline             HF_HUB_OFFLINE is set
            ├── HubUnreachable
            ├── HubTokenRefused        401
            ├── HubAccessDenied        403, 404
            ├── HubConflict            409, 412
            ├── HubTooLarge            413
            └── HubBusy                429
"""

import dataclasses
import re
from typing import Any

from kto.texts import t


class UserError(Exception):
    """An error that the user can correct.

    `key` names a text under `errors:`, or with a dot any text (`technical.…`); `values` are for its placeholders.
    """

    kind, status = "unusable", 0  # as in data/generations/gaps.jsonl

    def __init__(self, key: str, /, **values: object) -> None:
        self.key = key
        super().__init__(t(key if "." in key else f"errors.{key}", **values))

    def __reduce__(self) -> tuple[Any, ...]:  # `values` are not kept, so `__init__` cannot be called again
        return type(self).__new__, (type(self), *self.args), vars(self)

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in a notebook instead of a traceback."""
        return [str(self)]


@dataclasses.dataclass(eq=False)
class Failure(UserError):
    """An error with fields, whose sentence is made when somebody reads it."""

    text = ""  # the key of the sentence; a class without one has that of its base
    status: int = 0  # HTTP status of the server's reply, 0 without one
    detail: str = ""  # what the server or the system says about it, in one line

    def __init_subclass__(cls, text: str = "") -> None:
        cls.kind = re.sub(r"\B([A-Z])", r"_\1", cls.__name__).lower()
        cls.text = text or cls.text

    def __str__(self) -> str:
        return t(self.text.format(status=self.status), **vars(self) | {"reason": self.detail})


class BudgetExceeded(Failure, text="generate.failed_spent"):
    """A further request might cost more than what is left."""


class UnexpectedError(Failure, text="generate.failed_unexpectedly"):
    """A bug, of ours or of a package."""


@dataclasses.dataclass(eq=False)
class RequestFailed(Failure, text="generate.failed_status"):
    """A model server gave no answer."""

    words: str = ""  # all that the server says; `detail` is cut
    param: str = ""  # field of the request that the server names
    wait: float = 0.0  # seconds that the server asks for before the next request
    seconds: int = 0  # waited in vain
    url: str = ""  # of the server
    target: str = ""  # address to which the server sends requests
    proxy: str = ""


class RejectedRequest(RequestFailed):
    """The same request will fail again."""


class OnlyThoughts(RequestFailed, text="generate.failed_thinking"):
    """`max_tokens` ended the answer before its first word."""


class AccessDenied(RequestFailed, text="generate.failed_{status}"):
    """The key or the model is refused, or a firewall refuses this prompt."""


class KeyMissing(AccessDenied, text="errors.no_key"):
    """The server wants a key, and none is set."""


class ModelUnusable(RequestFailed):
    """Every request to this model fails until somebody does something."""


class KeyRefused(ModelUnusable, text="errors.key_refused"):
    """The server refuses the key, whatever is asked."""


class PaymentRequired(ModelUnusable, text="generate.failed_402"):
    """The money is used up."""


class NoModelServer(ModelUnusable, text="errors.no_api"):
    """What answers at this address is no model server."""


class Redirected(ModelUnusable, text="technical.redirected"):
    """The server sends requests to another address, where they would arrive without their body."""


class CertificateRefused(ModelUnusable, text="technical.certificate"):
    """The server's certificate is not trusted."""


class NotEncrypted(ModelUnusable, text="technical.no_encryption"):
    """The server does not speak TLS."""


class ProxyRefused(ModelUnusable, text="technical.proxy"):
    """The proxy refuses the connection."""


class WaitTooLong(ModelUnusable, text="generate.failed_wait"):
    """The server asks for a wait that is longer than `timeout`."""


class StillLimited(ModelUnusable, text="generate.failed_limit"):
    """The server has answered nothing but 429 for `timeout` seconds."""


class StillLoading(ModelUnusable, text="technical.failed_loading"):
    """The server has been loading the model for more than `loading_timeout` seconds."""


class RateLimited(RequestFailed):
    """The server gets too many requests."""


class ServerError(RequestFailed):
    """The server failed with this request."""


class EmptyAnswer(ServerError, text="generate.failed_empty"):
    """The answer has no text."""


class ModelLoading(RequestFailed):
    """The server is still loading the model."""


class Unavailable(RequestFailed):
    """The server is not well, or the connection to it is not."""


class InvalidReply(Unavailable, text="technical.failed_reply"):
    """The reply is no chat completion."""


class EmptyReply(Unavailable, text="generate.failed_reply"):
    """The reply is empty."""


class ConnectionLost(Unavailable, text="generate.failed_connection"):
    """The connection broke."""


class ReplyTimeout(Unavailable, text="generate.failed_timeout"):
    """No reply in time."""


class QueueTimeout(ReplyTimeout):
    """No reply in time, perhaps only because the request waited for others in flight."""


class Unreachable(Unavailable, text="generate.failed_connection"):
    """The server takes no connection."""


class NoServer(Unreachable, text="errors.no_server"):
    """Nothing takes a connection at this address."""


class ProxyUnreachable(Unreachable, text="technical.proxy"):
    """The proxy takes no connection, or gets none."""


@dataclasses.dataclass(eq=False)
class HubError(Failure, text="errors.hub_failed"):
    """The Hub did not do what was asked."""

    repo_id: str = ""


class HubOffline(HubError, text="errors.hub_offline"):
    """Nothing may be sent to the Hub."""


class HubUnreachable(HubError, text="errors.hub_not_there"):
    """There is no connection to the Hub, or it broke."""


class HubTokenRefused(HubError, text="errors.hub_token_refused"):
    """The token is wrong."""


class HubAccessDenied(HubError, text="errors.hub_not_allowed"):
    """The token may not do this, or there is no such repository."""


class HubConflict(HubError, text="technical.hub_conflict"):
    """Somebody else is writing to the repository."""


class HubTooLarge(HubError, text="technical.hub_too_large"):
    """The Hub, or a proxy, takes no request of this size."""


class HubBusy(HubError, text="technical.hub_busy"):
    """The Hub had too many requests."""
