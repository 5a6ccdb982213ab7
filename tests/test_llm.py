"""The changed `OpenAILLM`: one request after the other, against a server that fails in every way."""

import email.utils
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from generating import TEMPLATE
from hypothesis import HealthCheck, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from kto import llm
from kto.llm import StoredLLM
from kto.store import Store
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english", "quick")
assert TEMPLATE

Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llm, "_FIRST_WAIT", 0.05)
        yield


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def ask(server: ModelServer, tmp_path: Path) -> Iterator[Ask]:
    """Ask the server for answers to prompts, with a fresh model of the given settings and one store."""
    used = []

    def ask(prompts: list[str], **fields: Any) -> list[dict[str, Any]]:
        given = {"concurrency": 8, "attempts": 2, "timeout": 5, "model": "acme/one", "max_retries": 0} | fields
        model = StoredLLM(
            request_model=given["model"], base_url=server.url, api_key="x", store=str(tmp_path / "a.sqlite"), **given
        )
        model.load()
        used.append(model)
        inputs = [[{"role": "user", "content": prompt}] for prompt in prompts]
        return model.generate(inputs=inputs, max_new_tokens=9, temperature=0.5)

    yield ask
    for model in used:
        model.unload()


def test_a_limit_that_many_share_costs_no_answer(server: ModelServer, ask: Ask) -> None:
    """Five requests pass in each fifth of a second, the others get 429: with two attempts all answers come."""
    windows: dict[int, int] = {}

    def limited(body: dict) -> Any:
        window = int(time.monotonic() * 5)
        windows[window] = windows.get(window, 0) + 1
        return "yes" if windows[window] <= 5 else (429, {})

    server.reply = limited
    outputs = ask([f"Prompt {number}" for number in range(60)], concurrency=20)
    assert [output["generations"] for output in outputs] == [["yes"]] * 60
    assert len(server.chats) > 60


def test_a_limit_that_nobody_passes_ends_the_model(server: ModelServer, ask: Ask) -> None:
    server.fail(status=429)
    began = time.monotonic()
    outputs = ask([f"Prompt {number}" for number in range(50)], timeout=1, concurrency=2)
    assert 1 < time.monotonic() - began < 20  # every prompt by itself would take 25 s and more
    assert all(output["generations"] == [None] and "too many requests" in output["failure"][0] for output in outputs)
    assert len({chat.prompt for chat in server.chats}) == 2


def test_retry_after_holds_for_every_request_of_the_model(server: ModelServer, ask: Ask) -> None:
    server.fail("a", status=503, headers={"Retry-After": "1"}, times=1)
    outputs = ask(["a", "b", "c"], concurrency=1)
    assert all(output["generations"][0] for output in outputs)
    first, *later = server.chats
    assert [chat.prompt for chat in server.chats] == ["a", "a", "b", "c"]
    assert all(chat.at - first.at >= 1 for chat in later)


def test_waits_grow(server: ModelServer, ask: Ask) -> None:
    server.fail(status=500)
    ask(["a"], attempts=5)
    times = [chat.at for chat in server.chats]
    waits = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(waits) == 4
    assert all(0.5 * 0.05 * 2**number <= wait < 1.5 * 0.05 * 2**number + 0.5 for number, wait in enumerate(waits))


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
def test_what_will_fail_again_is_not_repeated(server: ModelServer, ask: Ask, status: int) -> None:
    server.fail("a", status=status)
    bad, good = ask(["a", "b"], attempts=4)
    assert bad["generations"] == [None] and str(status) in bad["failure"][0] and good["generations"][0]
    assert server.asked("a") == 1


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "does not accept your key (The test wants 401.)"),
        (402, "wants to be paid"),
        (403, "does not let you use this model"),
        (429, "wait for 86400 seconds"),
        (503, "wait for 86400 seconds"),
    ],
)
def test_a_refusal_ends_the_requests_for_the_model(server: ModelServer, ask: Ask, status: int, sentence: str) -> None:
    server.fail(status=status, headers={"Retry-After": "86400"} if status in (429, 503) else {})
    outputs = ask([f"Prompt {number}" for number in range(40)], concurrency=3, attempts=4)
    assert all(output["generations"] == [None] and sentence in output["failure"][0] for output in outputs)
    assert 1 <= len(server.chats) <= 3


