"""Names of models and addresses of servers: parsing them, and showing them without private parts."""

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(:[a-z0-9][a-z0-9-]*)?")
_PROVIDER = re.compile(r":[a-z0-9][a-z0-9-]*\Z")


def split_provider(model: str) -> tuple[str, str]:
    """Split `owner/name:provider` into (`owner/name`, `provider`); the provider is "" if none is named."""
    match = _PROVIDER.search(model) if _HUB_ID.fullmatch(model) else None
    return (model[: match.start()], match[0][1:]) if match else (model, "")


def public_names(models: Sequence[str]) -> list[str]:
    """Return the names under which models are published: a local folder is cut to the end of its path.

    The end is as long as necessary to keep names apart; Hub ids and names on a server stay.
    """
    parts = [re.split(r"[\\/]+", model.rstrip("\\/")) for model in models]
    private = [re.match(r"[\\/.~]|[A-Za-z]:[\\/]", model) is not None for model in models]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = [
            "/".join(part[-length:]) if hide else model
            for model, part, hide in zip(models, parts, private, strict=True)
        ]
        if len(set(names)) == len(names):
            break
    return names


def is_address(url: str) -> bool:
    """Return whether this is an HTTP address."""
    try:
        parts = urlsplit(url)
        is_http = parts.scheme in ("http", "https") and bool(parts.hostname)
        return is_http and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return False


def hide_login(text: str) -> str:
    """Remove user names and passwords from the addresses in a text."""
    return re.sub(r"//\S*@", "//…@", text)
