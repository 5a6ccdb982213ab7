"""check.py against the stand-in Hub."""

import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from generating import check as check_here
from generating import generate, run, use
from model_server import ModelServer
from odd_hub import odd_hub
from standin_hub import TOKEN, StandinHub, User, chat_model
from tiny_models import make_tiny_model

pytest_plugins = ["generating_fixtures"]


@pytest.fixture
def hub() -> Iterator[StandinHub]:
    with StandinHub() as hub:
        hub.models |= {
            "acme/small-chat": chat_model({"together": {}, "groq": {}}, parameters=500_000_000),
            "acme/small-chat-2": chat_model({"groq": {}}),
            "acme/small-chat-3": chat_model({"groq": {"status": "error"}}),
            "acme/small-base": chat_model({"together": {"task": "text-generation"}}),
            "acme/asks-first": chat_model({"together": {}}, gated="manual", parameters=7_000_000_000),
            "acme/off": chat_model({"together": {}}, disabled=True),
            "acme/unknown-size": chat_model({"together": {}}, usedStorage=3_000_000_000),
        }
        yield hub
        assert not hub.unexpected


def check(project: Path, hub: StandinHub | None, tmp_path: Path, *models: str, token: str | None = TOKEN, **settings):
    given = {"inference": "huggingface"} | ({"models": list(models)} if models else {}) | settings
    use(project, "generation", **given)
    return check_here(project, hub.env(tmp_path / "hub", token) if hub else {})


