"""Fields of a request that some servers refuse: how to tell which one it is, and the request without it."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from kto.errors import RequestFailed

Messages = Sequence[Mapping[str, str]]

SYSTEM = "system"
"""The system role, which is refused like a field: then the system prompt goes to the beginning of the user's."""
BASIC_FIELDS = frozenset((SYSTEM, "max_tokens", "temperature", "top_p"))  # what any request may have
_LIMITS = ("max_tokens", "max_completion_tokens")  # one is always sent, or an answer might cost anything
_KEPT = ("model", "messages", *_LIMITS)

_COMPLAINT = re.compile(
    r"support|allow|permit|unknown|unrecogni|unexpected|invalid|must|only|accept|deprecat|extra|cannot|default",
    re.IGNORECASE,
)
_TOO_MUCH = re.compile(r"too (?:large|big|high|long|many)|maximum|at most|exceed|(?:less|greater) than", re.IGNORECASE)
# What servers and chat templates say where there is no system role; not every one of them says "system".
_NO = r"(?:n't|\b(?:not|no|un(?:supported|expected|known)|invalid|disallowed))\b"
_NO_SYSTEM = re.compile(
    rf"\bsystem['\"]? (?:role|message|prompt|instruction)s?\b.{{0,40}}?{_NO}"
    rf"|{_NO}.{{0,40}}\bsystem['\"]? (?:role|message|prompt|instruction)s?\b"
    r"|(?:n't|not) support (?:the )?\W?(?:role )?\W{0,2}system\W"
    rf"|{_NO} (?:message )?roles?\W{{1,4}}system\b"
    rf"|\brole\W{{1,4}}system\W.{{0,40}}{_NO}"
    r"|\broles? must alternate\b"
    r"|\bonly\b.{0,40}\broles\b.{0,20}\b(?:supported|allowed)\b"
    r"|\brole\b.{0,80}\b(?:should|must) be\W.{0,20}\buser\b"
    r"|\bfirst message\b.{0,30}\b(?:must|should)\b.{0,30}\buser\b"
    r"|\bdeveloper instruction\b",
    re.IGNORECASE,
)
_SHORTEST_ECHO = 20  # characters; shorter prompts may be words that a server says by itself


def without(body: Mapping[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """Return the body of a request without the `refused` fields; the limit gets its other name, if need be."""
    sent = {name: value for name, value in body.items() if name in _KEPT or name not in refused}
    if "max_tokens" in refused and "max_tokens" in sent:
        sent["max_completion_tokens"] = sent.pop("max_tokens")
    messages = sent["messages"]
    if SYSTEM in refused and _has_system(messages):
        system, first, *rest = messages
        sent["messages"] = [{**first, "content": f"{system['content']}\n\n{first['content']}"}, *rest]
    return sent


def refused_field(failure: RequestFailed, body: Mapping[str, Any], refused: Collection[str]) -> str:
    """Return the field of a request, or `SYSTEM`, that a server does not take; "" for any other error.

    `body` is what was sent, without the fields that had been `refused` before.
    """
    words = _without_echo(failure.words, body["messages"])
    candidates = [name for name in body if name not in ("model", "messages")]
    if "max_tokens" in refused or _TOO_MUCH.search(words):
        candidates = [name for name in candidates if name not in _LIMITS]
    for name in candidates:
        if failure.param == name or failure.param.startswith((f"{name}.", f"{name}[")):
            return name
    if _has_system(body["messages"]) and _NO_SYSTEM.search(words):
        return SYSTEM
    named = {name: place for name in candidates if (place := _named(name, words)) is not None}
    return min(named, key=named.__getitem__, default="")


def sent_fields(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield the fields in a request that a server might have refused."""
    yield from body.keys() - {"model", "messages"}
    if _has_system(body["messages"]):
        yield SYSTEM


def described(body: Mapping[str, Any], conversation: Messages) -> str:
    """Return as JSON what was sent besides the model's name; the messages only if they are not the conversation."""
    left_out = {"model"} | ({"messages"} if body["messages"] == conversation else set())
    return json.dumps({name: value for name, value in body.items() if name not in left_out}, ensure_ascii=False)


def _has_system(messages: Messages) -> bool:
    return len(messages) > 1 and messages[0]["role"] == "system" and messages[1]["role"] == "user"


def _without_echo(words: str, messages: Messages) -> str:
    """Return a server's words without the messages it repeats, which may speak of anything."""
    for message in messages:
        plain = message["content"]
        for text in {plain, json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1], repr(plain)[1:-1]}:
            text = " ".join(text.split())
            if len(text) >= _SHORTEST_ECHO:
                words = words.replace(text, "…")
    return words


def _named(name: str, words: str) -> int | None:
    """Return where the words name a field, None if they do not."""
    field = re.escape(name)
    match = re.search(rf"[\"'`“‘]{field}(?:[\"'`”’]|\\[\"'])", words)
    if match is None and ("_" in name or _COMPLAINT.search(words)):
        match = re.search(rf"(?<![\w.-]){field}(?![\w-])", words)
    return match.start() if match else None
