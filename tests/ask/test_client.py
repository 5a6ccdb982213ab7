"""One chat completion: whatever a server does, there is an answer, or a sentence of the right kind."""

import asyncio
import email.utils
import json
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from generating import TEMPLATE
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from kto.ask import client
from kto.ask.client import ModelClient
from kto.ask.servers import Server
from kto.ask.store import Answer
from kto.errors import (
    AccessDenied,
    ConnectionLost,
    EmptyReply,
    InvalidReply,
    KeyMissing,
    PaymentRequired,
    RateLimited,
    RejectedRequest,
    ReplyTimeout,
    RequestFailed,
    ServerError,
    Unavailable,
    Unreachable,
)
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")
assert TEMPLATE

BODY = {"model": "acme/one", "messages": [{"role": "user", "content": "Hallo 👍"}], "max_tokens": 9}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def shared() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def with_chat(
    url: str, work: Callable[[ModelClient], Coroutine[Any, Any, Any]], timeout: float = 5, key: str = ""
) -> Any:
    async def all_of_it() -> Any:
        client = ModelClient(Server(url, key), 4, timeout)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(all_of_it())


def complete(server: ModelServer | str, **settings: Any) -> Answer:
    url = server if isinstance(server, str) else server.url
    return with_chat(url, lambda client: client.complete(BODY), **settings)


def trouble(server: ModelServer | str, **settings: Any) -> RequestFailed:
    with pytest.raises(RequestFailed) as raised:
        complete(server, **settings)
    return raised.value


def said(server: ModelServer, message: Mapping[str, Any], **completion: Any) -> Answer:
    """The answer that a message of a server becomes."""
    choice = {"message": message} | completion.pop("choice", {})
    server.reply = lambda body: (200, {"choices": [choice]} | completion)
    return complete(server)._replace(seconds=None)


def raw(reply: bytes, url: str = "", key: str = "", close: bool = True) -> tuple[Answer | RequestFailed, bytes]:
    """What comes of a reply, byte for byte, and the request; `url`: another address than the server's."""
    requests = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        requests.append(head + await reader.readexactly(int(length.split(b":")[1])))
        writer.write(reply)
        writer.close()

    async def work() -> Answer | RequestFailed:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.MonkeyPatch.context() as patch:
                for name in ("HTTP_PROXY", "http_proxy"):
                    patch.setenv(name, address)
                client = ModelClient(Server(url or f"{address}/v1", key), 4, 5)
            try:
                return await client.complete(BODY)
            except RequestFailed as found:
                return found
            finally:
                await client.close()

    return asyncio.run(work()), b"".join(requests)


def test_an_answer(server: ModelServer) -> None:
    server.latency = 0.2
    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    message = {"role": "assistant", "content": " Ja.\n", "reasoning_content": "Hm."}
    choice = {"message": message, "finish_reason": "length"}
    server.reply = lambda body: (200, {"choices": [choice], "usage": usage})
    answer = complete(server, key="geheim")
    assert answer == Answer(" Ja.\n", "length", 12, 34, answer.seconds) and 0.2 <= (answer.seconds or 0) < 3
    [request] = server.chats
    assert request.body == BODY and request.headers["authorization"] == "Bearer geheim"
    assert request.headers["content-type"] == "application/json"
    complete(server)
    assert "authorization" not in server.chats[1].headers


STATUSES = {
    RejectedRequest: [400, 404, 405, 410, 413, 418, 422, 431],
    PaymentRequired: [402],
    AccessDenied: [401, 403],
    RateLimited: [429],
    ServerError: [500],
    Unavailable: [408, 409, 424, 425, 498, 501, 502, 503, 504, 520, 529, 599],
}


@pytest.mark.parametrize(("status", "kind"), [(status, kind) for kind, all_of in STATUSES.items() for status in all_of])
def test_what_can_be_done_about_a_status(server: ModelServer, status: int, kind: type[RequestFailed]) -> None:
    server.fail(status=status)
    found = trouble(server, key="geheim")
    assert type(found) is kind and found.wait == 0 and found.status == status
    assert f"The test wants {status}." in str(found) and len(server.chats) == 1


