"""HTTP: the page's files, its API below /vote/api (docs/votes.md), and Argilla behind all other addresses.

Secrets are never compared one by one: each is random (130 bits) and looked up by its SHA-256, so the time that a
look-up takes tells nothing about another secret.
"""

import contextlib
import gzip
import hashlib
import html
import json
import secrets
import socket
import socketserver
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from kto.vote.voting_server import connections, http_messages
from kto.vote.voting_server.argilla_proxy import Argilla, is_from_here
from kto.vote.voting_server.attempts import Attempts
from kto.vote.voting_server.http_messages import BadRequest, Request
from kto.vote.voting_server.links import NoEntry
from kto.vote.voting_server.page_files import File

MAX_BODY = 64 * 1024
MAX_CONNECTIONS = 600
_POLL = 0.2  # seconds between two looks at connections that take too long
_WORTH_COMPRESSING = 1024
_UPLOAD = 3600.0  # seconds that a request of this machine to Argilla may take
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

Api = Mapping[str, Callable[[str, Mapping[str, Any]], Any]]
"""Name of a call → function of the secret ("" without one) and the body."""


class VotingServer(socketserver.TCPServer):
    """Answers requests behind a listener that is open already, so that the first one can come at once.

    `files` are those of the page by name. Without any `api` the page is for practice. `argilla` is None if nobody
    reaches it here. There are at most `most` connections at once; each has a thread.
    """

    def __init__(
        self,
        listener: socket.socket,
        files: Mapping[str, File],
        api: Api,
        argilla: Argilla | None = None,
        most: int = MAX_CONNECTIONS,
    ) -> None:
        super().__init__(listener.getsockname()[:2], socketserver.BaseRequestHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.files, self.api, self.argilla = files, api, argilla
        self.origin = self.prefix = ""
        self.connections = connections.Connections(most)
        self.wrong = Attempts(30, 60)
        self.wrong_by_address = Attempts(300, 600)
        self.calls = Attempts(600, 60)
        self.joined = Attempts(300, 60)
        self.right = Attempts(1, 3600)  # secrets of devices: nobody who shares their address can lock them out
        self.salt = secrets.token_bytes(16)

    def set_address(self, url: str) -> None:
        """Name the web server or tunnel in front of this one, by its public address.

        It is believed what it says about where a request comes from.
        """
        parts = urlsplit(url)
        self.origin, self.prefix = f"{parts.scheme}://{parts.netloc}", parts.path

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Answer requests, in threads of their own, while the block runs."""
        thread = threading.Thread(target=self.serve_forever, args=(_POLL,), name="page", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self.shutdown()
            self.server_close()

    def service_actions(self) -> None:
        """Called every `_POLL` seconds, and after each new connection."""
        self.connections.close_late()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection a thread, if there is room for it."""
        connection = self.connections.add(request)
        if connection is None:
            return self.shutdown_request(request)
        try:
            threading.Thread(target=self._answer, args=(request, client_address, connection), daemon=True).start()
        except RuntimeError:  # the system allows no more threads
            self.connections.remove(connection)
            self.shutdown_request(request)
        return None

    def _answer(self, request: Any, client_address: Any, connection: connections.Connection) -> None:
        try:
            # It broke off, or took too long; ValueError: written to after that.
            with contextlib.suppress(OSError, EOFError, ValueError):
                Handler(request, client_address, self, connection)
        finally:
            self.connections.remove(connection)
            self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about connections that break off."""


class Handler(socketserver.StreamRequestHandler):
    """One connection."""

    timeout = connections.ANSWER
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True

    def __init__(self, request: Any, address: Any, server: VotingServer, connection: connections.Connection) -> None:
        self.place, self.voting = connection, server
        self.unread = 0  # bytes of the body of this request
        super().__init__(request, address, server)

    def handle(self) -> None:
        """Answer one request after the other."""
        while True:
            self.place.wait()
            if not self.rfile.peek(1):  # type: ignore[attr-defined]
                return
            self.place.read_head()
            try:
                request = http_messages.read_request(self.rfile)
            except BadRequest as error:
                return self._refuse_unread(error)
            self.place.work(connections.ANSWER)
            self.unread = request.length or 0
            if not self._answer(request):
                return self._read_rest()

    def _answer(self, request: Request) -> bool:
        """Answer a request and return whether another one can follow."""
        path = request.path
        if self.voting.prefix and path.startswith(f"{self.voting.prefix}/"):
            path = path.removeprefix(self.voting.prefix)
        if path.startswith("/vote/api/"):
            return self._answer_call(request, path.removeprefix("/vote/api/"))
        if path == "/vote" or path.startswith("/vote/"):
            return self._answer_file(request, path.removeprefix("/vote").removeprefix("/"), path == "/vote")
        argilla = self.voting.argilla
        is_here = is_from_here(request, self.connection)
        if argilla is not None and argilla.is_open_to(request, is_here):
            return self._pass_on(request, argilla, is_here)
        if path == "/" and request.method in ("GET", "HEAD"):
            return self._send(request, 302, b"", "text/plain", {"Location": "vote/"})
        return self._send(request, 404, b"", "text/plain")

    def _answer_file(self, request: Request, name: str, is_folder: bool) -> bool:
        if request.method not in ("GET", "HEAD"):
            return self._send(request, 405, b"", "text/plain", {"Allow": "GET, HEAD"})
        if is_folder:
            return self._send(request, 302, b"", "text/plain", {"Location": "vote/"})
        file = self.voting.files.get(name or "index.html")
        if file is None:
            return self._send(request, 404, b"", "text/plain")
        headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if request.get("if-none-match") == file.tag:
            return self._send(request, 304, b"", file.kind, headers)
        if _takes_gzip(request):
            return self._send(request, 200, file.compressed, file.kind, {**headers, "Content-Encoding": "gzip"})
        return self._send(request, 200, file.content, file.kind, headers)

    def _answer_call(self, request: Request, name: str) -> bool:
        try:
            answer = self._call(request, name)
        except BadRequest as error:
            return self._send_json(request, error.status, {"kind": error.kind, **error.more})
        except sqlite3.Error:
            return self._send_json(request, 503, {"kind": "database"})
        except (OSError, EOFError):
            raise
        except Exception:  # a bug of ours: no details for strangers, and the next request finds a working server
            return self._send_json(request, 500, {"kind": "failed"})
        return self._send_json(request, 200, answer)

    def _call(self, request: Request, name: str) -> Any:
        if request.method != "POST":
            raise BadRequest(405, "method")
        call = self.voting.api.get(name)
        if call is None:
            raise BadRequest(404, "unknown_call" if self.voting.api else "practice")
        if request.get("content-type").partition(";")[0].strip().lower() != "application/json":
            raise BadRequest(415, "content_type")
        origin = request.get("origin")
        if origin and origin != self.voting.origin and urlsplit(origin).netloc != request.get("host"):
            raise BadRequest(403, "origin")
        if request.length is None:
            raise BadRequest(411, "length")
        if request.length > MAX_BODY:
            raise BadRequest(413, "too_long")
        body = self._read_json(request)
        scheme, _, secret = request.get("authorization").partition(" ")
        secret = secret.strip()[:100] if scheme == "Bearer" else ""
        tried = body.get("secret") if name == "session" else secret
        return self._within_limits(request, name, str(tried)[:100], lambda: call(secret, body))

    def _read_json(self, request: Request) -> Mapping[str, Any]:
        self._continue(request)
        content = self.rfile.read(request.length or 0)
        self.unread = 0
        if len(content) != request.length:
            raise EOFError
        try:
            body = json.loads(content)
        except (ValueError, RecursionError):
            raise BadRequest(400, "json") from None
        if not isinstance(body, dict):
            raise BadRequest(400, "json")
        return body

    def _within_limits(self, request: Request, name: str, tried: str, call: Callable[[], Any]) -> Any:
        """Make a call, unless its secret or, behind a proxy, its address was wrong too often or calls too often."""
        server, key = self.voting, hashlib.sha256(tried.encode("utf-8", "replace")).digest()
        usual = server.joined if name == "session" else server.calls
        limits = [(server.wrong, key), (usual, key)]
        address = b""
        if server.origin:  # without one, a whole classroom may have one address
            came_from = request.get("x-forwarded-for").rpartition(",")[2].strip() or self.client_address[0]
            address = hashlib.sha256(server.salt + came_from.encode()).digest()
            if not server.right.has(key):
                limits.append((server.wrong_by_address, address))
        if seconds := max(limit.seconds_to_wait(counted) for limit, counted in limits):
            raise BadRequest(429, "too_many", seconds=seconds)
        usual.count(key)
        try:
            answer = call()
        except NoEntry:
            server.wrong.count(key)
            if address:
                server.wrong_by_address.count(address)
            raise
        self.place.is_voter = True
        if name != "session":
            server.right.count(key)
        return answer

    def _pass_on(self, request: Request, argilla: Argilla, is_here: bool) -> bool:
        if is_here:
            self.place.work(_UPLOAD)
        self._continue(request)
        try:
            keeps_alive = argilla.pass_on(request, is_here, self.rfile, self.wfile)
        except BadRequest as error:
            if error.status == 503 and request.method == "GET" and "text/html" in request.get("accept"):
                page = (
                    f'<!doctype html><meta charset="utf-8"><title>Argilla</title><p>{html.escape(argilla.notice)}</p>'
                )
                return self._send(request, 503, page.encode(), "text/html; charset=utf-8", {"Refresh": "2"})
            return self._send_json(request, error.status, {"kind": error.kind, **error.more})
        self.unread = 0
        return keeps_alive

    def _continue(self, request: Request) -> None:
        if request.get("expect").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.wfile.flush()

    def _send_json(self, request: Request, status: int, answer: Any) -> bool:
        body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Cache-Control": "no-store"}
        if status == 429:
            headers["Retry-After"] = str(answer.get("seconds", 1))
        if len(body) > _WORTH_COMPRESSING and _takes_gzip(request):
            body, headers["Content-Encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
        return self._send(request, status, body, "application/json; charset=utf-8", headers)

    def _send(
        self, request: Request, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> bool:
        keeps_alive = request.keeps_alive and not self.unread
        fields = {**HEADERS, "Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}
        if status == 304:
            del fields["Content-Length"]
        if not keeps_alive:
            fields["Connection"] = "close"
        self.wfile.write(http_messages.head(status, fields.items()))
        if request.method != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()
        return keeps_alive

    def _refuse_unread(self, error: BadRequest) -> None:
        """Answer what is no request, as far as it was read, and close."""
        fields = {**HEADERS, "Content-Length": "0", "Connection": "close"}
        self.wfile.write(http_messages.head(error.status, fields.items()))
        self.wfile.flush()
        self.unread = 1  # or more
        self._read_rest()

    def _read_rest(self) -> None:
        """Take a little of what is still sent: closed at once, the connection would lose our answer on its way."""
        if not self.unread:
            return
        self.place.work(3)
        self.connection.shutdown(socket.SHUT_WR)
        left = 16 * MAX_BODY
        while left > 0 and (block := self.connection.recv(MAX_BODY)):
            left -= len(block)


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.get("accept-encoding").replace(" ", "").replace("gzip;q=0", "")