def test_everything_can_be_used(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    done = check(project, hub, tmp_path, "acme/small-chat", "acme/small-chat-2:groq", "acme/small-chat:cheapest")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Everything can be used." in done.stdout and "mine.jsonl: 5" in done.stdout
    assert not hub.router.chats  # no model was asked anything


def test_all_problems_are_told_with_what_to_take_instead(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    bad = {
        "acme/small-chats": "is not on the Hub, or it is private",
        "acme/small-base": "is not served for conversations by any provider now",
        "acme/small-chat-3": "is not served for conversations by any provider now",
        "acme/small-chat-2:together": "is not served by together now. Leave the provider out, or choose one of",
        "acme/off": "is switched off on the Hub",
        "what is this": "is not on the Hub",
    }
    done = check(project, hub, tmp_path, *bad, "acme/asks-first", "acme/small-chat")
    assert done.returncode == 1 and "Everything" not in done.stdout
    problems = done.stderr.splitlines()[1:]
    assert len(problems) == len(bad)
    for (model, reason), problem in zip(bad.items(), problems, strict=True):
        assert problem.startswith(f"  - {model} {reason}")
    assert problems[3].endswith("one of these: groq")
    assert problems[0].endswith("These are close to it: acme/small-chat, acme/small-chat-2")
    assert "acme/small-chat-3" not in "".join(problem.partition("close to it:")[2] for problem in problems)
    assert f"{hub.url}/acme/asks-first" in done.stdout


@pytest.mark.parametrize("token", [None, TOKEN])
def test_models_to_run_on_this_machine(project: Path, hub: StandinHub, tmp_path: Path, token: str | None) -> None:
    make_tiny_model(project / "models" / "own", steps=0)
    shutil.copytree(project / "models" / "own", project / "models" / "no chat")
    (project / "models" / "no chat" / "chat_template.jinja").unlink()
    hub.models["acme/granted"] = chat_model(gated="auto", granted=["ann"], parameters=1_000_000_000)
    names = ["acme/small-chat-3", "acme/small-chat", "acme/unknown-size", "acme/granted", "acme/asks-first"]
    names += ["models/own", "models/no chat", "models/absent"]
    done = check(project, hub, tmp_path, *names, inference="local", token=token)
    assert "acme/small-chat: a download of about 1.0 GB, and at least 1.2 GB of memory" in done.stdout
    assert "acme/unknown-size: a download of at most 3.0 GB" in done.stdout
    assert "acme/small-chat-3: the Hub does not say how large it is" in done.stdout
    assert ("acme/granted: a download of about 2.0 GB" in done.stdout) == (token is not None)
    problems = done.stderr.splitlines()[1:]
    assert done.returncode == 1 and len(problems) == (3 if token else 4)
    assert "The owners of acme/asks-first want to be asked first, and your token may not read it yet" in done.stderr
    assert f"{hub.url}/acme/asks-first" in done.stderr
    assert "models/absent is not on the Hub" in done.stderr
    assert "no chat there is no chat model" in done.stderr and "models/own" not in done.stderr


def test_a_server_of_your_own(project: Path, tmp_path: Path) -> None:
    with ModelServer(("llama3", "acme/one"), key="right") as server:
        use(project, "generation", base_url=server.url)
        done = check(project, None, tmp_path, "acme/one", "llama-3", inference="openai-compatible")
        assert done.returncode == 1 and "does not let you in (Invalid key.), and no key is set" in done.stderr
        (project / ".env").write_text("OPENAI_API_KEY=wrong\n", encoding="utf-8")
        done = check(project, None, tmp_path, "acme/one", "llama-3", inference="openai-compatible")
        assert done.returncode == 1 and "does not accept your key" in done.stderr
        (project / ".env").write_text("OPENAI_API_KEY=right\n", encoding="utf-8")
        done = check(project, None, tmp_path, "acme/one", "llama-3", inference="openai-compatible")
        assert done.returncode == 1 and "has no model llama-3. It has: llama3, acme/one" in done.stderr
        done = check(project, None, tmp_path, "acme/one", "llama3", inference="openai-compatible")
        assert done.returncode == 0 and done.stderr == ""
    done = check(project, None, tmp_path, "acme/one", inference="openai-compatible")
    assert done.returncode == 1 and "There is no server at" in done.stderr


@pytest.mark.parametrize("trouble", ["offline", "away", "dropped", "slow", "500", "429"])
def test_a_hub_that_does_not_answer(
    project: Path, hub: StandinHub, tmp_path: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {}
    if trouble == "offline":
        extra = {"HF_HUB_OFFLINE": "1"}
    elif trouble == "away":
        extra = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    elif trouble == "dropped":
        hub.fail("/api/models/*", drop=True)
    elif trouble == "slow":
        hub.fail("/api/models/*", delay=30)
    else:
        hub.fail("/api/models/*", int(trouble))
    use(project, "generation", inference="huggingface", models=["acme/small-chat", "acme/small-chat-2"])
    monkeypatch.setattr("kto.hub_lookup.TIMEOUT", 2)
    began = time.monotonic()
    done = check_here(project, hub.env(tmp_path / "hub") | extra)
    assert done.returncode == 1 and time.monotonic() - began < 4
    assert done.stderr.count("gave no answer about acme/small-chat") == 2 and "so it was not checked" in done.stderr
    assert "Everything" not in done.stdout


def test_a_slow_search_takes_nothing_but_the_alternatives(
    project: Path, hub: StandinHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For all models and all words of their names together the Hub has as long as for one question."""
    monkeypatch.setattr("kto.hub_lookup.TIMEOUT", 2)
    hub.fail("/api/models", delay=1.2)
    began = time.monotonic()
    done = check(project, hub, tmp_path, "acme/no-model-of-this-name", "acme/nor-one-of-that-name")
    assert time.monotonic() - began < 4 and done.returncode == 1
    assert done.stderr.count("is not on the Hub") == 2 and "close to it" not in done.stderr


def test_a_hub_that_drips_has_no_more_time(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kto.hub_lookup.TIMEOUT", 1)
    use(project, "generation", inference="huggingface", models=["acme/one"])
    with odd_hub(b'{"id": "' + b"x" * 200, pause=0.3) as url:
        began = time.monotonic()
        done = check_here(project, {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"})
        assert time.monotonic() - began < 3
    assert done.returncode == 1 and "gave no answer about acme/one" in done.stderr


def test_a_mapping_without_content_is_no_provider(project: Path) -> None:
    use(project, "generation", inference="huggingface", models=["acme/odd"])
    with odd_hub(b'{"id": "acme/odd", "tags": null, "inferenceProviderMapping": {"together": null}}') as url:
        done = check_here(project, {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"})
    assert done.returncode == 1 and "acme/odd is not served for conversations by any provider" in done.stderr


def test_a_disabled_model_is_not_taken_for_the_network(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    hub.fail("/api/models/acme/off", status=403, message="Access to this resource is disabled.")
    done = check(project, hub, tmp_path, "acme/off")
    assert done.returncode == 1 and "acme/off is switched off on the Hub" in done.stderr, done.stderr
    assert "network" not in done.stderr


def test_another_name_on_the_hub_is_said(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    hub.models["acme/old-name"] = hub.models["acme/small-chat"] | {"id": "acme/small-chat"}
    hub.models["Acme/Small-Chat"] = hub.models["acme/old-name"]
    done = check(project, hub, tmp_path, "acme/old-name:groq", "Acme/Small-Chat", "acme/small-chat-2")
    assert done.returncode == 0, done.stderr
    for name in ("acme/old-name:groq", "Acme/Small-Chat"):
        assert f"{name} is called acme/small-chat on the Hub now" in done.stdout
    assert done.stdout.count("is called") == 2


def test_what_cannot_chat_here_is_no_local_model(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    unfit = {
        "acme/small-chat-base": ({"tags": ["transformers", "safetensors"]}, "has no chat template"),
        "acme/small-chat-embedding": ({"pipeline_tag": "feature-extraction"}, "but one for feature-extraction"),
        "acme/small-chat-image": ({"pipeline_tag": "text-to-image"}, "but one for text-to-image"),
        "acme/small-chat-gguf": ({"tags": ["gguf", "conversational"], "safetensors": None}, "GGUF files only"),
    }
    hub.models |= {name: chat_model(**fields) for name, (fields, _) in unfit.items()}
    done = check(project, hub, tmp_path, *unfit, "acme/small-chat", inference="local")
    problems = done.stderr.splitlines()[1:]
    assert done.returncode == 1 and len(problems) == len(unfit), done.stderr
    for (name, (_, said)), problem in zip(unfit.items(), problems, strict=True):
        assert problem.startswith(f"  - {name} ") and said in problem
        close = problem.partition("close to it: ")[2].split(", ")
        assert "acme/small-chat-2" in close and not {*close} & {*unfit} - {"acme/small-chat-gguf"}


@pytest.mark.usefixtures("english")
def test_the_token_of_a_login_is_used_and_not_shown(
    project: Path, hub: StandinHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(token))  # from HF_TOKEN_PATH or HF_HOME
    use(project, "generation", router_url=f"{hub.url}/v1")
    hub.router.require_token = True
    done = [check(project, hub, tmp_path, "acme/small-chat", token=None), generate(project, "--yes", "--limit", "1")]
    assert [each.returncode for each in done] == [0, 0], done
    assert {request.user and request.user.name for request in hub.requests} == {"ann"}
    written = [path.read_bytes() for path in project.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in content for content in written)
    assert not any(TOKEN in each.stdout + each.stderr for each in done)
    token.write_bytes(b"\xff\xfe")
    assert "HF_TOKEN is missing" in check(project, hub, tmp_path, "acme/small-chat", token=None).stdout


def test_tokens(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    done = check(project, hub, tmp_path, "acme/small-chat", token=None)
    assert done.returncode == 0 and "HF_TOKEN is missing" in done.stdout
    done = check(project, hub, tmp_path, "acme/small-chat", "acme/small-chat-2", token="hf_wrong")
    assert done.returncode == 1 and done.stderr.count("does not accept your token") == 1
    hub.users["hf_mine"] = User("me")
    hub.models["me/secret"] = chat_model({"together": {}}, private=True)
    (project / ".env").write_text("HF_TOKEN=hf_mine\n", encoding="utf-8")
    assert check(project, hub, tmp_path, "me/secret", token=None).returncode == 0
    assert check(project, hub, tmp_path, "me/secret", token=TOKEN).returncode == 1


def test_the_rest_of_the_project_is_checked_too(project: Path, hub: StandinHub, tmp_path: Path) -> None:
    (project / "prompts" / "mine.jsonl").write_text('{"prompt": ""}\nx\n', encoding="utf-8")
    (project / "prompts" / "system_prompt.txt").unlink()
    texts = (project / "kto" / "texts.yaml").read_text(encoding="utf-8")
    assert '"{language}' in texts or "{language}" in texts
    (project / "kto" / "texts.yaml").write_text(texts.replace("{language}", "{langage}"), encoding="utf-8")
    done = check(project, hub, tmp_path, "acme/absent")
    assert done.returncode == 1
    for part in ("line 1:", "line 2:", "system_prompt.txt", "{langage}", "acme/absent is not on the Hub"):
        assert part in done.stderr
    (project / "kto" / "texts.yaml").write_text("- what\n", encoding="utf-8")
    assert "texts.yaml" in run(project, "check.py").stderr  # which nothing can be said in
    (project / "kto" / "texts.yaml").write_text(texts, encoding="utf-8")
    use(project, "generation", concurrency=0)
    done = check(project, hub, tmp_path)
    assert done.returncode == 1 and "[generation] concurrency = 0" in done.stderr


@pytest.mark.parametrize(("name", "status"), [("ann/questions", 0), ("ann/absent", 1)])
def test_prompts_from_the_hub(project: Path, hub: StandinHub, tmp_path: Path, name: str, status: int) -> None:
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.url, token=TOKEN)
    api.create_repo("ann/questions", repo_type="dataset")
    lines = "".join(json.dumps({"prompt": f"Vraag {number}?"}) + "\n" for number in range(3))
    api.upload_file(
        path_or_fileobj=lines.encode(), path_in_repo="train.jsonl", repo_id="ann/questions", repo_type="dataset"
    )
    use(project, "generation", inference="huggingface", models=["acme/small-chat"], prompts=name)
    done = run(project, "check.py", env=hub.env(tmp_path / "hub"))  # `datasets` reads the address of the Hub once
    assert done.returncode == status and ("no dataset ann/absent" in done.stderr) == bool(status)
    use(project, "generation", inference="openai-compatible")
    with ModelServer(key="right") as server:  # there is no key, so generate.py ends after the prompts
        env = hub.env(tmp_path / "hub")
        done = run(project, "generate.py", "--base-url", server.url, "--limit", "2", env=env)
    assert done.returncode == 1
    assert ("no key is set" if status == 0 else "The dataset ann/absent cannot be read") in done.stderr