@pytest.mark.parametrize(
    ("status", "value", "kind", "wait"),
    [
        (429, "7", RateLimited, 7),
        (429, "soon", RateLimited, 0),
        (503, "7", RateLimited, 7),
        (503, "0", Unavailable, 0),
        (503, "soon", Unavailable, 0),
        (500, "2", ServerError, 2),
        (529, "2", Unavailable, 2),
    ],
)
def test_a_server_that_says_when(
    server: ModelServer, status: int, value: str, kind: type[RequestFailed], wait: int
) -> None:
    server.fail(status=status, headers={"Retry-After": value})
    found = trouble(server)
    assert type(found) is kind and found.wait == wait


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "does not accept your key (The test wants 401.). Check the key in the file .env."),
        (402, "requires payment (The test wants 402.)"),
        (403, "does not let you use this model (The test wants 403.)"),
        (418, "The server answered 418 (The test wants 418.)."),
    ],
)
def test_a_person_reads_what_to_do(server: ModelServer, status: int, sentence: str) -> None:
    server.fail(status=status)
    assert sentence in str(trouble(server, key="key"))
    refused = status in (401, 403)  # a key that nobody has set is not a wrong one
    without = f"does not let you in (The test wants {status}.), and no key is set. If it wants one, write it into"
    found = trouble(server)
    assert (without if refused else sentence) in str(found) and isinstance(found, KeyMissing) == refused


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "Too\\n much.", "code": 1}}', "Too much."),
        ('{"error": "Too much."}', "Too much."),
        ('{"detail": "Too much."}', "Too much."),
        ('{"message": "Too much."}', "Too much."),
        ('{"error": {"message": {"error": "Too much."}}}', "Too much."),
        ('{"detail": [{"msg": "Too much."}]}', "[{'msg': 'Too much.'}]"),
        ("Too much.", "Too much."),
        ('"Too much."', "Too much."),
        ("", "Status"),
        ("{}", "{}"),
        ("[" * 100_000, "[" * 200 + "…"),
        ('{"error": "\\ud83d"}', "\ufffd"),
        ('{"error": "' + "veel " * 1000 + '"}', ("veel " * 40).strip() + "…"),
        ("<!DOCTYPE html><title>Bad gateway</title>" + "<br>" * 500, None),
        ("ä" * 100_000, "ä" * 200 + "…"),
    ],
)
def test_the_words_of_the_server_are_short(server: ModelServer, body: str, words: str | None) -> None:
    server.fail(status=400, body=body)
    found = str(trouble(server))
    assert found == f"The server answered 400 ({words})." if words else "Bad gateway" in found and len(found) < 250
    found.encode()


def test_no_answer_in_time(server: ModelServer) -> None:
    server.fail(delay=5)
    began = time.monotonic()
    found = trouble(server, timeout=0.5)
    assert type(found) is ReplyTimeout and "no answer within" in str(found) and time.monotonic() - began < 3


def test_a_connection_that_breaks(server: ModelServer) -> None:
    server.fail(drop=True)
    found = trouble(server)
    assert type(found) is ConnectionLost and str(found) == "The connection to the server was lost."


def test_a_server_that_is_not_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        found = trouble(f"http://127.0.0.1:{free.getsockname()[1]}/v1")
    assert type(found) is Unreachable and str(found) == "The connection to the server was lost."


def test_a_server_that_went_away(server: ModelServer) -> None:
    async def twice(client: ModelClient) -> None:
        assert await client.complete(BODY)
        await asyncio.to_thread(server.close)
        for kinds in (
            (Unreachable, ConnectionLost),
            (Unreachable,),
        ):  # the first may have found its old connection closed
            with pytest.raises(RequestFailed) as raised:
                await client.complete(BODY)
            assert type(raised.value) in kinds

    with_chat(server.url, twice)


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\xfd\xfc",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://example.com/\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b'HTTP/1.1 200 OK\r\nContent-Length: 43\r\n\r\n{"choices":[{"message":{"content":"Ja. 12"}}',
    ],
)
def test_replies_that_are_none(reply: bytes) -> None:
    found, _ = raw(reply)
    assert type(found) in (ConnectionLost, InvalidReply, EmptyReply)


