"""What a server says about an error, in whatever form: JSON of several kinds, a page, or plain text."""

import html
import json
import re
from typing import NamedTuple

LONGEST = 20_000  # characters of a reply that are read
_SHOWN = 200  # characters of a server's words that a sentence repeats
_CODES = ("code", "type", "status", "status_code", "error_type")
_WORDS = ("message", "error", "detail")
# HTTP statuses of the codes that stand for them where a server answers 200.
_STATUSES = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "resource_exhausted": 429,
    "overloaded_error": 503,
    "unavailable": 503,
}
_BROKEN = frozenset(("error", "abort", "aborted", "failed", "failure", "cancelled", "canceled"))  # finish reasons
_PAGE = re.compile(r"<(?:!doctype|html|head|body|title|h1|p)\b", re.IGNORECASE)
_HIDDEN = re.compile(r"<(style|script)\b[^<>]*>[^<]*</\1>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_FIRST_STATUS = re.compile(r"\W*(?:(?:http|error|status|code)\b\W*(?:\d\.\d\W+)?)*([45]\d\d)\b", re.IGNORECASE)


class ErrorBody(NamedTuple):
    """What a server says about an error."""

    words: str = ""  # for people, in one line
    codes: frozenset[str] = frozenset()  # for programs, in small letters
    param: str = ""  # field of the request that it is about
    status: int = 0  # HTTP status that the body names

    @property
    def short(self) -> str:
        """The words, cut where a sentence repeats them."""
        return self.words if len(self.words) <= _SHOWN else self.words[:_SHOWN].rstrip() + "…"


def read(content: bytes) -> ErrorBody:
    """Return what the body of a reply says about an error."""
    text = content[:LONGEST].decode("utf-8", "replace")
    try:
        said = _from_json(json.loads(text))
    except (ValueError, RecursionError):
        if _PAGE.search(text[:1000]):
            text = html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", text)))
        words = _line(text)
        named = _FIRST_STATUS.match(words)
        return ErrorBody(words, status=int(named[1]) if named else 0)
    return said if said.words else said._replace(words=_line(text))


def in_answer(completion: object) -> ErrorBody | None:
    """Return the error that a reply with status 200 holds, None if it holds none."""
    choices = completion.get("choices") if isinstance(completion, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    for said in (completion, choice):
        if isinstance(said, dict) and said.get("error"):
            return _from_json({"error": said["error"]})
    reason = choice.get("finish_reason") if isinstance(choice, dict) else None
    broken = isinstance(reason, str) and reason.lower() in _BROKEN
    return ErrorBody(f"finish_reason: {reason}") if broken else None


def _from_json(said: object) -> ErrorBody:
    codes: set[str] = set()
    status, param = 0, ""
    while True:
        if isinstance(said, list) and len(said) == 1 and isinstance(said[0], dict) and "error" in said[0]:
            said = said[0]  # Google puts a list around it
        if not isinstance(said, dict):
            break
        values = [said.get(name) for name in _CODES]
        codes.update(value.lower() for value in values if isinstance(value, str))
        status = status or next(filter(None, map(_status, values)), 0)
        param = param or (said["param"] if isinstance(said.get("param"), str) else "")
        said = next((said[name] for name in _WORDS if said.get(name)), None)
    status = status or next((_STATUSES[code] for code in sorted(codes) if code in _STATUSES), 0)
    return ErrorBody(_line(str(said or "")[:LONGEST]), frozenset(codes), param, status)


def _status(value: object) -> int:
    """Return the HTTP status that a value in JSON is, 0 if it is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value[:9])
    return value if type(value) is int and 400 <= value < 600 else 0


def _line(text: str) -> str:
    return whole(" ".join(text.split()))


def whole(text: str) -> str:
    """Return a text that files take: JSON can spell half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
