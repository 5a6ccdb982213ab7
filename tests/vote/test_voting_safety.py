"""An acknowledged vote is on the disk, and where the disk refuses, the phone keeps it."""

import asyncio
import os
import random
import re
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argilla_server import TEMPLATE
from voters import check, vote
from voting_service import Device, Refused, VotingProcess, VotingService, add_link, make_home, make_line

sys.path.insert(0, str(TEMPLATE))

from kto.vote.voting_server import database

ANSWERS = {f"Question {number}?": ["one", "two"] for number in range(40)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_home(tmp_path / "home", ANSWERS)


@pytest.fixture
def voting(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VotingService]:
    monkeypatch.setattr(database, "_WAIT", 0.2)
    with VotingService(path) as running:
        yield running


def on_writer(voting: VotingService, *statements: str) -> list[Any]:
    writer = voting.service._writer
    assert writer
    return [writer._connection.execute(statement).fetchone() for statement in statements]


def test_the_writing_connection_syncs_at_each_commit(voting: VotingService) -> None:
    pragmas = ("journal_mode", "synchronous", "foreign_keys", "fullfsync")
    assert on_writer(voting, *[f"PRAGMA {name}" for name in pragmas]) == [("wal",), (2,), (1,), (1,)]


def test_a_database_that_cannot_be_written_ahead(path: Path) -> None:
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):
        database.connect(path)
    other.execute("ROLLBACK")
    other.close()
    database.connect(path).close()


def test_killed_at_any_moment(path: Path) -> None:
    voting = VotingProcess(path).start()
    links = [add_link(path, f"person-{number}") for number in range(4)] + [add_link(path)] * 4
    over = threading.Event()
    kills = 0

    def kill() -> None:
        nonlocal kills
        while not over.is_set():
            time.sleep(random.uniform(0.05, 0.4))
            voting.kill()
            kills += 1
            voting.start()

    def keep_trying() -> Any:
        try:
            return asyncio.run(vote(voting.port, links, 15, 0.05))
        finally:
            over.set()

    killer = threading.Thread(target=kill)
    killer.start()
    results = keep_trying()
    killer.join()
    voting.kill()
    assert kills > 2 and set(results.errors), "nothing was disturbed"
    assert not [kind for kind in results.errors if re.search(r"\d{3}|superseded|unknown", kind)], results.errors
    assert len(results.acknowledged) > 80
    assert check(path, results, overlap=2) == {"lost": 0, "doubled": 0, "beyond": 0, "wrong_status": 0}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


CALL = re.compile(r"^(?:\[pid +)?(\d+)\]? +(\w+)\((.*)|^(?:\[pid +)?(\d+)\]? +<\.\.\. (\w+) resumed>(.*)")


