"""People who vote on the voting page, in numbers: what their phones send, without browsers."""

import asyncio
import contextlib
import gzip
import json
import random
import sqlite3
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

AHEAD, LOW = 10, 6  # cards that the page holds, and from how many on it fetches more


@dataclass
class Results:
    """What the people met."""

    votes: list[float] = field(default_factory=list)  # seconds until a vote was acknowledged
    cards: list[float] = field(default_factory=list)  # seconds until cards came
    errors: Counter[str] = field(default_factory=Counter)
    acknowledged: dict[tuple[str, str], str] = field(default_factory=dict)  # (person, record) → vote
    given: Counter[tuple[str, str]] = field(default_factory=Counter)  # (person, record) → how often it was given out
    finished: int = 0  # people for whom no card was left


class Connection:
    """One kept-alive connection; a request that fails opens a new one the next time."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def request(self, method: str, path: str, body: Any, headers: str, timeout: float = 15) -> tuple[int, Any]:
        """Return status and JSON; raise `OSError`, `ValueError` or `asyncio.TimeoutError`."""
        content = json.dumps(body).encode() if body is not None else b""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        sent = f"{head}Content-Length: {len(content)}\r\n{headers}\r\n".encode() + content
        try:
            async with asyncio.timeout(timeout):
                if self._streams is None:
                    self._streams = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
                reader, writer = self._streams
                writer.write(sent)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.split("content-length:")[1].split("\r\n")[0])
                answer = await reader.readexactly(length)
        except (OSError, EOFError, TimeoutError, asyncio.IncompleteReadError, IndexError):
            self.close()
            raise
        if "connection: close" in head:
            self.close()
        return int(head.split()[1]), json.loads(gzip.decompress(answer) if "content-encoding: gzip" in head else answer)

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


class Person:
    """Somebody on our page: cards are fetched ahead, and a vote that gets no answer is sent again, as the page does."""

    def __init__(self, port: int, link: str, results: Results, pause: float, seed: int) -> None:
        self.link, self.results, self.pause, self.random = link, results, pause, random.Random(seed)
        self.connection = Connection(port)
        self.secret = self.person = ""
        self.cards: list[dict[str, Any]] = []
        self.last: list[str] = []
        self.exhausted = False
        self.end = 0.0

    async def call(self, name: str, times: list[float] | None = None, **body: Any) -> dict[str, Any] | None:
        headers = "Accept-Encoding: gzip\r\n" + (f"Authorization: Bearer {self.secret}\r\n" if self.secret else "")
        began = time.perf_counter()
        try:
            status, answer = await self.connection.request("POST", f"/vote/api/{name}", body, headers)
        except (OSError, EOFError, TimeoutError, ValueError, IndexError) as error:
            self.results.errors[f"{name}: {type(error).__name__}"] += 1
            return None
        if times is not None:
            times.append(time.perf_counter() - began)
        if status != 200:
            self.results.errors[f"{name}: {status} {answer.get('kind')}"] += 1
            return None
        return answer

    async def vote_until(self, end: float) -> None:
        """Vote until `end`, of the event loop's time."""
        now, self.end = asyncio.get_running_loop().time, end
        await asyncio.sleep(self.random.random() * self.pause)
        while not self.secret and now() < end:
            if entered := await self.call("session", secret=self.link, consent="1"):
                self.secret, self.person = entered["secret"], entered["person"]
        turn = now()
        while now() < end and not (self.exhausted and not self.cards):
            if len(self.cards) < LOW and not self.exhausted:
                await self.fetch()
            if self.cards:
                await self.judge(self.cards.pop(0))
            turn += self.pause * self.random.uniform(0.7, 1.3)
            await asyncio.sleep(max(0.0, min(turn, end) - now()))
        self.results.finished += self.exhausted
        self.connection.close()

    async def fetch(self) -> None:
        have = [card["record"] for card in self.cards]
        answer = await self.call("cards", self.results.cards, count=AHEAD - len(have), have=[*have, *self.last])
        if answer is not None:
            for card in answer["cards"]:
                self.results.given[self.person, card["record"]] += 1
            self.cards += answer["cards"]
            self.exhausted = not answer["cards"] and not answer.get("wait")

    async def judge(self, card: dict[str, Any]) -> None:
        vote = self.random.choice(["good", "bad", "bad"])
        line = {"v": 1, "id": uuid.UUID(int=self.random.getrandbits(128)).hex, "record": card["record"], "vote": vote}
        line |= {"reasons": ["unsafe"] if vote == "bad" else [], "replaces": card["line"], "ms": 3000}
        while (answer := await self.call("votes", self.results.votes, lines=[line])) is None:
            if asyncio.get_running_loop().time() > self.end + 5:
                return
            await asyncio.sleep(0.2)
        if answer["states"] == {line["id"]: "applied"}:
            self.results.acknowledged[self.person, card["record"]] = vote
        else:
            self.results.errors[f"votes: {answer['states']}"] += 1
        self.last = [card["record"]]


async def vote(port: int, links: Sequence[str], seconds: float, pause: float, *others: Awaitable[Any]) -> Results:
    """Let a person per link vote for a time, one vote per `pause` seconds each, beside `others`."""
    results = Results()
    end = asyncio.get_running_loop().time() + seconds
    people = [Person(port, link, results, pause, seed) for seed, link in enumerate(links)]
    await asyncio.gather(*(person.vote_until(end) for person in people), *others)
    return results


def check(path: Path, results: Results, overlap: int, lead: str = "") -> dict[str, int]:
    """Compare what was acknowledged with the database.

    Count votes that are lost, doubled, and beyond the overlap (those of the user `lead` may be), and wrong statuses.
    """
    uri = f"{path.resolve().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
        stored = {
            (user, record): json.loads(values)["vote"]["value"]
            for user, record, values in database.execute(
                "SELECT user_id, record_id, \"values\" FROM responses WHERE status = 'submitted'"
            )
        }
        names = dict(database.execute("SELECT id, username FROM users"))
        statuses = dict(database.execute("SELECT id, status FROM records"))
        lines = database.execute("SELECT user_id, record_id FROM kto_lines WHERE state = 'applied'").fetchall()
    everybody = Counter(record for _, record in stored)
    ours = Counter(record for user, record in stored if names[user] != lead)
    return {
        "lost": sum(stored.get(key) != vote for key, vote in results.acknowledged.items()),
        "doubled": sum(count - 1 for count in Counter(lines).values()) + sum(n - 1 for n in results.given.values()),
        "beyond": sum(max(0, count - overlap) for count in ours.values()),
        "wrong_status": sum((everybody[id] >= overlap) != (status == "completed") for id, status in statuses.items()),
    }


def percentile(times: Sequence[float], share: float) -> float:
    """Return a percentile in milliseconds."""
    ordered = sorted(times)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
