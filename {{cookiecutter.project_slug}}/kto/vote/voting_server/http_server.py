"""HTTP: the page's files, its API below /vote/api, and Argilla behind all other addresses."""

import json
import mimetypes
import socket
import sqlite3
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kto.vote.voting_server.links import NoEntry

PAGE = Path(__file__).resolve().parents[1] / "page"
MAX_BODY = 64 * 1024
MAX_CONNECTIONS = 600  # each has a thread
IDLE = 60  # seconds until a connection on which nothing comes is closed
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

Api = Mapping[str, Callable[[str, Mapping[str, Any]], Any]]
"""Name of a call → function of the secret ("" without one) and the body."""


class BadRequest(Exception):
    """A request that is refused; `status` is the HTTP status, `more` goes into the answer beside `kind`."""

    def __init__(self, status: int, kind: str, **more: Any) -> None:
        super().__init__(kind)
        self.status, self.kind, self.more = status, kind, more


class VotingServer(ThreadingHTTPServer):
    """Serve until `shutdown`. Behind a listener that is open already, so that the first request can come at once."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, listener: socket.socket, files: Mapping[str, bytes], api: Api, argilla: str = "") -> None:
        super().__init__(listener.getsockname()[:2], Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.files, self.api, self.argilla = files, api, argilla
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)  # rather one phone that tries again than a machine that stands still

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing about connections that break off."""


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE
    server: VotingServer
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in ("/vote", "/vote/"):
            path = "/vote/index.html"
        name = path.removeprefix("/vote/")
        if path.startswith("/vote/") and name in self.server.files:
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            charset = "; charset=utf-8" if kind.startswith("text/") or kind.endswith(("json", "javascript")) else ""
            self._send(200, self.server.files[name], kind + charset)
        elif path == "/":
            self._send(302, b"", "text/plain", {"Location": "/vote/"})
        elif path.startswith("/vote/"):
            self._send(404, b"", "text/plain")
        else:
            self._pass_on()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        if not path.startswith("/vote/"):
            return self._pass_on()
        try:
            call = self.server.api.get(path.removeprefix("/vote/api/"))
            if call is None:
                raise BadRequest(404, "unknown_call")
            answer = call(self._secret(), self._body())
        except NoEntry as error:
            self._send_json(403, {"kind": error.kind})
        except BadRequest as error:
            self.close_connection = True  # its body may be unread
            self._send_json(error.status, {"kind": error.kind, **error.more})
        except sqlite3.Error:
            self._send_json(503, {"kind": "database"})
        else:
            self._send_json(200, answer)
        return None

    def _secret(self) -> str:
        scheme, _, secret = self.headers.get("Authorization", "").partition(" ")
        return secret.strip()[:100] if scheme == "Bearer" else ""

    def _body(self) -> Mapping[str, Any]:
        if self.headers.get_content_type() != "application/json":
            raise BadRequest(415, "content_type")
        origin = self.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != self.headers.get("Host"):
            raise BadRequest(403, "origin")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise BadRequest(411, "length")
        if int(length) > MAX_BODY:
            raise BadRequest(413, "too_long")
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise BadRequest(400, "json") from None
        if not isinstance(body, dict):
            raise BadRequest(400, "json")
        return body

    def _send_json(self, status: int, answer: Any) -> None:
        body = json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()
        self._send(status, body, "application/json; charset=utf-8", {"Cache-Control": "no-store"})

    def _send(self, status: int, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Cache-Control": "no-cache", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass_on(self) -> None:
        """Hand a request of this machine on to Argilla."""
        raise NotImplementedError

    def log_message(self, format: str, *args: Any) -> None:
        """Keep no log: it would hold addresses of people."""
