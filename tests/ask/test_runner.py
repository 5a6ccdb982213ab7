"""One model is asked: against a server that fails in every way, each answer comes once, or a sentence says why not."""

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from generating import DUTCH, ENGLISH, TEMPLATE, keys
from hypothesis import given
from hypothesis import strategies as st
from kto.ask import lookups, runner
from kto.ask.client import ModelClient
from kto.ask.language import UNCHECKED, Gate, LanguageCheck
from kto.ask.language_worker import LanguageWorker
from kto.ask.lookups import Lookup
from kto.ask.runner import ModelRunner
from kto.ask.servers import Server
from kto.ask.store import Answer, NewAnswer, Store, StoredAnswer
from kto.ask.targets import ModelTarget
from kto.ask.writer import AnswerWriter
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english", "quick")

FIRMLY = "Antwoord in het Nederlands."
QUICK = 0.05

Outcome = tuple[StoredAnswer | None, str]
Ask = Callable[..., list[Outcome]]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_FIRST_WAIT", QUICK)
        patch.setattr(runner, "_FIRST_WAIT_FAILED", QUICK / 2)
        patch.setattr(runner, "_FIRST_WAIT_ALONE", QUICK / 4)
        yield


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def dutch() -> Iterator[LanguageWorker]:
    with closing(LanguageWorker("nl", "Latn")) as judge:
        yield judge


def target(**given: Any) -> ModelTarget:
    """Return how the model is asked unless a test says otherwise."""
    fields: dict[str, Any] = {
        "model": "acme/one",
        "public_name": "acme/one",
        "server": None,
        "body": {"model": "acme/one"},
        "arguments": {"max_tokens": 9, "temperature": 0.5},
        "concurrency": 8,
        "max_attempts": 2,
        "timeout": 5,
        "stricter": FIRMLY,
    }
    names = {"again": "language_retries", "attempts": "max_attempts"}
    return ModelTarget(**fields | {names.get(name, name): value for name, value in given.items()})


@pytest.fixture
def ask(server: ModelServer, tmp_path: Path) -> Ask:
    """Ask the server for answers to prompts, with a fresh asker of the given settings, a fresh keeper and one store."""

    def ask(
        prompts: Sequence[str], judge: LanguageWorker | None = None, max_cost: float | None = None, **given: Any
    ) -> list:
        url = given.pop("url", server.url)
        one_target = target(server=Server(url, "key"), **given)
        kinds: Counter[str] = Counter()

        async def work() -> list[Outcome]:
            one = ModelRunner(one_target, keeper, judge)

            async def answer(prompt: str) -> Outcome:
                conversation = [{"role": "user", "content": prompt}]
                kept, failure = await one.answer(conversation, one.look_up(conversation))
                kinds[failure.kind if failure else ""] += 1
                return kept, str(failure or "")

            try:
                async with asyncio.timeout(60):
                    return await asyncio.gather(*[await one.start(answer, prompt) for prompt in prompts])
            finally:
                await one.close()

        with closing(AnswerWriter(tmp_path / "a.sqlite", max_cost)) as keeper:
            outcomes = asyncio.run(work())
        tally = keeper.count("acme/one")
        assert tally.settled == len(prompts)
        assert tally.failures == Counter(failure for _, failure in outcomes if failure)
        ask.tally, ask.kinds = tally, kinds  # type: ignore[attr-defined]
        return outcomes

    return ask


def prompts(number: int) -> list[str]:
    return [f"Prompt {each}" for each in range(number)]


def texts(outcomes: Sequence[Outcome]) -> list[str | None]:
    assert all(kept or failure for kept, failure in outcomes)
    return [kept.answer.text if kept else None for kept, _ in outcomes]


def failures(outcomes: Sequence[Outcome]) -> set[str]:
    return {failure for _, failure in outcomes}


