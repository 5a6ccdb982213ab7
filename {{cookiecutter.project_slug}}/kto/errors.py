"""Errors that a person reads: one sentence that says what is wrong, one that says what to do.

Commands raise a `UserError` with the name of its text. What talks to servers raises a `Failure` with fields; `_TEXTS`
has the text of each class, and the sentence is made when somebody reads it.

    UserError
    └── Failure
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
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from kto.terminal import survive_unread_output
from kto.texts import TextsError, t


class UserError(Exception):
    """Something the person at the keyboard can put right.

    Parameters
    ----------
    key
        Name of a text under `errors:`, or its whole name (`technical.…`).
    values
        What the placeholders of that text stand for.
    """

    def __init__(self, key: str, /, **values: object) -> None:
        self.key = key
        super().__init__(t(key if "." in key else f"errors.{key}", **values))

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: IPython asks for this before it writes a traceback."""
        return [str(self)]


@dataclasses.dataclass(eq=False)
class Failure(UserError):
    """An error with fields, whose sentence is made when somebody reads it."""

    status: int = 0  # HTTP status of the server's reply, 0 without one
    detail: str = ""  # what the server or the system says about it, in one line

    def __str__(self) -> str:
        return t(_TEXTS[type(self)], **vars(self) | {"reason": self.detail})


@dataclasses.dataclass(eq=False)
class HubError(Failure):
    """The Hub did not do what was asked."""

    repo_id: str = ""


class HubOffline(HubError):
    """Nothing may be sent to the Hub."""


class HubUnreachable(HubError):
    """There is no connection to the Hub, or it broke."""


class HubTokenRefused(HubError):
    """The token is wrong."""


class HubAccessDenied(HubError):
    """The token may not do this, or there is no such repository."""


class HubConflict(HubError):
    """Somebody else is writing to the repository."""


class HubTooLarge(HubError):
    """The Hub, or a proxy, takes no request of this size."""


class HubBusy(HubError):
    """The Hub had too many requests."""


_TEXTS: Mapping[type[Failure], str] = {
    HubError: "errors.hub_failed",
    HubOffline: "errors.hub_offline",
    HubUnreachable: "errors.hub_not_there",
    HubTokenRefused: "errors.hub_token_refused",
    HubAccessDenied: "errors.hub_not_allowed",
    HubConflict: "technical.hub_conflict",
    HubTooLarge: "technical.hub_too_large",
    HubBusy: "technical.hub_busy",
}


def use_utf8() -> None:
    """Let `print` write any letter, also on a console with an old code page (Windows, cp1252)."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="replace")


def end_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and leave the process with its exit status.

    A `UserError`, or a text that is not there, becomes a sentence on stderr and status 1, Ctrl-C status 130; anything
    else is a bug and keeps its traceback. A command does its work also when nobody reads what it prints.
    """
    use_utf8()
    survive_unread_output()
    try:
        status = main()
    except (UserError, TextsError) as error:
        print(error, file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)
