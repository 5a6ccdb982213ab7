"""Many people vote at once: our voting server, and Argilla's own handlers in the same run; see README.md.

    python benchmarks/voting.py [--seconds N] [--records N] [--only ours|argilla]

Prints a table in Markdown; the exit status is 1 if a limit is missed.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import sqlite3
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "parts"))
sys.dont_write_bytecode = True  # whatever is left in the template folder would be rendered

from argilla_server import ArgillaServer, copy_project  # noqa: E402
from voters import Connection, Results, check, percentile, vote  # noqa: E402
from voting_service import TIME, VotingProcess, add_link, make_home  # noqa: E402

OVERLAP = 3
PAUSE = 3.0  # seconds between two votes of a person
LIMITS = {50: 40, 200: 60}  # people → milliseconds, p95 of votes and of cards
WORDS = ["water", "bread", "light", "paper", "garden", "river", "winter", "market", "story", "window", "kitchen"]


def texts(number: int) -> list[str]:
    """Return three answers as models write them: 300 to 3,000 characters, with lists and emphasis."""
    rng = random.Random(number)  # noqa: S311
    answers = []
    for _ in range(3):
        lines = [" ".join(rng.choices(WORDS, k=rng.randint(8, 40))) + "." for _ in range(rng.randint(4, 14))]
        answers.append("\n\n".join([f"**{number}** {lines[0]}", *lines[1:-2], f"1. {lines[-2]}\n2. {lines[-1]}"]))
    return answers


def processor_time(pid: int) -> float:
    """Return the seconds of processor time of a process, 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


async def lead(server: ArgillaServer, dataset: str, seconds: float, done: Results) -> None:
    """Work as a lead does on Argilla's page: look at ten records, vote on one, look at the progress."""
    connection, key = Connection(server.port), f"X-Argilla-Api-Key: {server.api_key}\r\n"
    end = time.monotonic() + seconds
    id, offset = uuid.UUID(dataset), 0

    async def request(method: str, path: str, body: Any = None) -> Any:
        with contextlib.suppress(OSError, EOFError, TimeoutError, IndexError, ValueError):
            began = time.perf_counter()
            status, answer = await connection.request(method, f"/api/v1{path}", body, key, timeout=60)
            done.votes.append(time.perf_counter() - began)
            return answer if status < 300 else None

    while time.monotonic() < end:
        query = f"/me/datasets/{id}/records/search?offset={offset}&limit=10&include=responses"
        found = await request("POST", query, {})
        offset += 10
        for item in (found or {}).get("items", [])[:2]:
            body = {"status": "submitted", "values": {"vote": {"value": "good"}}}
            await request("POST", f"/records/{item['record']['id']}/responses", body)
        await request("GET", f"/datasets/{id}/progress")
        await asyncio.sleep(1)


class AnnotatorOnArgilla:
    """Somebody who votes by Argilla's own handlers, as its page calls them."""

    def __init__(self, port: int, key: str, dataset: str, results: Results, seed: int) -> None:
        self.connection, self.results, self.random = Connection(port), results, random.Random(seed)  # noqa: S311
        self.headers = f"X-Argilla-Api-Key: {key}\r\n"
        self.dataset = uuid.UUID(dataset)

    async def _request(self, times: list[float], path: str, body: Any) -> Any:
        began = time.perf_counter()
        try:
            status, answer = await self.connection.request("POST", f"/api/v1{path}", body, self.headers, timeout=30)
        except (OSError, EOFError, TimeoutError, IndexError, ValueError) as error:
            self.results.errors[type(error).__name__] += 1
            return None
        times.append(time.perf_counter() - began)
        if status >= 300:
            self.results.errors[str(status)] += 1
            return None
        return answer

    async def vote_for(self, seconds: float) -> None:
        """Vote for a time."""
        end = time.monotonic() + seconds
        cards: list[str] = []
        await asyncio.sleep(self.random.random() * PAUSE)
        turn = time.monotonic()
        pending = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}
        while time.monotonic() < end:
            if not cards:
                path = f"/me/datasets/{self.dataset}/records/search?offset=0&limit=10"
                found = await self._request(self.results.cards, path, {"filters": {"type": "and", "and": [pending]}})
                cards = [item["record"]["id"] for item in (found or {}).get("items", [])]
            if cards:
                body = {"status": "submitted", "values": {"vote": {"value": "good"}}}
                await self._request(self.results.votes, f"/records/{cards.pop()}/responses", body)
            turn = max(turn + PAUSE, time.monotonic())
            await asyncio.sleep(turn - time.monotonic())
        self.connection.close()


