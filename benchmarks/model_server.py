"""A model server that costs as little as possible: OpenAI's protocol over bare asyncio, in a process of its own.

It prints its address, answers each chat after `--latency` seconds, and tells at `/stats` what it has counted.
"""

import argparse
import asyncio
import dataclasses
import json
import re
import time
from collections import Counter
from typing import Any

import workload

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclasses.dataclass
class Server:
    """What the server does, and what it has counted; only chats count as requests."""

    models: list[str]
    latency: float  # seconds
    failing: float  # share of the prompts that always get a 500
    refused: float  # share of the requests (model and prompt) whose first try gets a 429
    statuses: Counter[str] = dataclasses.field(default_factory=Counter)  # of the replies; "gone": nobody took it
    first_request: float | None = None  # time.time() of its arrival
    in_flight: int = 0
    most_in_flight: int = 0
    turned_away: set[tuple[str, str]] = dataclasses.field(default_factory=set)

    def status(self, model: str, prompt: str) -> int:
        """Return what this request gets."""
        key = (model, prompt)
        if workload.refused_once(model, prompt, self.refused) and key not in self.turned_away:
            self.turned_away.add(key)
            return 429
        return 500 if workload.fails(prompt, self.failing) else 200

    def stats(self) -> dict[str, Any]:
        """Return what `/stats` shows."""
        return {
            "requests": self.statuses.total() + self.in_flight,
            "statuses": self.statuses,
            "first_request": self.first_request,
            "most_in_flight": self.most_in_flight,
        }


class Connection(asyncio.Protocol):
    """One connection, which may carry many requests one after the other."""

    def __init__(self, server: Server) -> None:
        self.server, self.loop, self.received = server, asyncio.get_running_loop(), bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is here as a whole."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self.received[:end])
            length = _LENGTH.search(head)
            stop = end + 4 + (int(length[1]) if length else 0)
            if len(self.received) < stop:
                return
            body = bytes(self.received[end + 4 : stop])
            del self.received[:stop]
            self._request(head.split(b" ", 2)[1], body)

    def _request(self, path: bytes, body: bytes) -> None:
        if path == b"/v1/chat/completions":
            self._chat(json.loads(body))
        elif path == b"/v1/models":
            self._send(200, {"object": "list", "data": [{"id": model} for model in self.server.models]})
        elif path == b"/stats":
            self._send(200, self.server.stats())
        else:
            self._send(404, {"error": {"message": "No such page."}})

    def _chat(self, asked: dict[str, Any]) -> None:
        server, model, prompt = self.server, asked["model"], asked["messages"][-1]["content"]
        server.first_request = server.first_request or time.time()
        server.in_flight += 1
        server.most_in_flight = max(server.most_in_flight, server.in_flight)
        status = server.status(model, prompt)
        # A server that has no place says so at once.
        self.loop.call_later(0 if status == 429 else server.latency, self._reply, status, model, prompt)

    def _reply(self, status: int, model: str, prompt: str) -> None:
        self.server.in_flight -= 1
        self.server.statuses["gone" if self.transport.is_closing() else str(status)] += 1
        if status != 200:
            self._send(status, {"error": {"message": "Told to."}}, b"Retry-After: 0.2\r\n" if status == 429 else b"")
            return
        text = workload.answer(model, prompt)
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        sent, said = len(prompt) // 4, len(text) // 4
        usage = {"prompt_tokens": sent, "completion_tokens": said, "total_tokens": sent + said}
        reply = {"id": "chat", "object": "chat.completion", "created": 0, "model": model}
        self._send(200, reply | {"choices": [choice], "usage": usage})

    def _send(self, status: int, body: object, headers: bytes = b"") -> None:
        data = json.dumps(body, ensure_ascii=False).encode()
        head = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % (status, len(data))
        self.transport.write(head + headers + b"\r\n" + data)


async def _serve(server: Server) -> None:
    listener = await asyncio.get_running_loop().create_server(lambda: Connection(server), "127.0.0.1", backlog=1024)
    print(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
    await listener.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--latency", type=float, default=0.2, help="seconds per answer")
    parser.add_argument("--failing", type=float, default=0.0, help="share of the prompts that always get a 500")
    parser.add_argument("--refused", type=float, default=0.0, help="share of the requests that first get a 429")
    asyncio.run(_serve(Server(**vars(parser.parse_args()))))
