"""Servers that want other fields: what is sent, what is kept, and what people read all the same."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generating import TEMPLATE, run, use, write_prompts
from kto.ask.prompt_sources import prompt_id
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]
assert TEMPLATE

SYSTEM = "Answer kindly."
PROMPTS = [f"Prompt {number}" for number in range(12)]
FIELDS = "temperature = 0.3\ntop_p = 0.9\nextra = { seed = 1, top_k = 5 }\n"

Reply = Callable[[dict[str, Any]], Any]


def refusal(status: int, message: str, param: str | None = None) -> tuple[int, Any]:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return status, {"error": {"message": message, "type": kind, "param": param, "code": None}}


def newer_openai(body: dict[str, Any]) -> Any:
    if "max_tokens" in body:
        said = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refusal(400, said, "max_tokens")
    if body.get("temperature", 1) != 1:
        said = (
            "Unsupported value: 'temperature' does not support 0.3 with this model. Only the default (1) is supported."
        )
        return refusal(400, said, "temperature")
    return "Yes."


def without_param(body: dict[str, Any]) -> Any:
    if "top_p" in body:
        return refusal(400, "`temperature` and `top_p` cannot both be specified for this model. Please use only one.")
    return "Yes."


def strict(body: dict[str, Any]) -> Any:
    for name in ("seed", "top_k"):
        if name in body:
            where = {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
            return 422, {"detail": [where]}
    return "Yes."


def no_system(status: int, message: str) -> Reply:
    def reply(body: dict[str, Any]) -> Any:
        return refusal(status, message) if body["messages"][0]["role"] == "system" else "Yes."

    return reply


PLAIN = {"max_tokens": 1024, "temperature": 0.3, "top_p": 0.9, "seed": 1, "top_k": 5}
SERVERS: dict[str, tuple[Reply, list[str], dict[str, Any]]] = {
    # what it does → what it refuses, and what it is sent in the end
    "Ollama": (lambda body: "Yes.", [], PLAIN),
    "newer OpenAI": (
        newer_openai,
        ["max_tokens", "temperature"],
        {"max_completion_tokens": 1024, "top_p": 0.9, "seed": 1, "top_k": 5},
    ),
    "Anthropic": (without_param, ["temperature", "top_p"], {"max_tokens": 1024, "seed": 1, "top_k": 5}),
    "strict": (strict, ["seed", "top_k"], {"max_tokens": 1024, "temperature": 0.3, "top_p": 0.9}),
    "Gemma 2": (no_system(400, "System role not supported"), ["system"], PLAIN),
    "older Mistral": (
        no_system(400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        ["system"],
        PLAIN,
    ),
    "llama.cpp": (
        no_system(500, "Value is not callable: null at row 1: raise_exception('System role not supported')"),
        ["system"],
        PLAIN,
    ),
}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(latency=0.05) as server:
        yield server


def make_project(rendered: Path, folder: Path, models: list[str]) -> Path:
    """Return a project with a system prompt and some settings for each model."""
    project = Path(shutil.copytree(rendered, folder))
    use(project, "generation", models=models, prompts="prompts/mine.jsonl", concurrency=4, max_attempts=1)
    write_prompts(project, PROMPTS)
    (project / "prompts" / "system_prompt.txt").write_text(f"{SYSTEM}\n", encoding="utf-8")
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        file.writelines(f'\n[models."{model}"]\n{FIELDS}' for model in models)
    return project


@pytest.fixture
def own(rendered: Path, tmp_path: Path) -> Path:
    return make_project(rendered, tmp_path / "project", ["acme/one"])


def table(project: Path) -> list[dict]:
    return pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()


def sent(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("model", "messages")}


@dataclass
class Runs:
    """What came of a run that asked all the servers, and of two later ones: with the store, and with the table only."""

    server: ModelServer
    said: str
    rows: list[dict]
    asked: int
    later: list[list[dict]]


@pytest.fixture(scope="module")
def runs(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    project = make_project(rendered, tmp_path_factory.mktemp("servers") / "project", list(SERVERS))
    with ModelServer(latency=0.05) as server:
        server.reply = lambda body: SERVERS[body["model"]][0](body)
        said = run(project, "generate.py", "--base-url", server.url).stdout
        rows, asked = table(project), len(server.chats)
        server.reply = lambda body: "Something else."  # they take everything now
        run(project, "generate.py", "--base-url", server.url)
        later = [table(project)]
        for file in (project / "data").glob("answers.sqlite*"):
            file.unlink()
        run(project, "generate.py", "--base-url", server.url)
        yield Runs(server, said, rows, asked, [*later, table(project)])


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_wants_other_fields(runs: Runs, kind: str) -> None:
    _, refused, fields = SERVERS[kind]
    number = list(SERVERS).index(kind)
    chats = [chat for chat in runs.server.chats[: runs.asked] if chat.model == kind]
    for prompt, row in zip(PROMPTS, runs.rows, strict=True):
        conversation = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
        merged = [{"role": "user", "content": f"{SYSTEM}\n\n{prompt}"}]
        # People read the prompt alone, and the table says what was sent.
        assert row["generations"][number] == "Yes." and row["generation_prompt"][number] == conversation
        assert row["input"] == prompt and row["system_prompt"] == SYSTEM and row["prompt_id"] == prompt_id(prompt)
        asked = [chat.body for chat in chats if prompt in chat.prompt.split("\n")]
        assert sent(asked[-1]) == fields and len(asked) <= len(refused) + 1
        assert asked[-1]["messages"] == (merged if refused == ["system"] else conversation)
        assert json.loads(row["sent"][number]) == fields | ({"messages": merged} if refused == ["system"] else {})
    # Those in flight together are refused together; then it is known, and said once.
    assert len(chats) <= len(PROMPTS) + 4 * len(refused)
    told = [line for line in runs.said.splitlines() if line.startswith(kind) and "unsupported = [" in line]
    assert len(told) == len(refused) and all(any(f'["{name}"]' in line for line in told) for name in refused)


def test_nothing_is_asked_again_when_a_server_takes_something_else(runs: Runs) -> None:
    assert all(answer == "Yes." for row in runs.rows for answer in row["generations"])
    assert len(runs.server.chats) == runs.asked and runs.later == [runs.rows] * 2


def test_what_a_server_does_not_take_can_be_said_beforehand(own: Path, server: ModelServer) -> None:
    with (own / "settings.toml").open("a", encoding="utf-8") as file:
        file.write('unsupported = ["max_tokens", "temperature", "system", "seed"]\n')
    done = run(own, "generate.py", "--base-url", server.url)
    assert done.returncode == 0 and "unsupported" not in done.stdout, done.stdout + done.stderr
    fields = {"max_completion_tokens": 1024, "top_p": 0.9, "top_k": 5}
    assert len(server.chats) == len(PROMPTS) and all(sent(chat.body) == fields for chat in server.chats)
    assert sorted(chat.prompt for chat in server.chats) == sorted(f"{SYSTEM}\n\n{prompt}" for prompt in PROMPTS)

    # The answers are known by the settings, so they are there also without this one.
    text = (own / "settings.toml").read_text(encoding="utf-8")
    (own / "settings.toml").write_text(text.replace("unsupported = ", "# unsupported = "), encoding="utf-8")
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0 and len(server.chats) == len(PROMPTS)

    (own / "settings.toml").write_text(text.replace('"seed"]', '"sede"]'), encoding="utf-8")
    done = run(own, "generate.py", "--base-url", server.url)
    assert (
        done.returncode == 1
        and "unsupported = sede cannot be used; use names of fields that are sent: max_tok" in done.stderr
    )


def test_the_words_of_an_error_may_be_about_something_else(own: Path, server: ModelServer) -> None:
    """A prompt that is refused, and whose refusal speaks of the system role, changes nothing for the others."""
    asked = {"bad": "Why is the system role not supported, and the temperature invalid?", "worse": "Nothing."}
    server.fail(asked["bad"], status=400, body=json.dumps({"error": f"This was blocked: {asked['bad']}"}))
    for prompt in (asked["worse"], f"{SYSTEM}\n\n{asked['worse']}"):
        server.fail(prompt, status=400, body='{"error": "It says that system messages are not supported: blocked."}')
    write_prompts(own, [*asked.values(), *PROMPTS])
    done = run(own, "generate.py", "--base-url", server.url)
    assert done.returncode == 1 and "unsupported" not in done.stdout
    assert [row["input"] for row in table(own) if row["generations"] == [None]] == list(asked.values())
    assert server.asked(asked["bad"]) == server.asked(asked["worse"]) == 1
    others = [chat for chat in server.chats if chat.prompt in PROMPTS]
    assert len(others) == len(PROMPTS) and all(chat.body["messages"][0]["role"] == "system" for chat in others)


def test_a_system_role_that_most_servers_behind_an_address_have_stays(own: Path, server: ModelServer) -> None:
    """Some of the requests get to another server: these alone are asked again."""
    no = no_system(400, "System role not supported")
    server.latency = 0
    server.reply = lambda body: no(body) if body["messages"][-1]["content"] in PROMPTS[6::2] else "Yes."
    use(own, "generation", concurrency=1)
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0
    merged = [chat.prompt for chat in server.chats if chat.prompt not in PROMPTS]
    assert merged == [f"{SYSTEM}\n\n{prompt}" for prompt in PROMPTS[6::2]] and len(server.chats) == 12 + 3


def test_a_table_of_an_earlier_version(own: Path, server: ModelServer) -> None:
    """It lacks the column that says what was sent; the answers in it are there all the same."""
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0
    path = own / "data" / "generations" / "train.parquet"
    old = pq.read_table(path)
    pq.write_table(old.drop_columns(["sent"]), path)
    for file in (own / "data").glob("answers.sqlite*"):
        file.unlink()
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0 and len(server.chats) == len(PROMPTS)
    new = pq.read_table(path)
    assert new.drop_columns(["sent"]).equals(old.drop_columns(["sent"]))
    assert new["sent"].to_pylist() == [[None]] * len(PROMPTS) and new.schema.field("sent").type == pa.list_(pa.string())