@pytest.mark.skipif(sys.platform != "linux", reason="strace")
def test_the_disk_is_synced_before_each_acknowledgement(path: Path, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("no strace on this machine")
    log = tmp_path / "trace"
    trace = ["strace", "-f", "-s", "4000", "-o", str(log), "-e", "trace=fsync,fdatasync,sendto,recvfrom,write"]
    with VotingProcess(path, trace) as voting:
        device = Device(voting.url).enter(add_link(path, "amina"))
        cards = device.cards()
        begun = len(log.read_text("utf-8", "replace").splitlines())
        for card in cards:
            device.vote(card["record"])
        device.call("votes", lines=[make_line(card["record"], "bad") for card in cards])  # superseded, and kept, too
    synced, acknowledged, open_calls = False, 0, {}
    for text in log.read_text("utf-8", "replace").splitlines()[begun:]:
        found = CALL.match(text)
        if not found:
            continue
        pid, name, rest = (found[1], found[2], found[3]) if found[2] else (found[4], found[5], found[6])
        if "<unfinished" in rest:
            open_calls[pid] = rest
        if name in ("fsync", "fdatasync"):
            synced |= rest.rstrip().endswith("= 0")  # it has come back
        elif "/vote/api/votes" in rest and name == "recvfrom":
            synced = False
        elif name in ("sendto", "write") and ("applied" in rest or "superseded" in rest):
            assert synced, f"acknowledged before it was on the disk: {text}"
            acknowledged += 1
    assert acknowledged == len(cards) + 1


def test_another_process_holds_the_database(voting: VotingService) -> None:
    device = voting.device("amina")
    kept = [make_line(card["record"]) for card in device.cards()]
    with voting.database() as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            with pytest.raises(Refused) as error:
                device.call("votes", lines=kept)
            assert (error.value.status, error.value.answer) == (503, {"kind": "database"})
        with pytest.raises(Refused):
            device.cards()
        other.execute("ROLLBACK")
    assert set(device.call("votes", lines=kept)["states"].values()) == {"applied"}
    assert device.call("progress")["progress"]["mine"] == len(kept)


def test_a_disk_that_is_full(voting: VotingService) -> None:
    device = voting.device("amina")
    cards = device.cards()
    (pages,) = on_writer(voting, "PRAGMA page_count")[0]
    on_writer(voting, f"PRAGMA max_page_count = {pages}")
    written, kept = 0, []
    for card in cards:  # some go into pages that have room
        line = make_line(card["record"], comment="long " * 390)
        try:
            device.call("votes", lines=[line])
            written += 1
        except Refused as error:
            assert (error.status, error.answer) == (503, {"kind": "database"})
            kept.append(line)
    assert kept and device.call("progress")["progress"]["mine"] == written
    on_writer(voting, "PRAGMA max_page_count = 1000000")
    assert set(device.call("votes", lines=kept)["states"].values()) == {"applied"}
    assert voting.rows("SELECT count(*) FROM responses") == [(len(cards),)]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process")
def test_a_file_that_may_not_grow(path: Path) -> None:
    import resource

    with VotingProcess(path) as voting:
        device = Device(voting.url).enter(add_link(path, "amina"))
        cards = device.cards()
        size = path.with_name("argilla.db-wal").stat().st_size
        _, hard = resource.prlimit(voting.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        line = make_line(cards[0]["record"])
        for _ in range(2):
            with pytest.raises(Refused) as error:
                device.call("votes", lines=[line])
            assert error.value.status == 503
        resource.prlimit(voting.pid, resource.RLIMIT_FSIZE, (hard, hard))
        assert device.call("votes", lines=[line])["states"] == {line["id"]: "applied"}
        voting.kill()
        voting.start()
        device.close()
        assert device.call("progress")["progress"]["mine"] == 1


def test_a_file_that_is_closed_for_writing(voting: VotingService) -> None:
    device = voting.device("amina")
    line = make_line(device.cards()[0]["record"])
    on_writer(voting, "PRAGMA query_only = ON")
    with pytest.raises(Refused) as error:
        device.call("votes", lines=[line])
    assert (error.value.status, error.value.answer) == (503, {"kind": "database"})
    on_writer(voting, "PRAGMA query_only = OFF")
    assert device.call("votes", lines=[line])["states"] == {line["id"]: "applied"}


def test_one_bad_request_spoils_no_other(voting: VotingService) -> None:
    """Requests that are written in one transaction: one of them fails, the others are taken."""
    writer = voting.service._writer
    assert writer
    begun, waiting, done = threading.Event(), threading.Event(), []

    def hold(connection: sqlite3.Connection) -> None:
        begun.set()
        waiting.wait(30)

    def fail(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO kto_state VALUES ('bad', 'x')")
        raise ValueError("bad")

    def good(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO kto_state VALUES ('good', 'x')")
        return "good"

    def run(write: Any) -> None:
        try:
            done.append(writer.run(write))
        except ValueError as error:
            done.append(str(error))

    threads = [threading.Thread(target=run, args=(write,)) for write in (hold, fail, good)]
    threads[0].start()
    assert begun.wait(30)
    for number, thread in enumerate(threads[1:], start=1):
        thread.start()
        while writer._waiting.qsize() < number:  # nobody takes them out before `waiting` is set
            time.sleep(0.01)
    waiting.set()
    for thread in threads:
        thread.join()
    assert sorted(map(str, done)) == ["None", "bad", "good"]
    assert voting.rows("SELECT name FROM kto_state WHERE value = 'x'") == [("good",)]
    writer.close()
    with pytest.raises(sqlite3.OperationalError):
        writer.run(good)


def test_nothing_private_is_left_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    for _ in range(3):
        with VotingService(path) as running:
            running.device("amina").close()
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2
