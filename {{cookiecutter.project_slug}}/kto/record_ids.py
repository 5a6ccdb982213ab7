"""The ids of records: a record is a prompt and an answer, and its id is a hash of the two."""

import hashlib
import json

from kto.cleaning import former


def text_id(*texts: str) -> str:
    """Return 32 hexadecimal digits that are the same for the same texts."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def record_ids(prompt: str, answer: str, raw: str | None) -> list[str]:
    """Return the ids that the record of an answer may have: that of its text, then those of earlier versions of it.

    An earlier version of this project may have cleaned the answer in another way. A record keeps its id, so an earlier
    one counts if people have it already.

    Parameters
    ----------
    raw
        The answer as it came.
    """
    texts = [answer, *(text for text in reversed(former(raw)) if text != answer)]
    return [text_id(prompt, text) for text in texts]
