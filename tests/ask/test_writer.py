"""What stands between models and the store: an answer counts when it is on the disk, and money is not overspent."""

import asyncio
import itertools
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from generating import TEMPLATE
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from kto.ask import writer as kto_keeper
from kto.ask.language import LanguageCheck
from kto.ask.store import Answer, NewAnswer, Store, StoredAnswer
from kto.ask.writer import AnswerWriter, BudgetExceeded, StoreUnwritable
from kto.errors import UserError
from rendering import PARTS

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")

RIGHT = LanguageCheck("right", "nl", 0.9)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared") / "answers.sqlite"


def entry(number: int, text: str = "Ja.") -> NewAnswer:
    return NewAnswer(f"k{number}", "a/b", [], {}, Answer(text, "stop", 3, 4, 0.5))


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else can write to the store while this is open."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def settle_down() -> None:
    """Let everything that can go on without time passing go on."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(path: Path, work: Coroutine[Any, Any, Any], keeper: AnswerWriter) -> Any:
    with closing(keeper):
        return asyncio.run(work)


def test_an_answer_counts_when_others_can_read_it(path: Path) -> None:
    keeper = AnswerWriter(path)

    async def put(number: int, other: Store) -> None:
        await keeper.put(entry(number))
        assert other.get(f"k{number}") == StoredAnswer(entry(number).answer, None)

    async def work() -> None:
        with Store(path) as other:
            await asyncio.gather(*(put(number, other) for number in range(300)))

    run(path, work(), keeper)


def test_many_answers_become_few_transactions(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    class Counting(Store):
        def put(self, entries: Any, judgements: Any = ()) -> None:
            listed = list(entries)
            sizes.append(len(listed))
            super().put(listed, judgements)

    monkeypatch.setattr(kto_keeper, "Store", Counting)
    keeper = AnswerWriter(path)

    async def work() -> None:
        with locked(path):
            puts = [asyncio.create_task(keeper.put(entry(number))) for number in range(1200)]
            await settle_down()
            assert not any(put.done() for put in puts)
        await asyncio.gather(*puts)

    run(path, work(), keeper)
    assert sum(sizes) == 1200 and len([size for size in sizes if size]) <= 4 and max(sizes) <= 500


def test_closing_writes_what_waits(path: Path) -> None:
    keeper = AnswerWriter(path)

    async def work() -> None:
        await keeper.put(entry(0))
        lock.__enter__()
        _puts = [asyncio.create_task(keeper.put(entry(number))) for number in range(1, 700)]
        await keeper.note("gate", "k5", RIGHT)
        await settle_down()  # and then Ctrl-C: the loop ends, and with it everybody who waits

    lock = locked(path)
    asyncio.run(work())
    lock.__exit__(None, None, None)
    keeper.close()
    with Store(path) as store:
        assert store.count() == 700 and store.get("k5", "gate") == StoredAnswer(entry(5).answer, RIGHT)


def test_judgements_are_written_with_the_next_answers_or_at_the_end(path: Path) -> None:
    keeper = AnswerWriter(path)

    async def work() -> None:
        await keeper.put(entry(1))
        await keeper.note("gate", "k1", RIGHT)
        await keeper.put(entry(2))
        assert keeper.reader.get("k1", "gate") == StoredAnswer(entry(1).answer, RIGHT)
        await keeper.note("gate", "k2", RIGHT)
        assert keeper.reader.get("k3", "gate") is None

    run(path, work(), keeper)
    with Store(path) as store:
        assert store.get("k2", "gate") == StoredAnswer(entry(2).answer, RIGHT)


def fails_with(keeper: AnswerWriter, words: str) -> int:
    """Put until it fails; check that nothing was said to be kept that is not, and return how many were kept."""

    async def work() -> int:
        kept = 0
        with pytest.raises(StoreUnwritable, match=words):
            for number in itertools.count():
                await asyncio.wait_for(keeper.put(entry(number, "lang " * 1000)), 10)
                kept += 1
        later = [keeper.put(entry(number)) for number in range(10_000, 10_020)]
        outcomes = await asyncio.wait_for(asyncio.gather(*later, return_exceptions=True), 5)
        assert all(isinstance(outcome, StoreUnwritable) for outcome in outcomes)
        for number in range(kept):
            assert keeper.reader.get(f"k{number}", "")
        assert keeper.count("a/b").answers == kept
        return kept

    return asyncio.run(work())


def test_an_error_while_writing_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    keeper = AnswerWriter(path)
    monkeypatch.setattr(Store, "put", broken)
    with closing(keeper):
        assert fails_with(keeper, r"answers.sqlite cannot be written \(disk I/O error\)") == 0


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Store):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self._db.execute("PRAGMA max_page_count=60")

    monkeypatch.setattr(kto_keeper, "Store", Full)
    with closing(AnswerWriter(path)) as keeper:
        assert 5 < fails_with(keeper, "database or disk is full") < 60


LIMITED = """
import resource, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[3:]
import yaml, kto.texts
kto.texts.load = lambda: yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from test_writer import AnswerWriter, fails_with
keeper = AnswerWriter(Path(sys.argv[2]))
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
print(fails_with(keeper, "cannot be written"))
keeper.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="files cannot be limited there")
def test_a_file_that_the_system_does_not_let_grow(path: Path) -> None:
    texts = TEMPLATE.parent / "languages" / "en.yaml"
    command = [sys.executable, "-B", "-c", LIMITED, str(texts), str(path), str(TEMPLATE), str(Path(__file__).parent)]
    command.append(str(PARTS))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert 5 < int(done.stdout) < 100
    with Store(path) as store:
        assert store.count() >= int(done.stdout)