def test_each_prompt_is_asked_once_and_the_server_is_kept_busy(server: ModelServer, ask: Ask) -> None:
    server.latency = 0.05
    outcomes = ask(prompts(100), concurrency=7, body={"model": "one", "generation_config": "{}"})
    assert texts(outcomes) == [f"one answers: Prompt {number}" for number in range(100)] and failures(outcomes) == {""}
    assert {server.asked(prompt) for prompt in prompts(100)} == {1}
    assert server.most_in_flight == 7
    body = {"model": "one", "generation_config": "{}", "max_tokens": 9, "temperature": 0.5}
    assert all(chat.body.items() >= body.items() for chat in server.chats)
    assert ask(prompts(100)) == outcomes and len(server.chats) == 100  # the body is no part of what is asked
    ask(["Prompt 0"], weights="of another model in the same folder")
    assert len(server.chats) == 101


def test_no_place_is_free_before_the_answer_is_on_the_disk(server: ModelServer, ask: Ask, tmp_path: Path) -> None:
    with Store(tmp_path / "a.sqlite") as store:

        def reply(body: dict) -> str:
            # All requests before this one, but for those that were in flight with it, are answered and kept.
            unsafe.append(len(server.chats) - sqlite3.connect(store.path).execute(COUNT).fetchone()[0])
            return "Ja."

        unsafe: list[int] = []
        server.reply = reply
        ask(prompts(60), concurrency=4)
    assert len(unsafe) == 60 and max(unsafe) <= 4


COUNT = "SELECT count(*) FROM answers"


def test_a_limit_that_many_share_costs_no_answer(server: ModelServer, ask: Ask) -> None:
    """Five requests pass in each fifth of a second, the others get 429: with two attempts all answers come."""
    windows: Counter[int] = Counter()

    def limited(body: dict) -> Any:
        window = int(time.monotonic() * 5)
        windows[window] += 1
        return "yes" if windows[window] <= 5 else (429, {})

    server.reply = limited
    assert texts(ask(prompts(60), concurrency=20)) == ["yes"] * 60
    assert len(server.chats) > 60


def test_a_limit_that_nobody_passes_ends_the_model(server: ModelServer, ask: Ask) -> None:
    server.fail(status=429)
    began = time.monotonic()
    outcomes = ask(prompts(50), timeout=1, concurrency=2)
    assert 1 < time.monotonic() - began < 20  # every prompt by itself would take 25 s and more
    assert texts(outcomes) == [None] * 50
    [failure] = failures(outcomes)
    assert "too many requests" in failure and "1 seconds" in failure


def test_retry_after_holds_for_the_request_that_it_is_about(server: ModelServer, ask: Ask) -> None:
    refused = prompts(160)[::40]
    for prompt in refused:  # answers come in between
        server.fail(prompt, status=429, headers={"Retry-After": "4"}, times=1)
    assert failures(ask(prompts(160), concurrency=8)) == {""}
    again = []
    for prompt in refused:
        first, second = (chat.at for chat in server.chats if chat.prompt == prompt)
        assert second - first >= 4
        again.append(second)
    others = [chat.at for chat in server.chats if chat.prompt not in refused]
    assert len(others) == 156 and max(others) < min(again)  # they did not wait


def test_retry_after_holds_for_everybody_when_many_are_refused(server: ModelServer, ask: Ask) -> None:
    began: list[float] = []

    def limited(body: dict) -> Any:
        began.append(time.monotonic())
        return "yes" if began[-1] - began[0] > 1 else (429, {}, {"Retry-After": "1.1"})

    server.reply = limited
    assert texts(ask(prompts(60), concurrency=8)) == ["yes"] * 60
    refused = sum(at - began[0] < 1.1 for at in began)
    assert 3 <= refused <= 8 + 3  # not the other half of those that wait for a place
    assert len(began) == 60 + refused


