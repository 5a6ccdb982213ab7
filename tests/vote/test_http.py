"""What the voting server makes of requests that no browser sends, and who reaches Argilla behind it."""

import concurrent.futures
import contextlib
import gzip
import http.client
import http.server
import json
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pytest
from rendering import REPOSITORY, TEMPLATE, read_yaml

sys.path.insert(0, str(TEMPLATE))

from kto.vote.voting_server import connections, http_server, page_files
from kto.vote.voting_server.argilla_proxy import Argilla
from kto.vote.voting_server.http_messages import BadRequest
from kto.vote.voting_server.http_server import MAX_BODY, VotingServer
from kto.vote.voting_server.links import NoEntry

WORDS = {
    "format": 1,
    "language": "en",
    "direction": "ltr",
    "title": '"></title><script>alert(1)</script>${0} $x',
    "words": read_yaml(REPOSITORY / "languages" / "en.yaml")["page"],
}


class Calls:
    """An API that keeps what it was called with."""

    def __init__(self) -> None:
        self.bodies: list[Mapping[str, Any]] = []

    def echo(self, secret: str, body: Mapping[str, Any]) -> Any:
        self.bodies.append(body)
        return {"secret": secret, **body}

    def session(self, secret: str, body: Mapping[str, Any]) -> Any:
        if body.get("secret") != "right":
            raise NoEntry("unknown")
        return {"secret": "device"}

    def wrong(self, secret: str, body: Mapping[str, Any]) -> Any:
        raise NoEntry("unknown")

    def bug(self, secret: str, body: Mapping[str, Any]) -> Any:
        raise KeyError("a detail of ours")

    def busy(self, secret: str, body: Mapping[str, Any]) -> Any:
        raise BadRequest(429, "too_many", seconds=7)

    @property
    def api(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("echo", "session", "wrong", "bug", "busy")}


