"""Requests and answers of HTTP/1.1 (RFC 9112).

Requests are read strictly: what another program could read differently (two lengths, chunks, folded lines, a space
before the colon) is refused, so that no request hides in another one.
"""

import email.utils
import http
import re
from collections.abc import Iterable
from io import BufferedIOBase
from typing import Any, NamedTuple

MAX_HEAD = 32 * 1024
MAX_FIELDS = 100
_START = re.compile(rb"([A-Z]{3,16}) (/[\x21-\x7e]*) HTTP/1\.([01])\r\n")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\r\n")
_LENGTH = re.compile(r"[0-9]{1,12}")

Fields = Iterable[tuple[str, str]]


class BadRequest(Exception):
    """A request that is refused with an HTTP status and `{"kind": kind, **more}`."""

    def __init__(self, status: int, kind: str, **more: Any) -> None:
        super().__init__(kind)
        self.status, self.kind, self.more = status, kind, more


class Request(NamedTuple):
    """The head of a request; `length` is that of its body in bytes, None if the head names none."""

    method: str
    target: str  # path and query as they were sent
    fields: tuple[tuple[str, str], ...]
    length: int | None
    keeps_alive: bool
    is_1_1: bool

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def get(self, name: str) -> str:
        """Return the last field of this name, in lower case; "" if there is none."""
        return next((value for key, value in reversed(self.fields) if key.lower() == name), "")


def read_request(stream: BufferedIOBase) -> Request:
    """Read the head of a request.

    Raises `BadRequest` if it is none, or one that can be misread, and `EOFError` if the connection ended.
    """
    start = _START.fullmatch(_line(stream, MAX_HEAD))
    if not start:
        raise BadRequest(400, "request_line")
    left, fields = MAX_HEAD - start.end(), []
    while (line := _line(stream, left)) != b"\r\n":
        left -= len(line)
        field = _FIELD.fullmatch(line)
        if not field:
            raise BadRequest(400, "field")
        fields.append((field[1].decode("ascii"), field[2].decode("latin-1")))
        if len(fields) > MAX_FIELDS:
            raise BadRequest(431, "head")
    is_1_1 = start[3] == b"1"
    values = {name: [value for key, value in fields if key.lower() == name] for name in ("host", "content-length")}
    if len(values["host"]) > 1 or len(values["content-length"]) > 1 or (is_1_1 and not values["host"]):
        raise BadRequest(400, "field")
    if any(key.lower() == "transfer-encoding" for key, _ in fields):
        raise BadRequest(411, "length")
    length = None
    for text in values["content-length"]:
        if not _LENGTH.fullmatch(text):
            raise BadRequest(400, "length")
        length = int(text)
    options = ",".join(value for key, value in fields if key.lower() == "connection").lower()
    keeps_alive = is_1_1 and "close" not in [option.strip() for option in options.split(",")]
    return Request(start[1].decode(), start[2].decode(), tuple(fields), length, keeps_alive, is_1_1)


def _line(stream: BufferedIOBase, most: int) -> bytes:
    line = stream.readline(most + 1)
    if not line.endswith(b"\n"):
        if len(line) > most:
            raise BadRequest(431, "head")
        raise EOFError
    return line


def head(status: int, fields: Fields) -> bytes:
    """Return the head of an answer, with the date."""
    lines = [f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}", f"Date: {email.utils.formatdate(usegmt=True)}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