def test_retry_after_of_a_server_with_one_request_at_a_time(server: ModelServer, ask: Ask) -> None:
    server.fail("Prompt 0", status=503, headers={"Retry-After": "1"}, times=1)
    assert failures(ask(prompts(3), concurrency=1)) == {""}
    first, *later = server.chats
    assert all(chat.at - first.at >= 1 for chat in later)


def test_what_one_trouble_has_cost_does_not_lengthen_the_wait_for_another(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_FIRST_WAIT", 2.0)
    server.fail(status=500, times=3)
    server.fail(status=429, headers={"Retry-After": "0.2"}, times=1)
    assert failures(ask(["a"], attempts=5)) == {""}
    *_, refused, answered = server.chats
    assert 0.2 <= answered.at - refused.at < 1


def test_a_failure_among_answers_is_tried_again_sooner(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_FIRST_WAIT_FAILED", 4.0)
    server.fail("Prompt 0", status=500, delay=0.3, times=1)  # the others take less
    assert failures(ask(prompts(40), concurrency=4)) == {""}
    first, second = (chat.at for chat in server.chats if chat.prompt == "Prompt 0")
    assert second - first < 1


@pytest.mark.parametrize(("fault", "first"), [({"status": 500}, QUICK / 2), ({"status": 502}, QUICK)])
def test_waits_grow(server: ModelServer, ask: Ask, fault: dict, first: float) -> None:
    server.fail(**fault)
    [failure] = failures(ask(["a"], attempts=5))
    assert str(fault["status"]) in failure
    waits = [later.at - earlier.at for earlier, later in itertools.pairwise(server.chats)]
    assert len(waits) == 4
    assert all(0.5 * first * 2**number <= wait < first * 2**number + 0.5 for number, wait in enumerate(waits))


def test_not_everybody_comes_back_at_the_same_moment(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "_FIRST_WAIT", 1.0)
    for prompt in prompts(30):
        server.fail(prompt, status=502, times=1)
    assert failures(ask(prompts(30), concurrency=30)) == {""}
    waits = []
    for prompt in prompts(30):
        first, second = (chat.at for chat in server.chats if chat.prompt == prompt)
        waits.append(second - first)
    assert 0.5 <= min(waits) < 0.7 and 0.8 < max(waits) < 2.5


def test_waits_have_an_end(server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_FIRST_WAIT", 1e-9)
    monkeypatch.setattr(runner, "_LONGEST_WAIT", 1e-9)
    server.fail(status=429, times=1100)
    assert failures(ask(["a"], timeout=60)) == {""}


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
def test_what_will_fail_again_is_not_repeated(server: ModelServer, ask: Ask, status: int) -> None:
    server.fail("a", status=status)
    (bad, failure), good = ask(["a", "b"], attempts=4)
    assert bad is None and str(status) in failure and good[0]
    assert server.asked("a") == 1


@pytest.mark.parametrize("fault", [{"status": 408}, {"status": 500}, {"status": 529}, {"drop": True}, {"body": "<p>"}])
@pytest.mark.parametrize("attempts", [1, 3])
def test_attempts(server: ModelServer, ask: Ask, fault: dict, attempts: int) -> None:
    server.fail("a", **fault)
    server.fail("b", **fault, times=attempts - 1)
    (bad, failure), good, other = ask(["a", "b", "c"], attempts=attempts)
    assert bad is None and failure and good[0] and other[0]
    assert [server.asked(prompt) for prompt in "abc"] == [attempts, attempts, 1]


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (402, "requires payment (The test wants 402.)"),
        (429, "wait 86400 seconds"),
        (503, "wait 86400 seconds"),
    ],
)
def test_a_refusal_ends_the_requests_for_the_model(server: ModelServer, ask: Ask, status: int, sentence: str) -> None:
    for prompt in prompts(40)[10:]:
        server.fail(prompt, status=status, headers={"Retry-After": "86400"} if status in (429, 503) else {})
    outcomes = ask(prompts(40), concurrency=3, attempts=4)
    assert all(texts(outcomes)[:10]) and not any(texts(outcomes)[10:])
    [failure] = failures(outcomes[10:])
    assert sentence in failure
    assert 11 <= len(server.chats) <= 13


@pytest.mark.parametrize(
    ("status", "sentence"),
    [(401, "does not accept your key (The test wants 401.)"), (403, "does not let you use this model")],
)
@pytest.mark.parametrize("answered", [0, 10])
def test_a_key_that_is_refused_ends_the_model_soon(
    server: ModelServer, ask: Ask, status: int, sentence: str, answered: int
) -> None:
    for prompt in prompts(100)[answered:]:
        server.fail(prompt, status=status)
    outcomes = ask(prompts(100), concurrency=3, attempts=4)
    assert all(texts(outcomes)[:answered]) and not any(texts(outcomes)[answered:])
    [failure] = failures(outcomes[answered:])
    assert sentence in failure
    # Besides the ten in a row: what failed before the last answer came (many on a busy machine), and what was sent.
    assert answered + 10 <= len(server.chats) <= answered + 40


def test_a_server_that_goes_away_is_not_waited_for(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = ModelClient.complete
    sent = 0

    async def counted(self: ModelClient, body: dict) -> Answer:
        nonlocal sent
        sent += 1
        return await complete(self, body)

    def leave(body: dict) -> str:
        if len(server.chats) >= 30:
            server._stop.set()  # as close() does, at once
        return "yes"

    monkeypatch.setattr(ModelClient, "complete", counted)
    server.reply = leave
    outcomes = ask(prompts(200), concurrency=2, attempts=2)
    assert 20 <= texts(outcomes).count("yes") < 40
    assert failures(outcomes) == {"", "The connection to the server was lost."}
    assert sent - texts(outcomes).count("yes") <= 2 * 2 * 3  # attempts of those under way, and of a few more


def test_a_prompt_that_breaks_every_connection_stops_nothing(server: ModelServer, ask: Ask) -> None:
    server.fail("a", drop=True)
    bad, good = ask(["a", "b"], concurrency=1, attempts=3)
    assert bad == (None, "The connection to the server was lost.") and server.asked("a") == 3
    assert texts([good]) == ["acme/one answers: b"]


@pytest.mark.parametrize(("concurrency", "fewest"), [(4, 10), (20, 20)])
@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"body": "<p>"}])
def test_many_gaps_in_a_row_end_the_model(
    server: ModelServer, ask: Ask, concurrency: int, fewest: int, fault: dict
) -> None:
    server.fail(**fault)
    outcomes = ask(prompts(200), concurrency=concurrency, attempts=2)
    assert texts(outcomes) == [None] * 200 and len(failures(outcomes)) == 1
    asked = len({chat.prompt for chat in server.chats})
    assert fewest <= asked <= fewest + 2 * concurrency
    assert len(server.chats) <= 2 * asked