class Behind(http.server.BaseHTTPRequestHandler):
    """Stands for Argilla: answers what it was asked, in one piece or in chunks, and remembers it."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        self.asked.append(f"{self.command} {self.path} {dict(self.headers.items())} {len(body)}")
        if self.path.startswith("/api/slow"):
            time.sleep(0.2)
        if self.command == "POST" and "/tok" in self.path:
            self._answer(401, b"{}")
        elif self.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"one ", b"two"):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/broken":
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")
            self.close_connection = True
        else:
            self._answer(200, json.dumps({"method": self.command, "length": len(body)}).encode())

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_GET

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Argilla", "yes")
        self.send_header("Connection", "keep-alive, x-private")
        self.send_header("X-Private", "of the connection")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@contextlib.contextmanager
def serving(
    calls: Calls | None = None, argilla: Argilla | None = None, host: str = "127.0.0.1", most: int = 100
) -> Iterator[VotingServer]:
    listener = socket.create_server((host, 0))
    files, _ = page_files.load(WORDS)
    server = VotingServer(listener, files, calls.api if calls else {}, argilla, most)
    with server.running():
        yield server


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def server(calls: Calls) -> Iterator[VotingServer]:
    with serving(calls) as server:
        yield server


@pytest.fixture
def argilla() -> Iterator[Argilla]:
    Behind.asked.clear()
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    threading.Thread(target=behind.serve_forever, args=(0.02,), daemon=True).start()
    argilla = Argilla(False, "Argilla is starting …")
    argilla.started(behind.server_port)
    yield argilla
    behind.shutdown()
    behind.server_close()


def port_of(server: VotingServer) -> int:
    return server.server_address[1]


def connect(server: VotingServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(server)), timeout=20)


def raw(server: VotingServer, *parts: bytes) -> bytes:
    """Send bytes on one connection and return all that comes back until it ends."""
    with connect(server) as connection:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while block := connection.recv(65536):
                answer += block
    return answer


def ask(
    server: VotingServer, method: str, path: str, body: bytes | str | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body, fields)
    reply = connection.getresponse()
    answer = reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
    connection.close()
    return answer


def call(server: VotingServer, name: str, body: Any, **headers: str) -> tuple[int, Any]:
    fields = {"Content_Type": "application/json"} | headers
    status, _, answer = ask(server, "POST", f"/vote/api/{name}", json.dumps(body), **fields)
    return status, json.loads(answer)


# --- The page's files


def test_every_answer_has_the_strict_headers(server: VotingServer) -> None:
    answers = [ask(server, "GET", path) for path in ("/vote/", "/vote/words.json", "/vote/no", "/", "/api/v1/me")]
    answers += [ask(server, "POST", path, "{}") for path in ("/vote/", "/vote/api/echo", "/vote/api/no", "/x")]
    assert [status for status, *_ in answers] == [200, 200, 404, 302, 404, 405, 415, 404, 404]
    for _, headers, _ in answers:
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert not {"set-cookie", "server", "access-control-allow-origin"} & headers.keys()
    refused = raw(server, b"NO\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400 ") and b"frame-ancestors 'none'" in refused


def test_files_have_their_kinds_and_are_fetched_once(server: VotingServer) -> None:
    for path in page_files.PAGE.iterdir():
        status, headers, content = ask(server, "GET", f"/vote/{path.name}", Accept_Encoding="gzip")
        assert status == 200 and gzip.decompress(content) == server.files[path.name].content
        assert headers["content-type"].split(";")[0] == {
            ".html": "text/html",
            ".js": "text/javascript",
            ".css": "text/css",
            ".json": "application/json",
            ".svg": "image/svg+xml",
            ".png": "image/png",
        }.get(path.suffix)
        status, _, content = ask(server, "GET", f"/vote/{path.name}", If_None_Match=headers["etag"])
        assert (status, content) == (304, b"")
    assert ask(server, "HEAD", "/vote/")[2] == b""


def test_a_name_in_the_page_is_text(server: VotingServer) -> None:
    page = ask(server, "GET", "/vote/")[2].decode()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;${0} $x" in page
    assert json.loads(ask(server, "GET", "/vote/manifest.json")[2])["name"] == WORDS["title"]
    words = json.loads(ask(server, "GET", "/vote/words.json")[2])
    assert words["title"] == WORDS["title"] and len(words["version"]) == 12


@pytest.mark.parametrize("path", ["/vote/../http_server.py", "/vote/%2e%2e/x", "/vote//", "/vote/api", "/vote/a\\b"])
def test_no_other_file_is_served(server: VotingServer, path: str) -> None:
    assert raw(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()).startswith(b"HTTP/1.1 404 ")


def test_a_link_without_its_slash_leads_to_the_page(server: VotingServer) -> None:
    for path in ("/", "/vote"):
        status, headers, _ = ask(server, "GET", path)
        assert (status, headers["location"]) == (302, "vote/")  # relative: behind a path prefix, too


# --- Calls


def test_a_call(server: VotingServer) -> None:
    status, answer = call(server, "echo", {"a": "ü"}, Authorization="Bearer  s ")
    assert (status, answer) == (200, {"secret": "s", "a": "ü"})
    assert call(server, "echo", {}, Authorization="Basic s")[1] == {"secret": ""}
    assert call(server, "busy", {}) == (429, {"kind": "too_many", "seconds": 7})
    assert call(server, "no", {}) == (404, {"kind": "unknown_call"})
    assert call(server, "bug", {}) == (500, {"kind": "failed"})
    assert ask(server, "GET", "/vote/api/echo")[0] == 405
    assert ask(server, "GET", "/vote/api/session?secret=right")[0] == 405  # what a messenger's robot does


def test_a_long_answer_is_compressed(server: VotingServer) -> None:
    body, fields = json.dumps({"a": "b" * 5000}), {"Content_Type": "application/json"}
    _, headers, content = ask(server, "POST", "/vote/api/echo", body, Accept_Encoding="gzip, br", **fields)
    assert headers["content-encoding"] == "gzip" and len(content) < 200
    assert json.loads(gzip.decompress(content))["a"] == "b" * 5000
    assert "content-encoding" not in ask(server, "POST", "/vote/api/echo", body, **fields)[1]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Content_Type": "application/json; charset=utf-8"}, 200),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content_Type": "multipart/form-data; boundary=application/json"}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
def test_content_type_and_origin(server: VotingServer, headers: dict[str, str], status: int) -> None:
    assert call(server, "echo", {}, **headers)[0] == status


def test_the_own_origin_and_the_named_one(server: VotingServer) -> None:
    assert call(server, "echo", {}, Origin=f"http://127.0.0.1:{port_of(server)}")[0] == 200
    assert call(server, "echo", {}, Origin="https://vote.example")[0] == 403
    server.set_address("https://vote.example/thumbs")
    assert call(server, "echo", {}, Origin="https://vote.example")[0] == 200
    assert ask(server, "GET", "/thumbs/vote/")[0] == 200  # a web server that keeps the prefix
    assert ask(server, "GET", "/vote/")[0] == 200  # and one that strips it


@pytest.mark.parametrize("body", ["", "[]", "1", "null", '{"a":', "\x00", "[" * 60_000, '{"a":' * 12_000])
def test_a_body_that_is_no_object(server: VotingServer, calls: Calls, body: str) -> None:
    status, _, answer = ask(server, "POST", "/vote/api/echo", body, Content_Type="application/json")
    assert (status, json.loads(answer)) == (400, {"kind": "json"}) and calls.bodies == []


def test_a_long_body_is_refused_before_it_is_read(server: VotingServer, calls: Calls) -> None:
    head = (
        f"POST /vote/api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {MAX_BODY + 1}"
    )
    with connect(server) as connection:
        connection.sendall(f"{head}\r\n\r\n".encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")
    # Nor is one that is sent anyway; its sender gets the answer.
    assert call(server, "echo", {"a": "b" * 5 * MAX_BODY}) == (413, {"kind": "too_long"})
    assert call(server, "echo", {"a": "b" * (MAX_BODY - 20)})[0] == 200
    assert len(calls.bodies) == 1


def test_a_body_that_stops(server: VotingServer, calls: Calls) -> None:
    head = b"POST /vote/api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    assert raw(server, head + b'{"a"') == b"" and calls.bodies == []


def test_the_client_waits_to_be_told(server: VotingServer) -> None:
    head = b"POST /vote/api/echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    with connect(server) as connection:
        connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_wrong_secrets_are_limited_each_for_itself(server: VotingServer) -> None:
    for _ in range(30):
        assert call(server, "wrong", {}, Authorization="Bearer a") == (403, {"kind": "unknown"})
    status, answer = call(server, "wrong", {}, Authorization="Bearer a")
    assert (status, answer["kind"]) == (429, "too_many") and 1 <= answer["seconds"] <= 61
    assert call(server, "wrong", {}, Authorization="Bearer b")[0] == 403
    assert call(server, "echo", {}, Authorization="Bearer c")[0] == 200
    for _ in range(30):
        call(server, "session", {"secret": "x"})
    assert call(server, "session", {"secret": "x"})[0] == 429
    assert call(server, "session", {"secret": "right"})[0] == 200  # from the same address: a classroom


def test_addresses_are_limited_behind_a_named_proxy_only(server: VotingServer) -> None:
    def guess(number: int, address: str) -> int:
        return call(server, "wrong", {}, Authorization=f"Bearer {number}", X_Forwarded_For=f"spoofed, {address}")[0]

    assert call(server, "echo", {}, Authorization="Bearer known")[0] == 200
    assert {guess(n, "192.0.2.1") for n in range(310)} == {403}
    server.set_address("https://vote.example")
    assert {guess(n, "192.0.2.1") for n in range(400, 700)} == {403}
    assert guess(700, "192.0.2.1") == 429
    assert guess(701, "192.0.2.2") == 403
    # Who has voted already is not locked out by somebody in the same house.
    assert call(server, "echo", {}, Authorization="Bearer new", X_Forwarded_For="192.0.2.1")[0] == 429
    assert call(server, "echo", {}, Authorization="Bearer known", X_Forwarded_For="192.0.2.1")[0] == 200


def test_one_secret_cannot_call_for_ever(server: VotingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.calls, "_most", 20)
    statuses = [call(server, "echo", {}, Authorization="Bearer a")[0] for _ in range(25)]
    assert statuses == [200] * 20 + [429] * 5
    assert call(server, "echo", {}, Authorization="Bearer b")[0] == 200


# --- Requests that can be read in two ways


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /vote/ HTTP/1.1\r\n\r\n", 400),  # no Host
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET /vote/ HTTP/2.0\r\nHost: a\r\n\r\n", 400),
        (b"GET /vote/\r\n\r\n", 400),
        (b"GET http://a/vote/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"get /vote/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /vote/ HTTP/1.1\nHost: a\n\n", 400),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\nX: y\r\n folded\r\n\r\n", 400),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n", 400),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", 400),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: \xb3\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /x HTTP/1.1\r\nHost: a\r\ntransfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 411),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET /vote/ HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"y" * 40_000, 431),
    ],
)
def test_what_can_be_misread_is_refused(server: VotingServer, calls: Calls, head: bytes, status: int) -> None:
    hidden = b"POST /vote/api/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    answer = raw(server, head, hidden)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()) and answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer and calls.bodies == []


def test_requests_follow_one_another(server: VotingServer, calls: Calls) -> None:
    one = b"POST /vote/api/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    last = one.replace(b"Host: a", b"Host: a\r\nConnection: Close")
    answer = raw(server, one + one + last + one)
    assert answer.count(b"HTTP/1.1 200 ") == 3 and len(calls.bodies) == 3
    assert raw(server, b"GET /vote/ HTTP/1.0\r\n\r\n" * 2).count(b"HTTP/1.1 200 ") == 1
    # A body that a GET brings is not taken for the next request.
    answer = raw(server, b"GET /vote/no HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(one) + one)
    assert answer.startswith(b"HTTP/1.1 404 ") and len(calls.bodies) == 3


# --- Many connections, slow ones


def test_who_sends_slowly_is_cut_off(server: VotingServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD", 0.5)
    monkeypatch.setattr(connections, "ANSWER", 0.5)
    body = b"POST /vote/api/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
    for start in (b"GET /vote/ HTTP/1.1\r\n", body):
        with connect(server) as connection:
            connection.sendall(start)
            begin = time.monotonic()
            with pytest.raises(OSError):
                while True:
                    connection.sendall(b"X")  # a byte now and then does not help
                    connection.settimeout(0.1)
                    with contextlib.suppress(TimeoutError):
                        if connection.recv(100) == b"":
                            raise ConnectionError
            assert time.monotonic() - begin < 5


def test_an_idle_connection_is_closed(monkeypatch: pytest.MonkeyPatch, calls: Calls) -> None:
    monkeypatch.setattr(connections, "IDLE", 0.3)
    with serving(calls) as server, connect(server) as connection:
        assert connection.recv(100) == b""


def test_a_stranger_with_many_connections_stops_nobody(calls: Calls) -> None:
    with serving(calls, most=20) as server:
        voter = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
        fields = {"Content-Type": "application/json", "Authorization": "Bearer a"}
        voter.request("POST", "/vote/api/echo", "{}", fields)
        assert voter.getresponse().read()
        own = voter.sock
        strangers = [connect(server) for _ in range(60)]
        for stranger in strangers[30:]:
            with contextlib.suppress(OSError):
                stranger.sendall(b"GET /vote/ HTTP/1.1\r\n")
        assert call(server, "echo", {})[0] == 200  # somebody new gets in
        voter.request("POST", "/vote/api/echo", "{}", fields)  # and who has voted keeps the connection
        assert voter.getresponse().status == 200 and voter.sock is own
        for stranger in strangers:
            stranger.close()
        voter.close()


# --- Argilla behind it


def host(server: VotingServer, name: str = "127.0.0.1") -> dict[str, str]:
    return {"Host": f"{name}:{port_of(server)}"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_all_methods_reach_argilla(argilla: Argilla, method: str) -> None:
    with serving(argilla=argilla) as server:
        status, headers, body = ask(server, method, "/api/v1/x?y=%20z", "four" if method[0] == "P" else None)
        assert status == 200 and headers["x-argilla"] == "yes" and "x-private" not in headers
        if method != "HEAD":
            assert json.loads(body) == {"method": method, "length": 4 if method[0] == "P" else 0}
        assert Behind.asked[0].startswith(f"{method} /api/v1/x?y=%20z ")


def test_a_large_upload_and_answers_in_pieces(argilla: Argilla) -> None:
    with serving(argilla=argilla) as server:
        assert json.loads(ask(server, "PUT", "/api/v1/bulk", b"x" * 20_000_000)[2])["length"] == 20_000_000
        assert ask(server, "GET", "/chunked")[2] == b"one two"
        assert raw(server, f"GET /chunked HTTP/1.0\r\nHost: localhost:{port_of(server)}\r\n\r\n".encode()).endswith(
            b"\r\n\r\none two"
        )
        with pytest.raises(http.client.IncompleteRead):
            ask(server, "GET", "/broken")
        connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=20)
        for _ in range(3):  # on one connection
            connection.request("GET", "/chunked")
            assert connection.getresponse().read() == b"one two"
        connection.close()


def test_fields_of_the_connection_stay_here(argilla: Argilla) -> None:
    with serving(argilla=argilla) as server:
        ask(server, "GET", "/x", Connection="keep-alive, X-Hop", X_Hop="1", TE="trailers", Upgrade="h2c", Accept="a/b")
        assert "X-Hop" not in Behind.asked[0] and "h2c" not in Behind.asked[0] and "trailers" not in Behind.asked[0]
        assert "'Accept': 'a/b'" in Behind.asked[0] and f"127.0.0.1:{port_of(server)}" in Behind.asked[0]


FORWARDED = ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "CF-Connecting-IP", "cf-ray"]


@pytest.mark.parametrize(
    "headers",
    [
        *({name: "x"} for name in FORWARDED),
        {"Host": "evil.example"},  # a name that was bent to 127.0.0.1
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1.evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Host": "127.0.0.1:1"},
        {"Host": "localhost.:{port}"},
        {"Host": "user@evil.example:{port}"},
        {"Host": "[::1:{port}"},
        {"Host": "127.0.0.1:{port}", "Origin": "http://evil.example"},
    ],
)
def test_who_is_not_from_here_does_not_reach_argilla(argilla: Argilla, headers: dict[str, str]) -> None:
    with serving(argilla=argilla) as server:
        for method, path in (("GET", "/"), ("GET", "/api/v1/me"), ("POST", "/api/v1/token"), ("GET", "/sign-in")):
            if method == "GET" and "Origin" in headers:
                continue  # reading is what browsers forbid
            fields = {"Host": "127.0.0.1:{port}"} | headers
            lines = [f"{name}: {value.replace('{port}', str(port_of(server)))}" for name, value in fields.items()]
            head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "Content-Length: 0"])
            answer = raw(server, f"{head}\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 302 " if path == "/" else b"HTTP/1.1 404 "), answer
        assert Behind.asked == []


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_names_of_this_machine(argilla: Argilla, name: str) -> None:
    with serving(argilla=argilla) as server:
        assert ask(server, "GET", "/api/v1/me", **host(server, name))[0] == 200


def test_in_a_network(argilla: Argilla) -> None:
    """The machine itself, by its own address, and others in the network, who have another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("no network here")
        address = probe.getsockname()[0]
    with serving(argilla=argilla, host="0.0.0.0") as server:
        port = port_of(server)
        with socket.create_connection((address, port), timeout=20) as connection:  # from `address` to itself
            connection.sendall(f"GET /api/v1/me HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n".encode())
            assert connection.recv(99).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection((address, port), timeout=20, source_address=("127.0.0.2", 0)) as connection:
            connection.sendall(f"GET /api/v1/me HTTP/1.0\r\nHost: {address}:{port}\r\n\r\n".encode())
            assert connection.recv(99).startswith(b"HTTP/1.1 ")


