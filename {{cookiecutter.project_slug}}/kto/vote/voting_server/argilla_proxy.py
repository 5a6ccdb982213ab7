"""Argilla behind the voting page: who reaches it, and how a request is handed on.

From this machine everybody does, as if Argilla had the port itself. A tunnel or a web server on this machine also
connects from here, for strangers, and so does a browser for a page whose name was bent to 127.0.0.1 (DNS rebinding).
Therefore the request must name this machine, and nobody may have forwarded it.
"""

import contextlib
import http.client
import io
import ipaddress
import socket
import threading
import time
from io import BufferedIOBase
from urllib.parse import unquote, urlsplit

from kto.vote.voting_server.http_messages import BadRequest, Fields, Request, head

_HERE = ("127.0.0.1", "localhost", "::1")
_FORWARDED = {"forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "fastly-client-ip", "fly-client-ip"}
_FORWARDED_BEGINS = ("x-forwarded", "cf-", "x-envoy-", "ngrok-", "tailscale-")
_OF_THE_CONNECTION = {
    *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"),
    *("proxy-authenticate", "proxy-authorization", "proxy-connection"),
}
"""Fields that are not handed on (RFC 9110, 7.6.1)."""
MAX_UPLOAD = 256 * 1024 * 1024
"""Largest body from this machine: a batch of records."""
MAX_BODY = 256 * 1024
"""Largest body from elsewhere: a page of votes."""
_AT_ONCE = 6  # requests from elsewhere that Argilla works on: it has one thread for all
_LOG_INS = 10  # log-ins from elsewhere that wait for their turn
_WAIT = 20.0  # seconds that a request from elsewhere waits for its turn
_START = 60.0  # seconds that a command on this machine waits for Argilla to start
_PAUSE = 2.0  # seconds between a wrong log-in from elsewhere and the next one
_BLOCK = 64 * 1024


class Argilla:
    """Where Argilla is, and who may reach it.

    With `everybody` annotators elsewhere may log in, too. Its page says `notice` as long as it is not there.
    """

    def __init__(self, everybody: bool, notice: str) -> None:
        self.everybody, self.notice = everybody, notice
        self.port = 0  # on 127.0.0.1; 0 while it is not there
        self._known = threading.Event()  # whether it starts
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._log_in_queue = threading.BoundedSemaphore(_LOG_INS)
        self._log_in_lock = threading.Semaphore()
        self._next_log_in = 0.0

    def started(self, port: int) -> None:
        """Argilla is there."""
        self.port = port
        self._known.set()

    def ended(self, notice: str) -> None:
        """Argilla is gone, or did not start; from now on its page says `notice`."""
        self.port, self.notice = 0, notice
        self._known.set()

    def is_open_to(self, request: Request, is_here: bool) -> bool:
        """Tell whether this request may reach Argilla; no page elsewhere may send one that changes something."""
        origin = request.get("origin")
        if origin and request.method not in ("GET", "HEAD") and urlsplit(origin).netloc != request.get("host"):
            return False
        return self.everybody or is_here

    def pass_on(self, request: Request, is_here: bool, body: BufferedIOBase, answer: BufferedIOBase) -> bool:
        """Hand a request on, with its answer, and return whether another one can follow on this connection.

        Raises `BadRequest` if Argilla is not there, the body is too long, or too many others wait for Argilla.
        """
        if is_here and "text/html" not in request.get("accept"):
            self._known.wait(_START)  # commands wait, a person is told
        if not self.port:
            raise BadRequest(503, "gone" if self._known.is_set() else "starting")
        if (request.length or 0) > (MAX_UPLOAD if is_here else MAX_BODY):
            raise BadRequest(413, "too_long")
        if is_here or not unquote(request.path).startswith("/api"):
            return self._exchange(request, body, answer)[0]
        # Nobody who sends or reads slowly keeps Argilla waiting.
        content, whole_answer = io.BytesIO(body.read(request.length or 0)), io.BytesIO()
        keeps_alive, _ = (self._log_in if _is_log_in(request) else self._in_turn)(request, content, whole_answer)
        answer.write(whole_answer.getvalue())
        answer.flush()
        return keeps_alive

    def _log_in(self, request: Request, body: BufferedIOBase, answer: BufferedIOBase) -> tuple[bool, int]:
        """Let people elsewhere log in one by one: Argilla works on a password for 0.3 s, and on nothing else then."""
        with contextlib.ExitStack() as turn:
            for lock, seconds in ((self._log_in_queue, 0.0), (self._log_in_lock, _WAIT)):
                if not lock.acquire(timeout=seconds):
                    raise BadRequest(429, "too_many", seconds=int(_PAUSE))
                turn.callback(lock.release)
            time.sleep(max(0.0, self._next_log_in - time.monotonic()))
            keeps_alive, status = self._in_turn(request, body, answer)
            if status >= 400:
                self._next_log_in = time.monotonic() + _PAUSE
            return keeps_alive, status

    def _in_turn(self, request: Request, body: BufferedIOBase, answer: BufferedIOBase) -> tuple[bool, int]:
        if not self._places.acquire(timeout=_WAIT):
            raise BadRequest(503, "busy")
        try:
            return self._exchange(request, body, answer)
        finally:
            self._places.release()

    def _exchange(self, request: Request, body: BufferedIOBase, answer: BufferedIOBase) -> tuple[bool, int]:
        argilla = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        try:
            try:
                argilla.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
                for name, value in _handed_on(request.fields):
                    argilla.putheader(name, value)
                argilla.putheader("Connection", "close")
                argilla.endheaders()
                left = request.length or 0
                while left:
                    block = body.read(min(left, _BLOCK))
                    if not block:
                        raise EOFError
                    argilla.send(block)
                    left -= len(block)
                reply = argilla.getresponse()
            except (OSError, http.client.HTTPException):
                raise BadRequest(503, "gone") from None
            return _send(reply, request, answer), reply.status
        finally:
            argilla.close()


def is_from_here(request: Request, connection: socket.socket) -> bool:
    """Tell whether a person or program of this machine sent a request."""
    if any(name.lower() in _FORWARDED or name.lower().startswith(_FORWARDED_BEGINS) for name, _ in request.fields):
        return False
    ours, port = _address(connection.getsockname()[0]), connection.getsockname()[1]
    theirs = _address(connection.getpeername()[0])
    if not (theirs.is_loopback or theirs == ours):  # what a machine sends itself comes from the address it goes to
        return False
    try:
        named = urlsplit(f"//{request.get('host')}")
        return (named.port or 80) == port and (named.hostname in _HERE or named.hostname == str(ours))
    except ValueError:
        return False


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address


def _is_log_in(request: Request) -> bool:
    return request.method == "POST" and unquote(request.path).rstrip("/").endswith("token")


def _handed_on(fields: Fields) -> list[tuple[str, str]]:
    fields = list(fields)
    named = ",".join(value for name, value in fields if name.lower() == "connection").lower()
    hidden = _OF_THE_CONNECTION | {name.strip() for name in named.split(",")}
    return [(name, value) for name, value in fields if name.lower() not in hidden]


def _send(reply: http.client.HTTPResponse, request: Request, answer: BufferedIOBase) -> bool:
    fields = [(name, value) for name, value in _handed_on(reply.getheaders()) if name.lower() not in ("date", "server")]
    has_body = request.method != "HEAD" and reply.status not in (204, 304) and reply.status >= 200
    is_chunked = has_body and reply.length is None
    keeps_alive = request.keeps_alive and not (is_chunked and not request.is_1_1)
    if is_chunked and request.is_1_1:
        fields.append(("Transfer-Encoding", "chunked"))
    if not keeps_alive:
        fields.append(("Connection", "close"))
    answer.write(head(reply.status, fields))
    answer.flush()
    frame = is_chunked and request.is_1_1
    while has_body and (block := reply.read1(_BLOCK)):
        answer.write(b"%x\r\n%b\r\n" % (len(block), block) if frame else block)
        answer.flush()
    if has_body and not is_chunked and reply.length:
        raise EOFError  # Argilla broke off, so our answer has to, too
    if frame:
        answer.write(b"0\r\n\r\n")
    answer.flush()
    return keeps_alive
