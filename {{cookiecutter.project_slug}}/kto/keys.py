"""Keys, from the environment or from `.env`."""

import os

from kto import dotenv
from kto.errors import UserError
from kto.settings import Settings


def secret(config: Settings, name: str) -> str:
    """Return a key from the environment, else from `.env`, else (HF_TOKEN) from `hf auth login`; "" if there is none.

    Raises `UserError` if `.env` cannot be read, or the key has characters that no key has.
    """
    path = config.root / ".env"
    try:
        value = (os.environ.get(name) or dotenv.read(path).get(name) or "").strip()
    except OSError as error:
        raise UserError("dotenv", path=path, reason=error.strerror or error) from None
    if not value and name == "HF_TOKEN":
        from huggingface_hub import get_token  # only who has no other token waits for this import

        try:
            value = get_token() or ""
        except Exception:  # a file that cannot be read, or a login for CI that fails
            value = ""
        return value if value.isascii() and value.isprintable() else ""
    if not (value.isascii() and value.isprintable()):
        raise UserError("bad_key", name=name)
    return value
