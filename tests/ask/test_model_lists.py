"""What servers say about their models in all their ways: at most a note, for chat decides."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from generating import PROMPTS, run, use
from model_server import ModelServer
from rendering import render

pytest_plugins = ["generating_fixtures"]

LISTS = "GET", "/v1/models"
ERROR = {"error": {"message": "You have insufficient permissions for this operation. Missing scopes: api.model.read"}}
OTHERS = {"object": "list", "data": [{"id": "acme/other"}]}
KINDS: dict[str, tuple[str, tuple[Any, ...], bool]] = {  # name of the model, reply, whether the reply has it
    "401": ("acme/one", (401, ERROR), False),
    "403": ("acme/one", (403, ERROR), False),
    "404": ("acme/one", (404, "404 page not found"), False),
    "405": ("acme/one", (405, {"detail": "Method Not Allowed"}), False),
    "429": ("acme/one", (429, {"error": "Too many requests."}, {"Retry-After": "60"}), False),
    "503": ("acme/one", (503, {"error": {"message": "Loading model"}}), False),
    "500": ("acme/one", (500, "<html>"), False),
    "a page": ("acme/one", (200, "<!doctype html><title>Welcome</title>"), False),
    "odd": ("acme/one", (200, {"data": {"acme/one": {}}}), False),
    "odder": ("acme/one", (200, {"data": [{"x": 1}, None, 7]}), False),
    "a number": ("acme/one", (200, "7"), False),
    "has_more": ("acme/one", (200, OTHERS | {"has_more": True, "last_id": "acme/other"}), False),
    "next": ("acme/one", (200, OTHERS | {"next": "/v1/models?page=2"}), False),
    "a bare list": ("acme/one", (200, [{"id": "acme/one"}, {"id": "acme/other"}]), True),
    "a list of names": ("acme/one", (200, ["acme/one"]), True),
    "Ollama": ("llama3.2", (200, {"object": "list", "data": [{"id": "llama3.2:latest"}]}), True),
    "Gemini": ("gemini-3-flash", (200, {"data": [{"id": "models/gemini-3-flash"}]}), True),
    "Gemini itself": ("gemini-3-pro", (200, {"models": [{"name": "models/gemini-3-pro"}]}), True),
    "router": ("acme/one:together", (200, {"data": [{"id": "acme/one"}]}), True),
}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, ModelServer]]:
    with contextlib.ExitStack() as stack:
        servers = {kind: stack.enter_context(ModelServer()) for kind in KINDS}
        for kind, (_, reply, _) in KINDS.items():
            servers[kind].pages[LISTS] = reply
        yield servers


@pytest.fixture(scope="module")
def asked(servers: dict[str, ModelServer], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What check.py and generate.py say in a project that has all these servers."""
    project = render(tmp_path_factory.mktemp("lists"), inference="openai-compatible")
    use(project, "generation", models=[f"of {kind}" for kind in KINDS], base_url="http://127.0.0.1:9/v1")
    with (project / "settings.toml").open("a", encoding="utf-8") as file:
        for kind, (name, _, _) in KINDS.items():
            file.write(f'\n[models."of {kind}"]\nbase_url = "{servers[kind].url}"\nname = "{name}"\n')
    return {
        script: run(project, script, *more)
        for script, more in {"check.py": (), "generate.py": ("--limit", "2")}.items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_chat_decides(servers: dict[str, ModelServer], asked: dict[str, Any], kind: str) -> None:
    checked, url = asked["check.py"], servers[kind].url
    assert url not in checked.stderr
    assert (f"The server at {url} does not say which models it has" in checked.stdout) != KINDS[kind][2]
    assert len(servers[kind].chats) == 2 and {chat.model for chat in servers[kind].chats} == {KINDS[kind][0]}


def test_all_of_them_are_fine(asked: dict[str, Any]) -> None:
    for done in asked.values():
        assert (done.returncode, done.stderr) == (0, "")


def test_a_list_that_lacks_the_model_is_a_problem(project: Path) -> None:
    lists = {
        "acme/other": OTHERS,
        "–": {"object": "list", "data": None},  # Ollama, as long as it has none
        "acme/one:7b": {"data": [{"id": "acme/one:7b"}]},
    }
    with contextlib.ExitStack() as stack, (project / "settings.toml").open("a", encoding="utf-8") as file:
        for name, reply in lists.items():
            server = stack.enter_context(ModelServer())
            server.pages[LISTS] = 200, reply
            file.write(f'\n[models."for {name}"]\nbase_url = "{server.url}"\nname = "acme/one"\n')
        file.flush()
        use(project, "generation", inference="openai-compatible", models=[f"for {name}" for name in lists])
        done = run(project, "check.py")
    assert done.returncode == 1
    problems = done.stderr.splitlines()[1:]
    assert [problem.partition(" has no model acme/one. It has: ")[2] for problem in problems] == list(lists)


@pytest.mark.parametrize(("script", "status"), [("check.py", 403), ("generate.py", 401)])
def test_a_key_that_may_not_even_chat_is_refused_at_once(project: Path, script: str, status: int) -> None:
    with ModelServer(key="right") as server:
        server.pages[LISTS] = status, ERROR
        use(project, "generation", inference="openai-compatible", base_url=server.url)
        done = run(project, script, env={"OPENAI_API_KEY": "wrong"})
        assert done.returncode == 1 and f"The server at {server.url} does not accept your key." in done.stderr
        assert not server.chats


@pytest.mark.parametrize(
    ("script", "other"),
    [
        ("generate.py", (404, "404 page not found")),  # Ollama
        ("check.py", (404, {"detail": "Not Found"})),  # vLLM
        ("generate.py", (200, {"error": "Unexpected endpoint or method. (POST /chat/completions)"})),  # LM Studio
        ("generate.py", (405, "<!doctype html><title>Open WebUI</title>")),
    ],
)
def test_an_address_without_v1(project: Path, script: str, other: tuple) -> None:
    with ModelServer(("acme/one", "acme/two")) as server:
        server.pages |= {("GET", "/models"): other, ("POST", "/chat/completions"): other}
        url = server.url.removesuffix("/v1")
        use(project, "generation", inference="openai-compatible", base_url=url)
        done = run(project, script)
        assert done.returncode == 1 and f"{url} does not answer like a model server" in done.stderr
        assert "it usually ends in /v1" in done.stderr and "Missing" not in done.stdout
        assert not server.chats and len(PROMPTS) == 5


def test_a_list_without_end(project: Path) -> None:
    use(project, "generation", inference="openai-compatible", models=["acme/one"])
    with ModelServer() as server:
        server.pages[LISTS] = 200, "[" * 99_999
        use(project, "generation", base_url=server.url)
        done = run(project, "check.py")
    assert done.returncode == 0 and "does not say which models it has" in done.stdout


def test_a_server_that_does_not_know_the_model_is_one_all_the_same(project: Path) -> None:
    """Some answer 404 to a request without a model."""
    from kto.ask.servers import Server, model_list

    with ModelServer() as server:
        server.pages[LISTS] = 404, {"error": "not found"}
        server.pages["POST", "/v1/chat/completions"] = 404, {"error": {"message": "model '' not found"}}
        assert model_list(Server(server.url)) is None
