"""Replies that look like answers and are none, or that one prompt gets alone: what generate.py makes of them."""

import email.utils
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from generating import run, use, write_prompts
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]

PRICE = {"providers": [{"provider": "acme", "status": "live", "pricing": {"input": 1.0, "output": 4.0}}]}  # per million
MODERATED = '{"error": {"code": 403, "message": "Your input was flagged.", "metadata": {"reasons": ["violence"]}}}'
FIREWALL = "<html><head><style>p {}</style><title>403 Forbidden</title></head><body><h1>Blocked</h1></body></html>"


def broken(reason: str, **choice: Any) -> str:
    return json.dumps({"choices": [{"message": {"content": "The half of"}, "finish_reason": reason} | choice]})


def error(**said: Any) -> str:
    return json.dumps({"error": said})


PASSING: dict[str, dict[str, Any]] = {
    # Each of these is there for the first request only.
    "finish_reason error": {"body": broken("error")},
    "finish_reason ERROR": {"body": broken("ERROR")},
    "finish_reason abort": {"body": broken("abort")},
    "finish_reason failed": {"body": broken("failed")},
    "an error in the choice": {"body": broken("stop", error={"code": 502, "message": "The provider is gone."})},
    "an error beside half of an answer": {
        "body": json.dumps({"error": {"code": 500, "message": "No."}} | json.loads(broken("stop")))
    },
    "status 424": {"status": 424},
    "status 498": {"status": 498},
}
LIMITS: dict[str, str] = {
    # Each of these is there twice, which is as often as other trouble may come: "too many requests" uses up no attempt.
    "a number": error(code=429, message="Slow down."),
    "a number in a text": error(code="429", message="Slow down."),
    "a word": error(type="rate_limit_error", message="Slow down."),
    "in a list": f"[{error(code=429, message='Slow down.', status='RESOURCE_EXHAUSTED')}]",
    "a page": "<html><title>429 Too Many Requests</title></html>",
}
LASTING: dict[str, tuple[str, int, str]] = {
    # reply with status 200 → how often it is asked for with two attempts, and what the gap says
    "400": (error(code=400, message="No such field."), 1, "The server answered 400 (No such field.)."),
    "a known word": (error(type="invalid_request_error", message="No."), 1, "The server answered 400 (No.)."),
    "503": (error(status=503, message="Too busy."), 2, "The server answered 503 (Too busy.)."),
    "FastAPI": ('{"detail": "The model is busy."}', 2, "is not an answer (The model is busy.)."),
    "old vLLM": ('{"object": "error", "message": "Too long.", "code": 400}', 1, "The server answered 400 (Too long.)."),
    "plain text": ("upstream connect error", 2, "is not an answer (upstream connect error)."),
    "plain text with a status": ("Error 502: bad gateway", 2, "The server answered 502 (Error 502: bad gateway)."),
    "HTML": ("<html><body><h1>Sorry &amp; goodbye</h1></body></html>", 2, "is not an answer (Sorry & goodbye)."),
    "HTML with a status": (
        "<html><head><title>503 Service Unavailable</title></head></html>",
        2,
        "The server answered 503 (503 Service Unavailable).",
    ),
    "finish_reason abort, always": (broken("abort"), 2, "is not an answer (finish_reason: abort)."),
    "an error in the choice, always": (
        broken("error", error={"code": 502, "message": "Gone."}),
        2,
        "The server answered 502 (Gone.).",
    ),
}

Result = tuple[ModelServer, dict[str, str | None], dict[str, dict[str, Any]]]


def project_with(rendered: Path, folder: Path, prompts: list[str], **settings: Any) -> Path:
    project = Path(shutil.copytree(rendered, folder))
    use(project, "generation", models=["acme/one"], prompts="prompts/mine.jsonl", **({"concurrency": 4} | settings))
    write_prompts(project, prompts)
    return project


def table(project: Path) -> list[dict]:
    return pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()


def gaps(project: Path) -> dict[str, dict[str, Any]]:
    path = project / "data" / "generations" / "gaps.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {gap["input"]: gap for gap in map(json.loads, lines)}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture(scope="module")
def result(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Result]:
    """What comes of all of them, with two attempts for each prompt."""
    with ModelServer() as server:
        for prompt, fault in PASSING.items():
            server.fail(prompt, **fault, times=1)
        for prompt, body in LIMITS.items():
            server.fail(prompt, body=body, times=2)
        for prompt, (body, _, _) in LASTING.items():
            server.fail(prompt, body=body)
        prompts = [*PASSING, *LIMITS, *LASTING]
        assert len(set(prompts)) == len(PASSING) + len(LIMITS) + len(LASTING)
        folder = tmp_path_factory.mktemp("broken") / "project"
        project = project_with(rendered, folder, prompts, max_attempts=2, concurrency=32)
        run(project, "generate.py", "--base-url", server.url)
        yield server, {row["input"]: row["generations"][0] for row in table(project)}, gaps(project)


@pytest.mark.parametrize("prompt", PASSING)
def test_what_broke_off_is_asked_for_again(result: Result, prompt: str) -> None:
    server, answers, _ = result
    assert answers[prompt] == f"acme/one answers: {prompt}" and server.asked(prompt) == 2


@pytest.mark.parametrize("prompt", LIMITS)
def test_too_many_requests_inside_a_reply_with_status_200(result: Result, prompt: str) -> None:
    server, answers, _ = result
    assert answers[prompt] == f"acme/one answers: {prompt}" and server.asked(prompt) == 3


