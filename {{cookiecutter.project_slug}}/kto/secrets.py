"""Keys, from the environment or from `.env`."""

import os

from kto import dotenv
from kto.errors import UserError
from kto.settings import Settings


def secret(config: Settings, name: str) -> str:
    """Return a key from the environment or, if it is not set there, from `.env`; "" if it is in neither.

    Without a key for the Hub it is the one of `hf auth login`.

    Raises
    ------
    UserError
        It has characters that cannot be in a key.
    """
    try:
        value = (os.environ.get(name) or dotenv.read(config.root / ".env").get(name) or "").strip()
    except OSError as error:
        raise UserError("dotenv", path=config.root / ".env", reason=error.strerror or error) from None
    if not (value.isascii() and value.isprintable()):
        raise UserError("bad_key", name=name)
    return value or (_of_login() if name == "HF_TOKEN" else "")


def _of_login() -> str:
    """Return the token of whoever has logged in to the Hub on this machine, "" if nobody has."""
    from huggingface_hub import get_token  # only who has no other token waits for this import

    try:
        token = get_token() or ""
    except Exception:  # a file that cannot be read, or a login for CI that fails
        return ""
    return token if token.isascii() and token.isprintable() else ""
