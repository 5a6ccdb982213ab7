"""The ids of records: a record is a prompt and an answer, and its id is a hash of the two."""

import hashlib
import json
import re

_FIRST_RULE = re.compile(r"\s*(?:<think>.*?(?:</think>|\Z)|(?:(?!<think>).)*?</think>)", re.DOTALL)


def text_id(*texts: str) -> str:
    """Return 32 hexadecimal digits that are the same for the same texts."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def record_ids(prompt: str, answer: str, raw: str | None) -> list[str]:
    """Return the ids that the record of an answer may have: that of its text, and that of its text by an earlier rule.

    The first version of this project took other thoughts out of the answer as the model gave it, `raw`. A record keeps
    its id, so the earlier one counts if people have it already.
    """
    raw = raw or ""
    thought = _FIRST_RULE.match(raw) if "think>" in raw else None
    earlier = raw[thought.end() if thought else 0 :].strip()
    return [text_id(prompt, text) for text in dict.fromkeys((answer, earlier or answer))]
