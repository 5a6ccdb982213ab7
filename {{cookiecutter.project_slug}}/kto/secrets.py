"""Keys, from the environment or from `.env`."""

import os

from kto import dotenv
from kto.config import Config
from kto.errors import UserError


def secret(config: Config, name: str) -> str:
    """Return a key from the environment or, if it is not set there, from `.env`; "" if it is in neither.

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
    return value