def test_a_model_that_takes_nothing_ends_later(server: ModelServer, ask: Ask) -> None:
    server.fail(status=404)
    outcomes = ask(prompts(300), concurrency=4)
    assert texts(outcomes) == [None] * 300 and 100 <= len(server.chats) <= 100 + 2 * 4


def test_bad_prompts_do_not_hide_the_good_ones_behind_them(server: ModelServer, ask: Ask) -> None:
    for prompt in prompts(200)[:60]:
        server.fail(prompt, status=400)
    assert sum(map(bool, texts(ask(prompts(200), concurrency=4)))) == 140


def test_who_waits_gives_up_when_the_model_ends(server: ModelServer, ask: Ask) -> None:
    server.fail("a", status=429, headers={"Retry-After": "5"})
    server.fail("b", status=402, delay=0.2)
    began = time.monotonic()
    assert texts(ask(["a", "b"], concurrency=2, timeout=30)) == [None, None]
    assert time.monotonic() - began < 4


def test_gaps_here_and_there_end_nothing(server: ModelServer, ask: Ask) -> None:
    for prompt in prompts(200)[::2]:
        server.fail(prompt, status=400)
    outcomes = ask(prompts(200), concurrency=4)
    assert len(server.chats) == 200 and sum(map(bool, texts(outcomes))) == 100