def test_a_store_that_cannot_be_opened_again_is_known_before_anybody_is_asked(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Store] = []

    def once(path: Path) -> Store:
        if opened:
            raise UserError("bad_store", path=path, reason="too many open files")
        opened.append(Store(path))
        return opened[0]

    monkeypatch.setattr(kto_keeper, "Store", once)
    with pytest.raises(UserError, match="too many open files"):
        AnswerWriter(path)
    with pytest.raises(sqlite3.ProgrammingError):  # the first one is closed
        opened[0].get("k1")


def test_an_answer_that_no_file_takes_leaves_nobody_waiting(path: Path) -> None:
    async def work() -> None:
        with pytest.raises(StoreUnwritable):
            await asyncio.wait_for(keeper.put(entry(1, "\ud83d")), 10)

    keeper = AnswerWriter(path)
    run(path, work(), keeper)


def test_tallies(path: Path) -> None:
    keeper = AnswerWriter(path)

    async def work() -> None:
        for number in range(3):
            await keeper.put(entry(number))
            await keeper.settle("a/b", "", "")
        await keeper.put(NewAnswer("k9", "a/b", [], {}, Answer("", "")))  # of a server that counts nothing
        await keeper.settle("a/b", "k9", "No luck.")
        await keeper.settle("other", "k8", "No luck.")
        await keeper.pay("a/b", 0.5, 0.25)

    run(path, work(), keeper)
    tally = keeper.count("a/b")
    assert (tally.answers, tally.settled, tally.answered, tally.cost) == (4, 4, 3, 0.25)
    assert (tally.prompt_tokens, tally.completion_tokens, tally.seconds) == (9, 12, 1.5)
    assert tally.failures == Counter({"No luck.": 1}) and keeper.failures == {"k9": "No luck.", "k8": "No luck."}
    assert keeper.count("other").answered == 0 and set(keeper.counts) == {"a/b", "other"}


class Purse:
    """Requests that cost what they are told, and check each other."""

    def __init__(self, keeper: AnswerWriter, most: float) -> None:
        self.keeper, self.most = keeper, most
        self.in_flight = 0
        self.reserved = self.spent = 0.0
        self.refused: list[float] = []

    async def request(self, price: float, share: float, turns: int) -> None:
        await asyncio.sleep(0)
        try:
            await self.keeper.reserve(price)
        except BudgetExceeded:
            assert self.in_flight == 0  # otherwise there might be money left
            self.refused.append(self.spent + price)
            return
        self.in_flight += 1
        self.reserved += price
        assert self.spent + self.reserved <= self.most * (1 + 1e-9)
        for _ in range(turns):
            await asyncio.sleep(0)
        self.in_flight -= 1
        self.reserved -= price
        self.spent += price * share
        await self.keeper.pay("m", price, price * share)


REQUESTS = st.lists(st.tuples(st.floats(0, 10), st.sampled_from([0, 0.1, 0.5, 1]), st.integers(0, 9)), max_size=30)


@given(REQUESTS, st.floats(0, 40))
@with_settings(deadline=None)
def test_never_is_more_spent_than_may_be(shared: Path, requests: list, most: float) -> None:
    keeper = AnswerWriter(shared, most)
    purse = Purse(keeper, most)

    async def work() -> None:
        tasks = [asyncio.create_task(purse.request(*request)) for request in requests]
        _, waiting = await asyncio.wait(tasks, timeout=2) if tasks else (None, None)
        assert not waiting
        for task in tasks:
            task.result()

    run(shared, work(), keeper)
    assert all(price > most * (1 - 1e-9) for price in purse.refused)
    assert keeper.count("m").cost == pytest.approx(purse.spent)


def test_those_who_wait_go_on_when_others_turn_out_cheaper(path: Path) -> None:
    keeper = AnswerWriter(path, 10)

    async def work() -> None:
        await keeper.reserve(6)
        waiting = [asyncio.create_task(keeper.reserve(4.5)) for _ in range(2)]
        await settle_down()
        assert not any(task.done() for task in waiting)
        await keeper.pay("m", 6, 0.5)
        await settle_down()
        assert all(task.done() for task in waiting)
        last = asyncio.create_task(keeper.reserve(4))
        await keeper.pay("m", 4.5, 4.5)
        await settle_down()
        assert not last.done()
        await keeper.pay("m", 4.5, 4.5)
        with pytest.raises(BudgetExceeded, match="--max-cost"):
            await last
        await keeper.reserve(0.5)  # a cheaper model can still be asked

    run(path, work(), keeper)


def test_without_a_limit_nobody_waits(path: Path) -> None:
    keeper = AnswerWriter(path)

    async def work() -> None:
        for _ in range(100):
            await keeper.reserve(random.random() * 1e6)
        await keeper.pay("m", 5, 2)

    run(path, work(), keeper)
    assert keeper.count("m").cost == 2