PIECES = [b"HTTP/1.1 ", b"200", b"500", b" OK", b"\r\n", b"\r\n\r\n", b"Content-Length: ", b"Content-Encoding: gzip"]
PIECES += [
    b"Retry-After: ",
    b"Location: /",
    b"Set-Cookie: a=b",
    b"Transfer-Encoding: chunked",
    b"\xff",
    b"{",
    b"}",
    b"5",
]


@given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=5), max_size=15))
@with_settings(max_examples=150, deadline=None)
def test_whatever_comes_through_the_wire(pieces: list[bytes]) -> None:
    found, _ = raw(b"".join(pieces))
    assert isinstance(found, Answer | RequestFailed)
    found, _ = raw(b"HTTP/1.1 200 OK\r\n" + b"".join(pieces))
    assert isinstance(found, Answer | RequestFailed)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<!DOCTYPE html><title>Welcome</title>", " (Welcome)"),
        ("", ""),
        ("data: {}\n\ndata: [DONE]\n\n", " (data: {} data: [DONE])"),
        ("1" * 5000, f" ({'1' * 200}…)"),
        ("[" * 99999, f" ({'[' * 200}…)"),
    ],
)
def test_a_page_is_no_answer(server: ModelServer, page: str, words: str) -> None:
    server.fail(body=page, headers={"Content-Type": "text/html"})
    found = trouble(server)
    assert type(found) is (InvalidReply if words else EmptyReply)
    assert str(found) == f"The server sent something that is not an answer{words}."


NAMES = ["choices", "message", "content", "error", "usage", "finish_reason", "refusal", "text", "type", "x"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["text", "stop"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
        | st.fixed_dictionaries({"type": st.just("text"), "text": inner})
    ),
    max_leaves=8,
)
MESSAGES = st.fixed_dictionaries({}, optional={"content": JSON, "refusal": JSON, "role": JSON})
CHOICES = st.fixed_dictionaries({"message": MESSAGES | JSON}, optional={"finish_reason": JSON})
COMPLETIONS = st.fixed_dictionaries({"choices": st.lists(CHOICES, max_size=2) | JSON}, optional={"usage": JSON})


@given(COMPLETIONS | JSON, st.sampled_from([200, 200, 200, 202, 300, 400, 418, 429, 500]))
@with_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_server_says_is_an_answer_or_trouble(shared: ModelServer, reply: Any, status: int) -> None:
    shared.reply = lambda body: (status, reply)
    try:
        answer = complete(shared)
    except RequestFailed as found:
        assert str(found)
    else:
        assert status < 400
        assert isinstance(answer.text, str) and isinstance(answer.finish_reason, str)
        assert type(answer.refused) is bool
        (answer.text + answer.finish_reason).encode()  # a file takes it


@pytest.mark.parametrize(("content", "text"), [(r"\ud83d", "\ufffd"), (r"\ud83d\udc4d", "👍"), (r"a\u0000b", "a\0b")])
def test_half_a_character_does_no_harm(server: ModelServer, content: str, text: str) -> None:
    reply = {"choices": [{"message": {"content": "CONTENT"}, "finish_reason": "CONTENT"}]}
    server.fail(body=json.dumps(reply).replace("CONTENT", content))
    assert complete(server)[:2] == (text, text)