def add_annotators(path: Path, count: int) -> list[str]:
    """Make accounts that can vote by Argilla's API; return their keys."""
    keys = [secrets.token_urlsafe(48) for _ in range(count)]
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        (workspace,) = database.execute("SELECT id FROM workspaces").fetchone()
        for number, key in enumerate(keys):
            user, name = uuid.uuid4().hex, f"annotator-{number}"
            row = (user, name, None, name, "annotator", key, "!", TIME, TIME)
            database.execute("INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
            row = (uuid.uuid4().hex, workspace, user, TIME, TIME)
            database.execute("INSERT INTO workspaces_users VALUES (?, ?, ?, ?, ?)", row)
    return keys


class Run:
    """A database with all records, and where it lies; a new one for each row of the table."""

    def __init__(self, folder: Path, records: int) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        answers = {f"Question {number}: how do I use it?": texts(number) for number in range((records + 2) // 3)}
        self.path = make_home(folder / "home", answers, OVERLAP)
        with contextlib.closing(sqlite3.connect(self.path)) as database:
            (self.dataset,) = database.execute("SELECT id FROM datasets").fetchone()

    def argilla(self) -> ArgillaServer:
        """Return a server on this database."""
        return ArgillaServer(copy_project(self.folder), self.folder / "home")


def row(name: str, results: Results, cpu: float, more: str) -> str:
    """Return a row of the table."""
    times = [percentile(each, share) for each in (results.votes, results.cards) for share in (0.5, 0.95)]
    errors = sum(results.errors.values())
    used = f"{1000 * cpu / max(1, len(results.votes)):.1f}"
    return (
        f"| {name} | {len(results.votes):,} | {' | '.join(f'{ms:,.0f}' for ms in times)} | {errors} | {more} | {used} |"
    )


def ours(folder: Path, records: int, people: int, seconds: float, with_lead: bool) -> bool:
    """Measure our server; print a row, and return whether it kept the limits."""
    run = Run(folder, records)
    links = [add_link(run.path, f"person-{number}") for number in range(people // 2)]
    links += [add_link(run.path)] * (people - len(links))
    page = Results()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(run.argilla()) if with_lead else None
        voting = stack.enter_context(VotingProcess(run.path))
        beside = [lead(server, run.dataset, seconds, page)] if server else []
        before = processor_time(voting.pid)
        results = asyncio.run(vote(voting.port, links, seconds, PAUSE, *beside))
        cpu = processor_time(voting.pid) - before
    facts = check(run.path, results, OVERLAP, lead="owner")
    print(dict(results.errors), facts, file=sys.stderr)
    if page.votes:
        times = f"p50 {percentile(page.votes, 0.5):.0f} ms, p95 {percentile(page.votes, 0.95):.0f} ms"
        print(f"the lead: {len(page.votes)} requests, {times}", file=sys.stderr)
    name = f"ours, {people} people" + (", a lead at work in Argilla" if with_lead else "")
    print(row(name, results, cpu, f"{facts['lost']} | {facts['doubled']} | {facts['beyond']}"), flush=True)
    slowest = max(percentile(results.votes, 0.95), percentile(results.cards, 0.95))
    return not results.errors and not any(facts.values()) and slowest <= LIMITS.get(people, float("inf"))


def argilla(folder: Path, records: int, people: int, seconds: float) -> None:
    """Measure Argilla's handlers; print a row."""
    run = Run(folder, records)
    keys = add_annotators(run.path, people)
    results = Results()

    async def everybody(port: int) -> None:
        annotators = [AnnotatorOnArgilla(port, key, run.dataset, results, seed) for seed, key in enumerate(keys)]
        await asyncio.gather(*(annotator.vote_for(seconds) for annotator in annotators))

    with run.argilla() as server:
        assert server.process
        before = processor_time(server.process.pid)
        asyncio.run(everybody(server.port))
        cpu = processor_time(server.process.pid) - before
    with contextlib.closing(sqlite3.connect(run.path)) as database:
        counts = "SELECT count(*) FROM responses WHERE status = 'submitted' GROUP BY record_id"
        beyond = sum(max(0, count - OVERLAP) for (count,) in database.execute(counts))
    print(json.dumps(dict(results.errors)), file=sys.stderr)
    print(row(f"Argilla's handlers, {people} people", results, cpu, f"– | – | {beyond}"), flush=True)


def main() -> int:
    """Measure all forms, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300, metavar="N", help="for each row (300)")
    parser.add_argument("--records", type=int, default=10_000, metavar="N", help="(10000)")
    parser.add_argument("--only", choices=["ours", "argilla"], help="leave the other out")
    parser.add_argument("--cpus", type=int, default=2, metavar="N", help="processors for all of it, on Linux (2)")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cpus])
    passed = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name) / "run"
        print(
            "| | votes | vote p50, ms | p95 | cards p50 | p95 | errors | lost | doubled | beyond the overlap | CPU ms |"
        )
        print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
        if options.only != "argilla":
            for people, with_lead in ((50, False), (200, False), (200, True)):
                passed &= ours(folder, options.records, people, options.seconds, with_lead)
        if options.only != "ours":
            argilla(folder, options.records, 50, min(options.seconds, 60))
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
