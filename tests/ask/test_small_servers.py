"""Servers that are slow, that are still loading, or that get few connections: all answers come, in one run."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from generating import environment, run, use, write_prompts
from kto.ask import runner
from model_server import ModelServer
from test_runner import Ask, ask, failures, prompts, quick, texts  # noqa: F401

pytest_plugins = ["generating_fixtures"]

LOADING = {
    "llama.cpp": {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
    "inference API": {"error": "Model acme/one is currently loading", "estimated_time": 2.0},
    "endpoint": {"error": "The endpoint is scaled to zero and is being started"},
}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def own(project: Path, server: ModelServer, **settings: object) -> None:
    use(project, "generation", inference="openai-compatible", base_url=server.url, models=["acme/one"], **settings)


def loads(server: ModelServer, said: Mapping[str, Any], seconds: float) -> None:
    """Let the server load its model for so long, from the first request on."""
    began: list[float] = []

    def reply(body: dict) -> Any:
        began.append(time.monotonic())
        return "Ja." if began[-1] - began[0] > seconds else (503, said)

    server.reply = reply


def test_a_server_that_answers_one_at_a_time(project: Path, server: ModelServer) -> None:
    timeout = 1.5
    server.latency = timeout / 4
    server.work_on(1)
    write_prompts(project, prompts(40))
    own(project, server, concurrency=32, timeout=timeout)
    done = run(project, "generate.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert {server.asked(prompt) for prompt in prompts(40)} == {1}  # none was cut off


@pytest.mark.usefixtures("english", "quick")
def test_a_server_that_answers_nothing_in_time_gets_fewer_at_a_time(server: ModelServer, ask: Ask) -> None:  # noqa: F811
    """As one that works on all of them at the same time; that costs no attempt."""
    answer = {"choices": [{"message": {"content": "Ja."}}]}
    server.fail(delay=1.6, times=8, body=json.dumps(answer))
    outcomes = ask(prompts(12), concurrency=8, attempts=1, timeout=1)
    assert failures(outcomes) == {""} and 12 < len(server.chats) <= 8 + 12


@pytest.mark.usefixtures("english", "quick")
def test_a_request_that_the_server_has_lost_does_not_wait_for_the_others(server: ModelServer, ask: Ask) -> None:  # noqa: F811
    server.latency = 0.02
    server.fail("a", delay=30, times=1)
    assert all(texts(ask(["a", *prompts(400)], concurrency=4, timeout=1)))
    first, second = (chat.at for chat in server.chats if chat.prompt == "a")
    assert second - first > 0.5 and server.chats[-1].at > second  # the others were not done yet


@pytest.mark.usefixtures("english", "quick")
def test_a_server_that_never_answers_is_given_up(server: ModelServer, ask: Ask) -> None:  # noqa: F811
    server.fail(delay=60)
    began = time.monotonic()
    outcomes = ask(prompts(40), concurrency=16, attempts=1, timeout=1)
    assert texts(outcomes) == [None] * 40 and time.monotonic() - began < 10
    assert all("no answer within 1 seconds" in failure for failure in failures(outcomes))


@pytest.mark.parametrize("said", LOADING)
@pytest.mark.usefixtures("english", "quick")
def test_a_server_that_is_loading_its_model_is_waited_for(
    server: ModelServer,
    ask: Ask,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    said: str,
) -> None:
    monkeypatch.setattr(runner, "_LOOK_LOADING", 0.1, raising=False)
    monkeypatch.setattr(runner, "_LONGEST_LOOK_LOADING", 0.1, raising=False)
    loads(server, LOADING[said], 1.5)
    outcomes = ask(prompts(20), concurrency=8, attempts=1, timeout=1, prices=(1, 1), max_cost=10_000)
    assert texts(outcomes) == ["Ja."] * 20
    assert len(server.chats) < 20 + 8 + 15  # after the first ones only one at a time looks whether it is there


def test_somebody_who_waits_for_a_model_to_be_loaded_is_told(project: Path, server: ModelServer) -> None:
    server.pages["GET", "/v1/models"] = 503, LOADING["llama.cpp"]
    loads(server, LOADING["llama.cpp"], 3)
    own(project, server, max_attempts=1)
    done = run(project, "generate.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("acme/one: the server is still loading the model.") == 1  # a line every 30 seconds


@pytest.mark.usefixtures("english", "quick")
def test_waiting_for_a_model_has_an_end(
    server: ModelServer,
    ask: Ask,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, seconds in {"_LOOK_LOADING": 0.05, "_LONGEST_LOOK_LOADING": 0.05, "_SAY_LOADING": 0.3}.items():
        monkeypatch.setattr(runner, name, seconds)
    server.reply = lambda body: (503, LOADING["llama.cpp"])
    [failure] = failures(ask(prompts(20), loading_timeout=3))
    assert "has been loading the model for" in failure and "Loading model" in failure
    lines = capsys.readouterr().out.splitlines()
    assert 3 <= len(lines) <= 11 and lines[0].endswith("0 of at most 3 seconds (loading_timeout in settings.toml).")


@pytest.mark.usefixtures("english", "quick")
def test_503_without_such_words_is_no_loading(server: ModelServer, ask: Ask) -> None:  # noqa: F811
    server.fail(status=503, body=json.dumps({"error": "The server is overloaded."}))
    assert "overloaded" in failures(ask(["a"], attempts=2)).pop() and len(server.chats) == 2


def limited(project: Path, files: int) -> subprocess.CompletedProcess[str]:
    """Run generate.py where a process may not have more open files, nor allow itself more."""
    command = [sys.executable, "-c", LIMITED, str(files), str(project / "generate.py")]
    options: dict[str, Any] = {"capture_output": True, "encoding": "utf-8", "timeout": 120, "env": environment()}
    return subprocess.run(command, check=False, **options)


LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
os.execv(sys.executable, [sys.executable, sys.argv[2]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="connections are no files there")
@pytest.mark.parametrize(("files", "models", "concurrency"), [(256, 8, 32), (1024, 1, 1024)])
def test_few_open_files(project: Path, server: ModelServer, files: int, models: int, concurrency: int) -> None:
    server.latency = 0.5
    asked = prompts(8 * 40 // models) if models > 1 else prompts(1100)
    write_prompts(project, asked)
    names = [f"acme/{number}" for number in range(models)]
    own(project, server, concurrency=concurrency)
    use(project, "generation", models=names)
    done = limited(project, files)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert len(server.chats) == len(asked) * models
    assert server.most_in_flight >= (files - 100) // 2
    assert "This system allows few open files" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="connections are no files there")
def test_more_open_files_where_the_system_gives_them(project: Path, server: ModelServer) -> None:
    server.latency = 1.0
    write_prompts(project, prompts(300))
    own(project, server, concurrency=300)
    command = LIMITED.replace("(int(sys.argv[1]), int(sys.argv[1]))", "(int(sys.argv[1]), 1024)")
    done = subprocess.run(
        [sys.executable, "-c", command, "128", str(project / "generate.py")],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert server.most_in_flight == 300 and "few open files" not in done.stdout