def test_argilla_that_is_not_there(argilla: Argilla) -> None:
    starting = Argilla(False, "Argilla is starting …")
    with serving(argilla=starting) as server:
        status, headers, page = ask(server, "GET", "/", Accept="text/html,*/*")
        assert status == 503 and "Argilla is starting …" in page.decode() and headers["refresh"]
        with concurrent.futures.ThreadPoolExecutor() as pool:  # a command waits
            waiting = pool.submit(ask, server, "GET", "/api/v1/me")
            time.sleep(0.3)
            assert not waiting.done()
            starting.started(argilla.port)
            assert waiting.result()[0] == 200
    argilla.ended("Argilla has ended.")
    with serving(argilla=argilla) as server:
        assert "Argilla has ended." in ask(server, "GET", "/", Accept="text/html,*/*")[2].decode()
        assert json.loads(ask(server, "GET", "/api/v1/me")[2]) == {"kind": "gone"}
        with socket.create_server(("127.0.0.1", 0)) as free:
            argilla.port = free.getsockname()[1]
        assert ask(server, "POST", "/api/v1/x", "{}")[0] == 503
        assert ask(server, "GET", "/vote/")[0] == 200


def test_annotators_elsewhere(argilla: Argilla) -> None:
    """With `vote.py --argilla`; they have another address, or come by a web server."""
    argilla.everybody = True
    elsewhere = {"X_Forwarded_For": "192.0.2.1"}
    with serving(argilla=argilla) as server:
        assert ask(server, "GET", "/api/v1/me", **elsewhere)[0] == 200
        assert ask(server, "GET", "/", **elsewhere)[2].startswith(b'{"method"')
        # A long body is refused before anybody looks at the key.
        status, _, _ = ask(server, "POST", "/api/v1/x", b"x" * 300_000, **elsewhere)
        assert status == 413 and not any("POST" in asked for asked in Behind.asked)
        assert ask(server, "POST", "/api/v1/x", b"x" * 200_000, **elsewhere)[0] == 200