@given(st.text(st.characters()))
@with_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_text_comes_as_it_is(shared: ModelServer, text: str) -> None:
    answer = said(shared, {"content": text})
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert answer == Answer(whole, "") and (whole == text or any("\ud800" <= char <= "\udfff" for char in text))


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (
            {"content": [{"type": "text", "text": "Ja"}, {"type": "image"}, {"type": "text", "text": "!"}]},
            Answer("Ja!", ""),
        ),
        ({"content": []}, Answer("", "")),
        ({"content": None}, Answer("", "")),
        ({"content": "", "reasoning_content": "Hm."}, Answer("", "")),
        ({}, Answer("", "")),
        ({"content": None, "refusal": "Nee."}, Answer("Nee.", "", refused=True)),
        ({"content": "Ach.", "refusal": "Nee."}, Answer("Ach.", "", refused=True)),
        ({"content": "Ja.", "refusal": None}, Answer("Ja.", "")),
        ({"content": "Ja.", "refusal": ""}, Answer("Ja.", "")),
    ],
)
def test_what_a_message_says(server: ModelServer, message: dict, answer: Answer) -> None:
    assert said(server, message) == answer


def test_an_answer_that_a_filter_stopped_is_refused(server: ModelServer) -> None:
    assert said(server, {"content": ""}, choice={"finish_reason": "content_filter"}).refused
    assert not said(server, {"content": ""}, choice={"finish_reason": "length"}).refused


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 0}, (3, 0)),
        ({"prompt_tokens": 3}, (3, None)),
        ({"prompt_tokens": "3", "completion_tokens": 4.0}, (None, None)),
        ({"prompt_tokens": True, "completion_tokens": None}, (None, None)),
        ({"prompt_tokens": -1, "completion_tokens": 2**63}, (None, None)),
        ({"prompt_tokens": [], "completion_tokens": {}}, (None, None)),
        (None, (None, None)),
        ([], (None, None)),
        ("3", (None, None)),
    ],
)
def test_tokens_count_as_far_as_they_are_numbers(server: ModelServer, usage: Any, counted: tuple) -> None:
    answer = said(server, {"content": "Ja."}, usage=usage)
    assert (answer.prompt_tokens, answer.completion_tokens) == counted and answer.text == "Ja."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("", 0), ("7", 7), ("1.5", 1.5), ("-3", 0), ("soon", 0), ("0", 0), ("inf", 0), ("nan", 0)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float) -> None:
    assert client.retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    assert 8 < client.retry_after(email.utils.formatdate(time.time() + 10, usegmt=True)) <= 10
    assert client.retry_after(email.utils.formatdate(time.time() - 10, usegmt=True)) == 0


WORDS = [
    "Mon",
    ",",
    " ",
    "21",
    "99",
    "0000",
    "Nov",
    "2026",
    "10:00:00",
    ":",
    "25:61",
    "GMT",
    "-0000",
    "+9999",
    "PM",
    "-",
]


@given(st.text() | st.lists(st.sampled_from(WORDS)).map("".join) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_retry_after_of_any_kind(value: str) -> None:
    assert client.retry_after(value) >= 0


def test_no_cookies(server: ModelServer) -> None:
    async def twice(client: ModelClient) -> None:
        await client.complete(BODY)
        await client.complete(BODY)

    server.reply = lambda body: (200, {"choices": [{"message": {"content": "a"}}]}, {"Set-Cookie": "who=you; Path=/"})
    with_chat(server.url.replace("127.0.0.1", "localhost"), twice)
    assert len(server.chats) == 2 and not any("cookie" in each.headers for each in server.chats)


OK = b'{"choices": [{"message": {"content": "a"}}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(OK), OK)


@pytest.mark.parametrize("key", ["", "geheim"])
@pytest.mark.parametrize("url", ["", "http://models.test/v1"])
def test_no_password_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, key: str) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine models.test login me password 1\ndefault login me password 1\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    answer, request = raw(OK, url=url, key=key)
    assert isinstance(answer, Answer) and answer.text == "a"
    authorization = [line for line in request.split(b"\r\n") if line.lower().startswith(b"authorization:")]
    assert authorization == ([b"Authorization: Bearer geheim"] if key else [])


def test_other_machines_are_reached_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "elsewhere.test")
    _, request = raw(OK, url="http://models.test/v1")
    assert request.startswith(b"POST http://models.test/v1/chat/completions HTTP/1.1\r\n")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached_without_a_proxy(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert complete(server.url.replace("127.0.0.1", host)).text