def test_the_timeout_is_that_of_one_attempt(server: ModelServer, ask: Ask) -> None:
    server.fail("a", delay=1.6, times=1)
    [(kept, _)] = ask(["a"], timeout=1)
    assert kept and server.asked("a") == 2


def test_an_answer_is_kept_as_it_was_asked_for(server: ModelServer, ask: Ask, tmp_path: Path) -> None:
    [(kept, _)] = ask(["a"])
    with Store(tmp_path / "a.sqlite") as store:
        [key] = keys(store)
        assert key == target().key([{"role": "user", "content": "a"}])
        assert store.get(key) == kept and kept and kept.answer[:2] == ("acme/one answers: a", "stop")


def test_a_disk_that_is_full_stops_the_model(server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Store):
        def __init__(self, path: Path) -> None:
            super().__init__(path)
            self._db.execute("PRAGMA max_page_count=40")

    monkeypatch.setattr("kto.ask.writer.Store", Full)
    server.reply = lambda body: "lang " * 1000
    outcomes = ask(prompts(200), concurrency=3)
    kept = sum(map(bool, texts(outcomes)))
    assert 5 < kept < 40 and len(server.chats) <= kept + 3
    [failure] = failures(outcomes) - {""}
    assert "a.sqlite cannot be written (database or disk is full)" in failure
    monkeypatch.undo()
    assert all(texts(ask(prompts(200)))) and len(server.chats) <= 203  # and what was kept is there


