"""A server on loopback that speaks OpenAI's protocol, echoes, counts, and fails as it is told.

with ModelServer(latency=0.2) as server:
    server.fail("What is 2+2?", status=429, headers={"Retry-After": "1"}, times=1)
    run_generate("--base-url", server.url)
    assert server.asked("What is 2+2?") == 2
"""

import asyncio
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Fault:
    model: str | None
    status: int
    headers: Mapping[str, str]
    body: str | None
    drop: bool
    delay: float
    times: int | None


@dataclass(frozen=True)
class Chat:
    """One request: who asked what, with which headers (lower case), and when it came (time.monotonic)."""

    model: str
    prompt: str
    body: dict[str, Any]
    headers: Mapping[str, str]
    at: float = field(default_factory=time.monotonic)


class ModelServer:
    """Answers for any model, at once and with an echo, unless it is told otherwise.

    names: the models that it lists. latency: seconds that an answer takes. key: what requests must carry. `reply` makes
    the text of an answer from the body of a request, or (status, JSON) for something else. tls: for HTTPS.
    """

    def __init__(
        self,
        names: tuple[str, ...] = (),
        latency: float = 0.0,
        key: str = "",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.names, self.latency, self.key, self.port, self.tls = names, latency, key, port, tls
        self.pages: dict[tuple[str, str], tuple[Any, ...]] = {}  # (method, path) → (status, body, headers), before all
        self.reply: Callable[[dict[str, Any]], Any] = lambda body: f"{body['model']} answers: {_prompt(body)}"
        self.about: dict[str, dict[str, Any]] = {}  # what the list of models says about each, besides its id
        self.usage: dict[str, int] = {}  # what answers say about tokens
        self.chats: list[Chat] = []
        self.in_flight = self.most_in_flight = 0
        self._faults: dict[str, list[Fault]] = {}
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def fail(
        self,
        prompt: str = "*",
        *,
        model: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        drop: bool = False,
        delay: float = 0.0,
        times: int | None = None,
    ) -> None:
        """Disturb requests with this prompt ("*": any), `times` times or always; faults added first come first.

        status, headers, body: what is answered instead of a chat completion. drop: close the connection.
        """
        self._faults.setdefault(prompt, []).append(Fault(model, status, headers or {}, body, drop, delay, times))

    def work_on(self, at_a_time: int) -> None:
        """Work on so many requests at a time; the others wait in their order."""
        self._places = asyncio.Semaphore(at_a_time)

    def heal(self) -> None:
        self._faults.clear()

    def asked(self, prompt: str) -> int:
        return sum(chat.prompt == prompt for chat in self.chats)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._stop = asyncio.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, backlog=1024, ssl=self.tls)
            self.work_on(100_000)
            self.url = f"http{'s' if self.tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            started.set()
            await self._stop.wait()
            server.close()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._loop.run_until_complete(serve())
        self._loop.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):  # the other side, or close()
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        if (method, path) in self.pages:
            return await _send(writer, *self.pages[method, path])
        if self.key and headers.get("authorization") not in (self.key, f"Bearer {self.key}"):
            return await _send(writer, 401, {"error": {"message": "Invalid key."}})
        if path == "/v1/models":
            return await _send(
                writer,
                200,
                {"object": "list", "data": [{"id": name} | self.about.get(name, {}) for name in self.names]},
            )
        if (method, path) != ("POST", "/v1/chat/completions"):
            return await _send(writer, 404, {"error": {"message": "No such page."}})
        body = json.loads(content)
        if not {"model", "messages"} <= body.keys():
            return await _send(writer, 400, {"error": {"message": "A request has a model and messages."}})
        self.chats.append(Chat(body["model"], _prompt(body), body, headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            fault = self._fault(body)
            async with self._places:
                await asyncio.sleep((fault.delay if fault else 0) or self.latency)
            if fault is None:
                return await _send(writer, *self._completion(body))
            if fault.drop:
                return False
            error = {"error": {"message": f"The test wants {fault.status}."}}
            return await _send(writer, fault.status, fault.body if fault.body is not None else error, fault.headers)
        finally:
            self.in_flight -= 1

    def _fault(self, body: dict[str, Any]) -> Fault | None:
        for fault in self._faults.get(_prompt(body), []) + self._faults.get("*", []):
            if fault.model in (None, body["model"]) and fault.times != 0:
                fault.times = fault.times and fault.times - 1
                return fault
        return None

    def _completion(self, body: dict[str, Any]) -> tuple[int, Any]:
        reply = self.reply(body)
        if not isinstance(reply, str):
            return reply
        status, said = completion(reply, usage=self.usage)
        return status, said | {"model": body["model"]}


def completion(
    content: Any, finish_reason: str = "stop", usage: Mapping[str, int] | None = None, **message: Any
) -> tuple[int, dict[str, Any]]:
    """Return an answer for `reply`, with further fields of its message."""
    said = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish_reason}
    whole = {"id": "chat", "object": "chat.completion", "created": 0, "choices": [choice]}
    return 200, whole | ({"usage": usage} if usage else {})


def _prompt(body: dict[str, Any]) -> str:
    return next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")


async def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: Mapping[str, str] | None = None) -> bool:
    data = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(data))} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"HTTP/1.1 {status} Status\r\n{head}\r\n".encode() + data)
    await writer.drain()
    return True