def test_a_server_that_goes_away_is_not_waited_for(server: ModelServer, ask: Ask) -> None:
    def leave(body: dict) -> str:
        if len(server.chats) == 30:
            threading.Thread(target=server.close).start()
        return "yes"

    server.reply = leave
    outputs = ask([f"Prompt {number}" for number in range(200)], concurrency=4, attempts=2)
    assert 20 <= sum(output["generations"] == ["yes"] for output in outputs) < 60
    lost = [output["failure"][0] for output in outputs if output["generations"] == [None]]
    assert all("The connection to the server was lost" in failure for failure in lost)


def test_a_prompt_that_breaks_every_connection_stops_nothing(server: ModelServer, ask: Ask) -> None:
    server.fail("a", drop=True)
    bad, good = ask(["a", "b"], concurrency=1, attempts=3)
    assert bad["generations"] == [None] and good["generations"] == ["acme/one answers: b"] and server.asked("a") == 3


def test_the_timeout_is_that_of_one_attempt(server: ModelServer, ask: Ask) -> None:
    server.fail("a", delay=1.6, times=1)
    [output] = ask(["a"], timeout=1)
    assert output["generations"][0] and server.asked("a") == 2


def test_an_answer_is_kept_under_the_name_that_the_project_uses(server: ModelServer, ask: Ask, tmp_path: Path) -> None:
    [output] = ask(["a"])
    [again] = ask(["a"])
    assert again == output and len(server.chats) == 1
    ask(["a"], weights="of another model in the same folder")
    assert len(server.chats) == 2
    with Store(tmp_path / "a.sqlite") as store:
        assert store.get(output["answer_id"][0]) == ("acme/one answers: a", "stop")


def test_more_in_the_request_is_no_other_request(server: ModelServer, ask: Ask) -> None:
    [output] = ask(["a"], extra_body={"generation_config": '{"do_sample": true}'})
    assert server.chats[0].body["generation_config"] == '{"do_sample": true}'
    assert ask(["a"]) == [output] and len(server.chats) == 1


def test_a_disk_that_is_full_stops_the_model(server: ModelServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Store, "put", full)
    first, *rest = ask(["a", "b", "c"], concurrency=1)
    assert first["generations"] == ["acme/one answers: a"]  # it came, so it reaches the table
    assert all(output["generations"] == [None] and "disk is full" in output["failure"][0] for output in rest)
    assert len(server.chats) == 1


@pytest.mark.parametrize(("content", "text"), [(r"\ud83d", "\ufffd"), (r"\ud83d\udc4d", "👍"), (r"a\u0000b", "a\0b")])
def test_half_a_character_does_no_harm(server: ModelServer, ask: Ask, content: str, text: str) -> None:
    said = {"choices": [{"message": {"content": "CONTENT"}, "finish_reason": "stop"}]}
    server.fail(body=json.dumps(said).replace("CONTENT", content))
    assert ask(["a"])[0]["generations"] == [text]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "message", "content", "error", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([200, 200, 400, 418, 500]))
@with_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_the_server_says_is_an_answer_or_a_gap(server: ModelServer, ask: Ask, said: Any, status: int) -> None:
    server.reply = lambda body: (status, said)
    [output] = ask(["a"], attempts=1)
    [text], [failure] = output["generations"], output["failure"]
    assert (text is None) == bool(failure)
    assert isinstance(text, str | None)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, 0), ("", 0), ("7", 7), ("1.5", 1.5), ("-3", 0), ("soon", 0), ("0", 0), ("inf", 0), ("nan", 0)],
)
def test_retry_after_in_seconds(value: str | None, seconds: float) -> None:
    assert llm._retry_after(value) == seconds


def test_retry_after_as_a_date() -> None:
    assert 8 < llm._retry_after(email.utils.formatdate(time.time() + 10, usegmt=True)) <= 10
    assert llm._retry_after(email.utils.formatdate(time.time() - 10, usegmt=True)) == 0


@given(st.text())
def test_retry_after_of_any_kind(value: str) -> None:
    assert llm._retry_after(value) >= 0
