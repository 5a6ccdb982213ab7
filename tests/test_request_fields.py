"""Servers that want other fields: what is sent, what is kept, and what people read all the same."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from generating import TEMPLATE, run, use, write_prompts
from hypothesis import given
from hypothesis import strategies as st
from kto import request_fields
from kto.error_body import ErrorBody
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
        said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        return refusal(400, said, "max_tokens")
    if body.get("temperature", 1) != 1:
        said = "Unsupported value: 'temperature' does not support 0.3 with this model. Only the default (1) is supported."
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


@pytest.fixture
def own(rendered: Path, tmp_path: Path) -> Path:
    """A project with one model, some settings for it and a system prompt."""
    project = Path(shutil.copytree(rendered, tmp_path / "project"))
    use(project, "generation", models=["acme/one"], prompts="prompts/mine.jsonl", concurrency=4, attempts=1)
    write_prompts(project, PROMPTS)
    (project / "prompts" / "system_prompt.txt").write_text(f"{SYSTEM}\n", encoding="utf-8")
    with (project / "project.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[models."acme/one"]\n{FIELDS}')
    return project


def table(project: Path) -> list[dict]:
    return pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()


def sent(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in ("model", "messages")}


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_wants_other_fields(own: Path, server: ModelServer, kind: str) -> None:
    server.reply, refused, fields = SERVERS[kind]
    done = run(own, "generate.py", "--base-url", server.url)
    assert done.returncode == 0, done.stdout + done.stderr
    conversation = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ""}]
    rows = table(own)
    for prompt, row in zip(PROMPTS, rows, strict=True):
        conversation[1]["content"] = prompt
        merged = [{"role": "user", "content": f"{SYSTEM}\n\n{prompt}"}]
        asked = [chat.body for chat in server.chats if prompt in chat.prompt.split("\n")]
        assert sent(asked[-1]) == fields and len(asked) <= len(refused) + 1
        assert asked[-1]["messages"] == (merged if refused == ["system"] else conversation)
        # People read the prompt alone, and the table says what was sent.
        assert row["input"] == prompt and row["system_prompt"] == SYSTEM and row["generations"] == ["Yes."]
        assert row["generation_prompt"] == [conversation]
        assert json.loads(row["sent"][0]) == fields | ({"messages": merged} if refused == ["system"] else {})
    # Those in flight together are refused together; then it is known, and said once.
    assert len(server.chats) <= len(PROMPTS) + 4 * len(refused)
    told = [line for line in done.stdout.splitlines() if line.startswith("acme/one") and "unsupported = [" in line]
    assert len(told) == len(refused) and all(any(f'["{name}"]' in line for line in told) for name in refused)

    # Nothing is asked again, also when the server takes something else now, and where only the table is left.
    asked, server.reply = len(server.chats), lambda body: "Something else."
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0 and table(own) == rows
    for file in (own / "data").glob("answers.sqlite*"):
        file.unlink()
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0 and table(own) == rows
    assert len(server.chats) == asked


def test_what_a_server_does_not_take_can_be_said_beforehand(own: Path, server: ModelServer) -> None:
    with (own / "project.toml").open("a", encoding="utf-8") as file:
        file.write('unsupported = ["max_tokens", "temperature", "system", "seed"]\n')
    done = run(own, "generate.py", "--base-url", server.url)
    assert done.returncode == 0 and "unsupported" not in done.stdout, done.stdout + done.stderr
    fields = {"max_completion_tokens": 1024, "top_p": 0.9, "top_k": 5}
    assert len(server.chats) == len(PROMPTS) and all(sent(chat.body) == fields for chat in server.chats)
    assert sorted(chat.prompt for chat in server.chats) == sorted(f"{SYSTEM}\n\n{prompt}" for prompt in PROMPTS)

    # The answers are known by the settings, so they are there also without this one.
    text = (own / "project.toml").read_text(encoding="utf-8")
    (own / "project.toml").write_text(text.replace("unsupported = ", "# unsupported = "), encoding="utf-8")
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0 and len(server.chats) == len(PROMPTS)

    (own / "project.toml").write_text(text.replace('"seed"]', '"sede"]'), encoding="utf-8")
    done = run(own, "generate.py", "--base-url", server.url)
    assert done.returncode == 1 and "unsupported = sede cannot be used; use names of what is sent: max_tok" in done.stderr


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
    assert old.column_names[-1] == "sent"
    pq.write_table(old.drop_columns(["sent"]), path)
    for file in (own / "data").glob("answers.sqlite*"):
        file.unlink()
    assert run(own, "generate.py", "--base-url", server.url).returncode == 0 and len(server.chats) == len(PROMPTS)
    new = pq.read_table(path)
    assert new.drop_columns(["sent"]).equals(old.drop_columns(["sent"]))
    assert new["sent"].to_pylist() == [[None]] * len(PROMPTS) and new.schema.field("sent").type == pa.list_(pa.string())


CONVERSATION = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi"}]
BODY = {"model": "m", "max_tokens": 9, "temperature": 0.5, "seed": 1, "user": "me", "messages": CONVERSATION}


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("System role not supported", "system"),
        ("Template error: invalid operation: System role not supported (in <string>:1)", "system"),
        ("System role is not supported by this model.", "system"),
        ("This model doesn't support system messages. Try again without a system message.", "system"),
        ("The model does not support the system role", "system"),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "system"),
        ('Unexpected role "system". The Messages API accepts a top-level `system` parameter.', "system"),
        ("Invalid role: system", "system"),
        ("role 'system' is not allowed", "system"),
        ("Conversation roles must alternate user/assistant/user/assistant/...", "system"),
        ("Only user and assistant roles are supported!", "system"),
        ("Only user, assistant and tool roles are supported, got system.", "system"),
        ("Developer instruction is not enabled for models/gemma-3-1b-it", "system"),
        ("[{'loc': ['body', 'messages', 0, 'role'], 'msg': \"Input should be 'user' or 'assistant'\"}]", ""),
        ("messages.0.role: Input should be 'user' or 'assistant'", "system"),
        ("The role of the first message must be user", "system"),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("Unrecognized request argument supplied: max_tokens", "max_tokens"),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", ""),
        ("'max_tokens' must be less than 4096", ""),
        ("temperature is deprecated for this model", "temperature"),
        ("property 'seed' is unsupported", "seed"),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', "seed"),
        ("Unrecognized request argument supplied: seed", "seed"),
        ("Additional properties are not allowed ('user' was unexpected)", "user"),
        ("The immune system was not supported by the message.", ""),
        ("Your prompt about the solar system was blocked, because it is not safe.", ""),
        ("The file system is full. Invalid state.", ""),
        ("Internal Server Error", ""),
        ("The seed bank is closed", ""),
        ("", ""),
    ],
)
def test_which_field_an_error_is_about(words: str, field: str) -> None:
    found = request_fields.refused_field(ErrorBody(words), BODY, ())
    assert found == (field or ("system" if "'loc'" in words else ""))


def test_the_field_that_a_server_names_by_itself_comes_first() -> None:
    said = ErrorBody("System role not supported, temperature must be 1", param="seed")
    assert request_fields.refused_field(said, BODY, ()) == "seed"
    assert request_fields.refused_field(ErrorBody("no", param="messages"), BODY, ()) == ""
    renamed = request_fields.without(BODY, {"max_tokens"})
    words = "Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead."
    assert request_fields.refused_field(ErrorBody(words), renamed, {"max_tokens"}) == ""  # or there were no limit


@given(st.sets(st.sampled_from(["max_tokens", "temperature", "seed", "user", "system", "top_p", "other"])))
def test_a_request_always_has_a_limit_and_the_whole_prompt(refused: set[str]) -> None:
    body = request_fields.without(BODY, refused)
    assert body["model"] == "m" and body.get("max_tokens", body.get("max_completion_tokens")) == 9
    assert not body.keys() & (refused - {"system"})
    said = "\n\n".join(message["content"] for message in body["messages"])
    assert said == f"{SYSTEM}\n\nHi" and len(body["messages"]) == (1 if "system" in refused else 2)
    assert BODY["messages"] == [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi"}]


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=20))
def test_no_words_of_a_server_break_anything(words: str, prompt: str, param: str) -> None:
    body = BODY | {"messages": [CONVERSATION[0], {"role": "user", "content": prompt}]}
    assert request_fields.refused_field(ErrorBody(words, param=param), body, ()) in ("", "system", *BODY)