@pytest.mark.parametrize("prompt", LASTING)
def test_an_error_in_a_reply_with_status_200_is_like_the_status_that_it_names(result: Result, prompt: str) -> None:
    server, answers, missing = result
    _, asked, words = LASTING[prompt]
    assert answers[prompt] is None and missing[prompt]["reason"].endswith(words) and server.asked(prompt) == asked
    status = int(words[20:23]) if words.startswith("The server answered ") else 0
    kinds = {0: "invalid_reply", 400: "rejected_request", 502: "unavailable", 503: "unavailable"}
    assert (missing[prompt]["status"], missing[prompt]["kind"]) == (status, kinds[status])


def test_every_name_for_an_answer_that_was_cut(rendered: Path, server: ModelServer, tmp_path: Path) -> None:
    names = ["max_tokens", "MAX_TOKENS", "model_length", "length", "stop"]
    for name in names:
        server.fail(name, body=broken(name))
    project = project_with(rendered, tmp_path / "project", names)
    done = run(project, "generate.py", "--base-url", server.url)
    assert [row["finish_reason"][0] for row in table(project)] == ["length"] * 4 + ["stop"]
    assert "Cut off" in done.stdout
    # An earlier version has kept what the server called it.
    with sqlite3.connect(project / "data" / "answers.sqlite") as database:
        database.execute("UPDATE answers SET finish_reason = 'MAX_TOKENS' WHERE finish_reason = 'length'")
    database.close()
    assert run(project, "generate.py", "--base-url", server.url).returncode == 0 and len(server.chats) == 5
    assert [row["finish_reason"][0] for row in table(project)] == ["length"] * 4 + ["stop"]


@pytest.mark.parametrize("status", [429, 200])
def test_money_that_is_used_up_ends_the_model_with_the_words_of_the_server(
    rendered: Path, server: ModelServer, tmp_path: Path, status: int
) -> None:
    words = "You exceeded your current quota, please check your plan and billing details."
    server.fail(status=status, body=error(code="insufficient_quota", type="insufficient_quota", message=words))
    project = project_with(rendered, tmp_path / "project", [f"Prompt {number}" for number in range(30)], timeout=5)
    done = run(project, "generate.py", "--base-url", server.url)
    assert f"requires payment ({words})" in done.stdout + done.stderr and len(server.chats) <= 8


def test_a_date_is_one_of_the_clock_of_the_server(rendered: Path, server: ModelServer, tmp_path: Path) -> None:
    """The server's clock is an hour ahead of ours, and it wants us to wait for a second."""
    then = time.time() + 3600
    dates = {name: email.utils.formatdate(at, usegmt=True) for name, at in [("Date", then), ("Retry-After", then + 1)]}
    server.fail("later", status=429, headers=dates, times=1)
    project = project_with(rendered, tmp_path / "project", ["now", "later"])
    assert run(project, "generate.py", "--base-url", server.url).returncode == 0
    assert table(project)[1]["generations"] == ["acme/one answers: later"]
    first, second = (chat.at for chat in server.chats if chat.prompt == "later")
    assert 0.9 <= second - first < 10


def test_a_prompt_that_is_refused_alone_is_one_missing_answer(
    rendered: Path, server: ModelServer, tmp_path: Path
) -> None:
    prompts = [f"Prompt {number}" for number in range(60)]
    refused = {
        "Prompt 0": (403, MODERATED, "The server answered 403 (Your input was flagged.)."),
        "Prompt 20": (403, FIREWALL, "does not let you use this model (403 Forbidden Blocked)"),
        "Prompt 21": (403, FIREWALL, "does not let you use this model (403 Forbidden Blocked)"),
        "Prompt 22": (403, FIREWALL, "does not let you use this model (403 Forbidden Blocked)"),
        "Prompt 40": (401, '{"error": {"message": "Try later."}}', "does not accept your key (Try later.)"),
        "Prompt 50": (200, MODERATED, "The server answered 403 (Your input was flagged.)."),
    }
    for prompt, (status, body, _) in refused.items():
        server.fail(prompt, status=status, body=body)
    project = project_with(rendered, tmp_path / "project", prompts)
    done = run(project, "generate.py", "--base-url", server.url, env={"OPENAI_API_KEY": "key"})
    assert done.returncode == 1
    assert [row["input"] for row in table(project) if row["generations"] == [None]] == list(refused)
    missing = gaps(project)
    assert all(words in missing[prompt]["reason"] for prompt, (_, _, words) in refused.items())
    assert [(gap["status"], gap["kind"]) for gap in missing.values()] == [
        (403, "rejected_request"),
        *[(403, "access_denied")] * 3,
        (401, "access_denied"),
        (403, "rejected_request"),
    ]
    assert len(server.chats) == 60


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 200},  # 99 of thoughts
    ],
)
def test_an_answer_that_nobody_counted_costs_what_was_set_aside(
    rendered: Path, tmp_path: Path, usage: dict[str, int]
) -> None:
    with ModelServer(("acme/one",), key="hf_secret") as server:
        server.about, server.usage = {"acme/one": PRICE}, usage
        prompts = [f"Prompt {number}" for number in range(30)]
        settings = {"inference": "huggingface", "router_url": server.url, "max_tokens": 100}
        project = project_with(rendered, tmp_path / "project", prompts, **settings)
        (project / ".env").write_text("HF_TOKEN=hf_secret\n", encoding="utf-8")
        done = run(project, "generate.py", "--max-cost", "0.003")
        # Each answer may have a hundred tokens at $4 per million.
        assert 0 < len(server.chats) * 100 * 4e-6 <= 0.003
        assert done.returncode == 1 and "--max-cost allows" in done.stdout