def test_trouble_of_any_other_kind_stays_with_its_prompt(
    server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete = ModelClient.complete

    async def broken(self: ModelClient, body: dict) -> Answer:
        if body["messages"][0]["content"] == "a":
            raise ZeroDivisionError("division by zero " * 100)
        return await complete(self, body)

    monkeypatch.setattr(ModelClient, "complete", broken)
    (bad, failure), good = ask(["a", "b"])
    assert bad is None and good[0] and good[1] == ""
    assert (
        failure.startswith("Something unexpected happened (ZeroDivisionError: division by zero") and len(failure) < 300
    )


def test_never_is_more_billed_than_may_be(server: ModelServer, ask: Ask) -> None:
    """Requests that may cost up to 10 cents and a bit cost 2: nearly all the money can be used."""
    billed: list[float] = []

    def reply(body: dict) -> Any:
        billed.append(0.02)
        usage = {"prompt_tokens": 10, "completion_tokens": 1}
        return 200, {"choices": [{"message": {"content": "Ja."}}], "usage": usage}

    server.reply, server.latency = reply, 0.01
    outcomes = ask(prompts(100), max_cost=1, prices=(0.001, 0.01), concurrency=16)
    assert 0.8 < sum(billed) <= 1
    assert sum(map(bool, texts(outcomes))) == len(billed) and ask.tally.cost == pytest.approx(sum(billed))  # type: ignore[attr-defined]
    assert failures(outcomes) == {"", "Another answer might cost more than --max-cost allows."}


@pytest.mark.parametrize(
    ("fault", "share"), [({"status": 400}, 0), ({"status": 500}, 0), ({"drop": True}, 1), ({"status": 502}, 1), ({}, 1)]
)
def test_what_is_not_known_to_be_cheaper_counts_in_full(server: ModelServer, ask: Ask, fault: dict, share: int) -> None:
    if fault:
        server.fail(**fault)
    ask(["a"], prices=(0.001, 0.01), attempts=1)
    most = (1 + runner._FRAME) * 0.001 + 9 * 0.01
    assert ask.tally.cost == pytest.approx(share * most)  # type: ignore[attr-defined]


def test_a_server_that_is_not_there_costs_nothing(server: ModelServer, ask: Ask) -> None:
    server.close()
    outcomes = ask(prompts(5), prices=(1, 1), attempts=3, max_cost=1000)
    assert failures(outcomes) == {"The connection to the server was lost."} and ask.tally.cost == 0  # type: ignore[attr-defined]


def in_english(times: dict[str, int]) -> Callable[[dict], str]:
    """Answer in English so many times, then in Dutch; the number of the answer is part of it."""
    given: Counter[str] = Counter()

    def reply(body: dict) -> str:
        prompt = body["messages"][-1]["content"].split("\n")[0]
        given[prompt] += 1
        return f"{ENGLISH if given[prompt] <= times[prompt] else DUTCH} ({given[prompt]})"

    return reply


@pytest.mark.parametrize("again", [0, 1, 2])
def test_an_answer_in_the_wrong_language_is_asked_for_again(
    server: ModelServer, ask: Ask, dutch: LanguageWorker, tmp_path: Path, again: int
) -> None:
    server.reply = in_english({"never": 0, "once": 1, "twice": 2, "always": 9})
    asked = ["never", "once", "twice", "always"]
    outcomes = ask(asked, judge=dutch, again=again)
    sent = {prompt: min(count, again) + 1 for prompt, count in zip(asked, [0, 1, 2, 9], strict=True)}
    for prompt, text in zip(asked, texts(outcomes), strict=True):
        right = {"never": 0, "once": 1, "twice": 2, "always": 9}[prompt] <= again
        assert text == f"{DUTCH if right else ENGLISH} ({sent[prompt]})"
        chats = [chat.body["messages"] for chat in server.chats if chat.prompt.split("\n")[0] == prompt]
        contents = [prompt] + [f"{prompt}\n\n{FIRMLY}"] * again
        assert chats == [[{"role": "user", "content": content}] for content in contents][: sent[prompt]]
    assert failures(outcomes) == {""} and {kept.check.language for kept, _ in outcomes if kept and kept.check}
    with Store(tmp_path / "a.sqlite") as store:
        assert store.count() == len(server.chats) == sum(sent.values())
        verdicts = Counter(store.get(key, dutch.gate.name).check.verdict for key in keys(store))
    rights = sum(count <= again for count in [0, 1, 2, 9])
    assert verdicts == {"right": rights, "wrong": len(server.chats) - rights}
    assert ask(asked, judge=dutch, again=again) == outcomes
    assert len(server.chats) == sum(sent.values())  # everything was there


def test_a_firm_request_that_fails_leaves_the_first_answer(
    server: ModelServer, ask: Ask, dutch: LanguageWorker
) -> None:
    server.reply = in_english({"a": 1})
    server.fail(f"a\n\n{FIRMLY}", status=400, times=1)
    [(kept, failure)] = ask(["a"], judge=dutch, again=1)
    assert kept and kept.answer.text == f"{ENGLISH} (1)" and "400" in failure
    [(kept, failure)] = ask(["a"], judge=dutch, again=1)  # another run goes on there
    assert kept and kept.answer.text == f"{DUTCH} (2)" and not failure and server.asked("a") == 1


@pytest.mark.parametrize("text", [DUTCH, ENGLISH])
@pytest.mark.parametrize("there", [0, 1, 2])
def test_a_store_that_holds_one_try_only(
    server: ModelServer, ask: Ask, dutch: LanguageWorker, tmp_path: Path, text: str, there: int
) -> None:
    """A store that was made again from a table has only the answers that counted."""
    conversation = [{"role": "user", "content": "a"}]
    key = target(language_retries=2).key(conversation, there)
    with Store(tmp_path / "a.sqlite") as store:
        judgement = dutch.gate.check(text)
        store.put([NewAnswer(key, "acme/one", [], {}, Answer(text, "stop"))], [(dutch.gate.name, key, judgement)])
    server.reply = lambda body: ENGLISH + "!"
    [(kept, failure)] = ask(["a"], judge=dutch, again=2)
    enough = text == DUTCH or there == 2
    assert failure == "" and kept and kept.answer.text == (text if enough else ENGLISH + "!")
    assert len(server.chats) == (0 if enough else 2 - there)  # what comes before that one is of no use any more


def test_without_a_judge_every_answer_will_do(server: ModelServer, ask: Ask) -> None:
    server.reply = lambda body: ENGLISH
    assert texts(ask(["a"], again=2)) == [ENGLISH] and len(server.chats) == 1


KEPT = st.builds(
    StoredAnswer,
    st.builds(Answer, st.text(max_size=3), st.just("stop")),
    st.none() | st.builds(LanguageCheck, st.sampled_from(["right", "wrong", "unchecked"]), st.just(""), st.just(0.5)),
)


@given(st.lists(st.none() | KEPT, min_size=1, max_size=4))
def test_which_try_counts_and_when_it_is_enough(found: list[StoredAnswer | None]) -> None:
    wrong = [bool(kept and kept.check and kept.check.verdict == "wrong") for kept in found]
    good = [number for number, kept in enumerate(found) if kept and not wrong[number]]
    bad = [number for number, kept in enumerate(found) if kept and wrong[number]]
    looked_up = [Lookup(kept) for kept in found]
    assert lookups.chosen(looked_up) == (good[0] if good else bad[-1] if bad else None)
    assert lookups.is_missing(looked_up) != (bool(good) or found[-1] is not None)
    assert [lookups.is_wrong(kept) for kept in found] == wrong


@given(st.text(), st.text(), st.integers(0, 4), st.booleans())
def test_every_try_has_a_key_of_its_own(prompt: str, firmly: str, again: int, system: bool) -> None:
    before = [{"role": "system", "content": "s"}] if system else []
    conversation = [*before, {"role": "user", "content": "".join(prompt.encode("ascii", "ignore").decode())}]
    firmly = firmly.encode("ascii", "ignore").decode()
    tried = target(stricter=firmly, language_retries=again)
    keys = [tried.key(conversation, number) for number in tried.requests]
    assert len(set(keys)) == len(keys) == again + 1
    assert keys[0] == target(stricter="").key(conversation)  # the instruction does not matter to the first
    assert tried.messages(conversation, 0) == conversation
    for number in range(1, again + 1):
        assert tried.messages(conversation, number)[:-1] == before
        assert tried.messages(conversation, number)[-1]["content"] == f"{conversation[-1]['content']}\n\n{firmly}"


def test_distilabel_asks_through_it(server: ModelServer, tmp_path: Path) -> None:
    from kto.ask.pipeline import StoredLLM

    async def work(model: StoredLLM) -> list[dict]:
        model.load()
        model.start()
        assert model.model_name == "acme/one" and isinstance(model.runner, ModelRunner)
        prompts = [[{"role": "user", "content": prompt}] for prompt in "abc"]
        outputs = await asyncio.to_thread(model.generate_outputs, inputs=prompts)
        await model.runner.close()
        return outputs

    server.reply = in_english({"a": 1, "b": 0})
    server.fail("c", status=400)
    asked = target(
        server=Server(server.url, "geheim"), body={"model": "one"}, concurrency=2, max_attempts=1, language_retries=1
    )
    expected = [f"{DUTCH} (2)", f"{DUTCH} (1)", None]
    for passes in (1, 2):
        with (
            closing(AnswerWriter(tmp_path / "a.sqlite")) as writer,
            closing(LanguageWorker("nl", "Latn")) as language,
        ):
            outputs = asyncio.run(work(StoredLLM(target=asked, sink=writer, language=language)))
            process = language._process
        assert [output["generations"] for output in outputs] == [[text] for text in expected]
        assert [bool(reason) for reason in writer.failures.values()] == [True]
        assert process and process.returncode is not None
        assert len(server.chats) == 3 + passes
    assert {chat.headers["authorization"] for chat in server.chats} == {"Bearer geheim"}
    assert {chat.model for chat in server.chats} == {"one"}


ANSWERS = [DUTCH, ENGLISH, "Ja.", "", "\0", "👍" * 50, f"{DUTCH}\n{ENGLISH}", "\ufeff\u2028" * 30, "x " * 5000]


def judged(judge: LanguageWorker, answers: Sequence[str]) -> list[LanguageCheck]:
    async def work() -> list[LanguageCheck]:
        return await asyncio.wait_for(asyncio.gather(*(judge.check(answer, "Hoe gaat het?") for answer in answers)), 60)

    return asyncio.run(work())


def test_the_judge_says_what_the_gate_says(dutch: LanguageWorker) -> None:
    expected = [Gate("nl", "Latn").check(answer, "Hoe gaat het?") for answer in ANSWERS]
    assert {verdict for verdict, _, _ in expected} == {"right", "wrong", "unchecked"}
    assert judged(dutch, ANSWERS * 30) == expected * 30


def test_the_judge_goes_on_when_its_process_is_killed(dutch: LanguageWorker) -> None:
    expected = [dutch.gate.check(answer, "Hoe gaat het?") for answer in ANSWERS]
    with closing(LanguageWorker("nl", "Latn")) as judge:
        assert judged(judge, ANSWERS) == expected
        judge._process.kill()
        assert judged(judge, ANSWERS * 3) == expected * 3
        assert judged(judge, ANSWERS) == expected
    assert judge._process.returncode is not None
    with closing(LanguageWorker("nl", "Latn")) as judge:
        judge._process.kill()  # before it has begun
        assert judged(judge, ANSWERS) == expected


def test_an_answer_that_breaks_the_gate_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = Gate.check

    def broken(self: Gate, answer: str, prompt: str = "") -> LanguageCheck:
        if answer == "bad":
            raise RecursionError
        return judge(self, answer, prompt)

    monkeypatch.setattr(Gate, "check", broken)
    with closing(LanguageWorker("nl", "Latn")) as here:
        here._process.kill()
        right, bad, wrong = judged(here, [DUTCH, "bad", ENGLISH])
        assert (right.verdict, bad, wrong.verdict) == ("right", UNCHECKED, "wrong")


def test_who_does_not_wait_any_more_does_no_harm() -> None:
    async def leave(judge: LanguageWorker) -> None:
        asked = [asyncio.create_task(judge.check(DUTCH, "")) for _ in range(9)]
        await asyncio.sleep(0)
        for task in asked[:-1]:
            task.cancel()
        assert (await asyncio.wait_for(asked[-1], 30)).verdict == "right"
        asked.append(asyncio.create_task(judge.check(DUTCH, "")))
        await asyncio.sleep(0)  # and the loop ends

    with closing(LanguageWorker("nl", "Latn")) as judge:
        asyncio.run(leave(judge))
        assert judged(judge, [DUTCH])[0].verdict == "right"


PARENT = """
import asyncio, sys, time
sys.path.insert(0, sys.argv[1])
from kto.ask.language_worker import LanguageWorker
judge = LanguageWorker("nl", "Latn")
if sys.argv[2] == "True":
    asyncio.run(judge.check("Hallo", ""))
print(judge._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the process is looked up in /proc")
@pytest.mark.parametrize("ready", [False, True])
def test_the_judge_ends_with_us_even_if_we_are_killed(ready: bool) -> None:
    command = [sys.executable, "-B", "-c", PARENT, str(TEMPLATE), str(ready)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        stat = Path(f"/proc/{parent.stdout.readline().strip()}/stat")
        assert stat.exists()
        parent.kill()
    deadline = time.monotonic() + 60
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)