@pytest.mark.parametrize("path", ["/api/v1/token", "/api/v1/tok%65n", "/api/v1/token/", "/api/security/token"])
def test_log_ins_from_elsewhere_take_turns(argilla: Argilla, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kto.vote.voting_server.argilla_proxy._PAUSE", 0.4)
    monkeypatch.setattr("kto.vote.voting_server.argilla_proxy._WAIT", 1.0)
    argilla.everybody = True
    statuses: list[int] = []
    with serving(argilla=argilla) as server:

        def guess() -> None:
            statuses.append(ask(server, "POST", path, "username=x", X_Forwarded_For="192.0.2.1")[0])

        begin = time.monotonic()
        threads = [threading.Thread(target=guess) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.monotonic() - begin
        assert set(statuses) == {401, 429} and len(Behind.asked) <= 1 + took / 0.4
        # The lead, at this machine, need not wait for them.
        begin = time.monotonic()
        assert ask(server, "POST", path, "username=x")[0] == 401 and time.monotonic() - begin < 0.3


def test_nothing_is_logged(server: VotingServer, capfd: pytest.CaptureFixture[str]) -> None:
    call(server, "wrong", {}, Authorization="Bearer secret")
    raw(server, b"NO\r\n\r\n")
    assert capfd.readouterr() == ("", "")


def test_the_limits_are_those_of_the_documentation() -> None:
    assert MAX_BODY == 64 * 1024 and http_server.MAX_CONNECTIONS >= 500
