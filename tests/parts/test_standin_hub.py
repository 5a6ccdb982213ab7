"""The real clients against the stand-in for the Hub: they get their answers, and a refusal raises their own errors."""

import inspect
import json
import os
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub
import openai
import pytest
import requests
from huggingface_hub import HfApi, Volume
from huggingface_hub.errors import (
    BadRequestError,
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from standin_hub import TOKEN, StandinHub
from standin_parts import User, chat_model

SPACE: Any = {"repo_id": "ann/room", "repo_type": "space"}
DATA: Any = {"repo_id": "ann/votes", "repo_type": "dataset"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    # This process imported the client long ago: tell it what StandinHub.env tells a new one. (HfApi gets its endpoint;
    # the client's telemetry would ask the real Hub for a list of agents.)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_TELEMETRY", True)
    with StandinHub() as standin:
        yield standin


@pytest.fixture
def api(hub: StandinHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=TOKEN)


@pytest.fixture
def anyone(hub: StandinHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=False)


def elsewhere(function: Callable, hub: StandinHub, home: Path, *args: Any, token: str | None = TOKEN) -> Any:
    """What the function (it imports what it needs) returns in a new process with HF_ENDPOINT and the rest of `env`."""
    code = textwrap.dedent(inspect.getsource(function))
    code += f"\nimport json, sys\nprint(json.dumps({function.__name__}(*json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", code, json.dumps(args)]
    env = {**os.environ, **hub.env(home, token), "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, encoding="utf-8", timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


# --- models ---------------------------------------------------------------------------------------------------------


def test_model_info_tells_what_was_asked_for(hub: StandinHub, api: HfApi) -> None:
    hub.models["acme/chat"] = chat_model({"together": {}, "groq": {"status": "staging"}}, parameters=7_000_000)
    asked = ["inferenceProviderMapping", "inference", "gated", "disabled", "pipeline_tag", "tags", "safetensors"]
    info = api.model_info("acme/chat", expand=[*asked, "usedStorage"], timeout=5)  # type: ignore[list-item]
    mapping = {m.provider: (m.status, m.task, m.provider_id) for m in info.inference_provider_mapping or []}
    assert mapping["together"] == ("live", "conversational", "acme/chat")
    assert mapping["groq"][0] == "staging"
    assert (info.inference, info.gated, info.disabled, info.pipeline_tag) == ("warm", False, False, "text-generation")
    assert info.tags and "conversational" in info.tags
    assert info.safetensors and (info.safetensors.parameters, info.safetensors.total) == ({"BF16": 7000000}, 7000000)
    assert info.used_storage == 14_000_000
    assert info.private is None  # was not asked for


def test_model_info_for_plain_requests(hub: StandinHub) -> None:
    hub.models["acme/cold"] = chat_model({"fal-ai": {"status": "error"}}, disabled=True)
    address = f"{hub.url}/api/models/acme/cold"
    told = requests.get(address, params={"expand": ["inference", "inferenceProviderMapping", "disabled"]}, timeout=5)
    mapping = {"fal-ai": {"providerId": "acme/cold", "status": "error", "task": "conversational"}}
    expected = {"id": "acme/cold", "disabled": True, "inferenceProviderMapping": mapping}  # and no "inference"
    assert {key: value for key, value in told.json().items() if key != "_id"} == expected
    assert "inferenceProviderMapping" not in requests.get(address, timeout=5).json()  # has to be asked for
    assert requests.get(address, params={"expand": "providers"}, timeout=5).status_code == 400
    assert hub.requests[0].query == {"expand": ["inference", "inferenceProviderMapping", "disabled"]}
    assert not hub.unexpected


def test_unknown_model(hub: StandinHub, api: HfApi, anyone: HfApi) -> None:
    for client, status in ((anyone, 401), (api, 404)):
        for name in ("acme/nothing", "gpt2"):
            with pytest.raises(RepositoryNotFoundError) as error:
                client.model_info(name)
            assert error.value.response.status_code == status
            assert not isinstance(error.value, GatedRepoError)
    with pytest.raises(BadRequestError):
        hub.models["acme/chat"] = chat_model()
        api.model_info("acme/chat", expand=["nonsense"])  # type: ignore[list-item]


def test_private_model_is_nobody_elses_business(hub: StandinHub, api: HfApi, anyone: HfApi) -> None:
    hub.models |= {"ann-community/own": chat_model(private=True), "acme/secret": chat_model(private=True)}
    assert api.model_info("ann-community/own").private
    assert [model.id for model in api.list_models()] == ["ann-community/own"]
    for client, name in ((anyone, "ann-community/own"), (api, "acme/secret")):
        with pytest.raises(RepositoryNotFoundError):
            client.model_info(name)


def test_gated_model(hub: StandinHub, api: HfApi, anyone: HfApi, tmp_path: Path) -> None:
    hub.models["acme/gated"] = chat_model({"together": {}}, gated="manual", files={"config.json": b"{}"})
    assert anyone.model_info("acme/gated").gated == "manual"
    for client, status in ((anyone, 401), (api, 403)):
        for ask in (client.auth_check, lambda id, c=client: c.hf_hub_download(id, "config.json", cache_dir=tmp_path)):
            with pytest.raises(GatedRepoError) as error:
                ask("acme/gated")
            assert error.value.response.status_code == status
    hub.models["acme/gated"]["granted"] = ["ann"]
    api.auth_check("acme/gated")
    assert Path(api.hf_hub_download("acme/gated", "config.json", cache_dir=tmp_path)).read_bytes() == b"{}"
    with pytest.raises(HfHubHTTPError):
        api.auth_check("acme/gated", write=True)


def test_disabled_model(hub: StandinHub, api: HfApi) -> None:
    hub.models["acme/gone"] = chat_model(disabled=True, files={"config.json": b"{}"})
    assert api.model_info("acme/gone").disabled
    with pytest.raises(DisabledRepoError):
        api.get_hf_file_metadata(url=huggingface_hub.hf_hub_url("acme/gone", "config.json", endpoint=hub.url))


def test_list_models(hub: StandinHub, api: HfApi) -> None:
    hub.models |= {
        "acme/Chat-7b": chat_model({"together": {}}, downloads=5),
        "acme/chat-70b": chat_model({"groq": {}}, downloads=9, gated="auto"),
        "acme/chat-old": chat_model({"groq": {"status": "error"}}, downloads=99),
        "acme/chat-draw": chat_model({"fal-ai": {"task": "text-to-image"}}, pipeline_tag="text-to-image"),
        "other/writer": chat_model({"groq": {}}),
    }

    def names(**filters: Any) -> list[str]:
        return [model.id for model in api.list_models(**filters)]

    warm = names(search="chat", inference="warm", pipeline_tag="text-generation", sort="downloads")
    assert warm == ["acme/chat-70b", "acme/Chat-7b"]
    assert names(search="chat", inference_provider="groq") == ["acme/chat-70b"]
    assert names(inference_provider=["together", "fal-ai"], sort="likes") == ["acme/Chat-7b", "acme/chat-draw"]
    assert len(names(inference_provider="all")) == 4
    assert names(sort="downloads", limit=1) == ["acme/chat-old"]
    assert names(gated=True) == ["acme/chat-70b"] and names(author="other") == ["other/writer"]
    [model] = api.list_models(author="other", expand=["inferenceProviderMapping"])
    assert [(m.provider, m.status) for m in model.inference_provider_mapping or []] == [("groq", "live")]
    assert not hub.unexpected
    names(num_parameters="min:6B")
    assert "num_parameters" in hub.unexpected[0]


def test_whoami(hub: StandinHub, api: HfApi) -> None:
    who = api.whoami()
    assert (who["name"], who["auth"]["accessToken"]["role"], who["orgs"][0]["name"]) == (
        "ann",
        "write",
        "ann-community",
    )
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")
    with pytest.raises(HfHubHTTPError) as error:  # a wrong token is refused everywhere, also where none is needed
        api.model_info("acme/chat", token="hf_wrong")
    assert error.value.response.status_code == 401 and not isinstance(error.value, RepositoryNotFoundError)
    assert requests.get(f"{hub.url}/api/whoami-v2", timeout=5).status_code == 401
    assert [(call.user and call.user.name, "authorization" in call.headers) for call in hub.requests[:2]] == [
        ("ann", False),
        (None, False),
    ]


# --- trouble --------------------------------------------------------------------------------------------------------


def test_trouble_on_request(hub: StandinHub, api: HfApi) -> None:
    hub.models |= {f"acme/{name}": chat_model() for name in ("429", "500", "503", "slow", "drop", "fine")}
    for status in (429, 500, 503):
        hub.fail(f"/api/models/acme/{status}", status)
        with pytest.raises(HfHubHTTPError) as error:
            api.model_info(f"acme/{status}")
        assert error.value.response.status_code == status
    hub.fail("/api/models/acme/slow", delay=30)
    with pytest.raises(httpx2.TimeoutException):
        api.model_info("acme/slow", timeout=0.2)
    with pytest.raises(requests.Timeout):
        requests.get(f"{hub.url}/api/models/acme/slow", timeout=0.2)
    hub.fail("/api/models/*/drop", drop=True, times=2)
    with pytest.raises(httpx2.RemoteProtocolError):
        api.model_info("acme/drop")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{hub.url}/api/models/acme/drop", timeout=5)
    assert api.model_info("acme/drop").id == "acme/drop"
    everything = hub.fail("*", 503)
    assert requests.get(f"{hub.url}/api/models/acme/fine", timeout=5).status_code == 503
    everything.times = 0
    assert api.model_info("acme/fine").id == "acme/fine"
    hub.fail("/api/models", 429, times=1)  # the client repeats a listing by itself
    assert len(list(api.list_models())) == 6


def test_what_no_route_answers_is_noted(hub: StandinHub) -> None:
    assert requests.get(f"{hub.url}/api/collections", timeout=5).status_code == 404
    assert requests.patch(f"{hub.url}/api/models", timeout=5).status_code == 501
    assert hub.unexpected == ["no route for GET /api/collections"]


def test_a_closed_standin_answers_nobody() -> None:
    with StandinHub() as hub, requests.Session() as session:
        assert session.get(f"{hub.url}/v1/models", timeout=5).ok
        hub.fail("*", delay=60)
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(requests.get, f"{hub.url}/v1/models", timeout=30)
            while len(hub.requests) < 2:
                time.sleep(0.01)
            started = time.monotonic()
            hub.close()
            with pytest.raises(requests.ConnectionError):
                waiting.result()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{hub.url}/v1/models", timeout=5)
        assert time.monotonic() - started < 10


# --- repositories ---------------------------------------------------------------------------------------------------


def test_create_private_dataset(hub: StandinHub, api: HfApi, anyone: HfApi) -> None:
    url = api.create_repo(**DATA, private=True)
    assert (url.repo_id, url.repo_type, str(url)) == ("ann/votes", "dataset", f"{hub.url}/datasets/ann/votes")
    assert hub.repos["datasets/ann/votes"].private
    assert api.dataset_info("ann/votes").private
    with pytest.raises(RepositoryNotFoundError):
        anyone.dataset_info("ann/votes")
    with pytest.raises(HfHubHTTPError) as error:
        api.create_repo(**DATA)
    assert error.value.response.status_code == 409
    assert api.create_repo(**DATA, exist_ok=True).repo_id == "ann/votes"
    assert hub.repos["datasets/ann/votes"].private  # still
    api.update_repo_settings(**DATA, private=False)
    assert anyone.dataset_info("ann/votes").private is False
    assert api.create_repo("unnamed", repo_type="dataset").repo_id == "ann/unnamed"
    assert api.create_repo("ann-community/model").repo_type == "model"


def test_who_may_write(hub: StandinHub, api: HfApi, anyone: HfApi) -> None:
    hub.users |= {"hf_read": User("ann", role="read"), "hf_other": User("bob")}
    api.create_repo(**DATA)

    def status(client: HfApi, call: str, *args: Any, **kwargs: Any) -> int:
        with pytest.raises(HfHubHTTPError) as error:
            getattr(client, call)(*args, **kwargs)
        return error.value.response.status_code

    others = {token: HfApi(endpoint=hub.url, token=token) for token in ("hf_read", "hf_other", "hf_wrong")}
    file = {"path_or_fileobj": b"text", "path_in_repo": "a.txt"}
    for client, expected in ((anyone, 401), (others["hf_wrong"], 401), (others["hf_read"], 403)):
        assert status(client, "create_repo", "ann/new", repo_type="dataset") == expected
        assert status(client, "upload_file", **DATA, **file) == expected
    assert status(others["hf_other"], "create_repo", "ann/new") == 403
    assert status(others["hf_other"], "upload_file", **DATA, **file) == 403
    unsigned = requests.put(f"{hub.url}/lfs-storage/{'0' * 64}", data=b"text", timeout=5)
    assert unsigned.status_code == 403
    assert set(hub.repos) == {"datasets/ann/votes"} and set(hub.repos["datasets/ann/votes"].files) == {".gitattributes"}


def test_files_come_back_as_they_were_sent(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(**DATA)
    sent = {
        "README.md": "---\nlanguage: ar\n---\n# عربي\r\n".encode(),
        "data/train.parquet": os.urandom(5000),
        "data/new/Ünï code.txt": b"a",
    }
    for path, content in sent.items():
        commit = api.upload_file(path_or_fileobj=content, path_in_repo=path, **DATA)
    info = api.dataset_info("ann/votes", files_metadata=True)
    assert info.sha == commit.oid == hub.repos["datasets/ann/votes"].commits[-1].id
    large = next(file for file in info.siblings or [] if file.rfilename == "data/train.parquet")
    assert large.lfs and (large.size, large.lfs.size) == (5000, 5000)
    assert set(api.list_repo_files(**DATA)) == {*sent, ".gitattributes"}
    assert {entry.path for entry in api.list_repo_tree(**DATA, path_in_repo="data")} == {
        "data/new",
        "data/train.parquet",
    }
    assert [entry.path for entry in api.get_paths_info(**DATA, paths=["data/new", "README.md"])] == [
        "data/new",
        "README.md",
    ]
    assert api.list_repo_refs(**DATA).branches[0].target_commit == commit.oid
    for path, content in sent.items():
        assert Path(api.hf_hub_download(**DATA, filename=path, cache_dir=tmp_path)).read_bytes() == content
    part = f"{hub.url}/datasets/ann/votes/resolve/main/README.md"
    assert requests.get(part, headers={"Range": "bytes=2-5"}, timeout=5).content == sent["README.md"][2:6]

    again = api.upload_file(path_or_fileobj=sent["data/train.parquet"], path_in_repo="data/train.parquet", **DATA)
    assert again.oid == commit.oid  # nothing new: the client leaves it
    api.delete_file("README.md", **DATA)
    assert "README.md" not in hub.repos["datasets/ann/votes"].files
    with pytest.raises(EntryNotFoundError):
        api.hf_hub_download(**DATA, filename="README.md", cache_dir=tmp_path)
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(**DATA, path_in_repo="بيانات"))
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info("ann/votes", revision="v9")
    assert api.hf_hub_download(**DATA, filename="README.md", revision=commit.oid, cache_dir=tmp_path)  # history stays
    with pytest.raises(HfHubHTTPError) as stale:
        api.upload_file(path_or_fileobj=b"late", path_in_repo="a.txt", parent_commit=commit.oid, **DATA)
    assert stale.value.response.status_code == 412
    assert not hub.unexpected


def test_xet_is_refused_with_a_hint(hub: StandinHub, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    api.create_repo(**DATA)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(ConnectionError):
        api.upload_file(path_or_fileobj=b"PAR1", path_in_repo="data.parquet", **DATA)
    assert "HF_HUB_DISABLE_XET" in hub.unexpected[0]


# --- Spaces ---------------------------------------------------------------------------------------------------------


def test_create_space_and_upload_its_folder(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    api.create_repo(
        **SPACE,
        space_sdk="docker",
        visibility="private",
        space_secrets=[{"key": "PASSWORD", "value": "dots"}],
        space_variables=[{"key": "WORKSPACE", "value": "argilla"}],
        space_volumes=[Volume(type="bucket", source="ann/votes", mount_path="/data")],
    )
    (tmp_path / "README.md").write_text("---\ntitle: Room\nsdk: docker\n---\n", encoding="utf-8", newline="\n")
    (tmp_path / ".oauth.yaml").write_text("providers: []\n", encoding="utf-8", newline="\n")
    api.upload_folder(**SPACE, folder_path=tmp_path)
    space = hub.repos["spaces/ann/room"]
    assert (space.private, space.secrets, space.variables) == (True, {"PASSWORD": "dots"}, {"WORKSPACE": "argilla"})
    assert space.volumes == [{"type": "bucket", "source": "ann/votes", "mountPath": "/data"}]
    assert set(space.files) == {".gitattributes", "README.md", ".oauth.yaml"}
    info, runtime = api.space_info("ann/room"), api.get_space_runtime("ann/room")
    assert info.sdk == "docker" and info.runtime and info.runtime.stage == runtime.stage == "RUNNING"
    assert runtime.hardware == "cpu-basic" and runtime.volumes and runtime.volumes[0].mount_path == "/data"
    space.stage = "BUILDING"
    assert api.get_space_runtime("ann/room").stage == "BUILDING"

    api.add_space_secret("ann/room", "API_KEY", "stars")
    api.add_space_variable("ann/room", "DATASET", "votes")
    api.set_space_volumes("ann/room", [])
    assert space.secrets == {"PASSWORD": "dots", "API_KEY": "stars"} and space.volumes == []
    assert set(api.get_space_secrets("ann/room")) == {"PASSWORD", "API_KEY"}
    assert api.delete_space_variable("ann/room", "WORKSPACE")["DATASET"].value == "votes"
    answers = requests.get(f"{hub.url}/api/spaces/ann/room/secrets", headers=_bearer(TOKEN), timeout=5).text
    assert "dots" not in answers and not hub.unexpected


def test_docker_space_needs_pro(hub: StandinHub, api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.users[TOKEN].pro = False
    with pytest.raises(HfHubHTTPError, match="PRO subscription") as error:
        api.create_repo(**SPACE, space_sdk="docker")
    assert error.value.response.status_code == 402
    api.create_repo(**SPACE, space_sdk="static")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)  # after a 402 the client 2.4 forgets its own
    assert api.create_repo(**SPACE, space_sdk="docker", exist_ok=True).repo_id == "ann/room"


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


# --- datasets and cards, as another process sees them ---------------------------------------------------------------


def test_dataset_pushed_and_loaded_back(hub: StandinHub, tmp_path: Path) -> None:
    def push_and_load(rows: dict, fewer: dict) -> dict:
        from datasets import Dataset, DatasetDict, load_dataset
        from huggingface_hub import DatasetCard, HfFileSystem

        splits = DatasetDict({name: Dataset.from_dict(columns) for name, columns in rows.items()})
        splits.push_to_hub("ann/votes", private=True)
        loaded = load_dataset("ann/votes")
        back = {name: split.to_dict() for name, split in loaded.items()}
        card = DatasetCard.load("ann/votes")
        card.text += "\nThanks to everybody. شكرا"
        card.data.language = ["ar"]
        card.push_to_hub("ann/votes")
        again = DatasetCard.load("ann/votes")
        Dataset.from_dict(fewer).push_to_hub("ann/votes", "fewer")  # a second configuration beside the first
        names = load_dataset("ann/votes", "fewer", split="train").column_names
        head = HfFileSystem().open("datasets/ann/votes/README.md").read(4).decode()
        return {"back": back, "text": again.text, "language": again.data.language, "names": names, "head": head}

    rows = {
        name: {"prompt": [[{"role": "user", "content": f"{word} {i}"}] for i in range(20)], "label": [True, False] * 10}
        for name, word in (("train", "كيف"), ("test", "hoe"))
    }
    told = elsewhere(push_and_load, hub, tmp_path, rows, {"answer": ["a"]})
    assert told["back"] == rows
    assert "شكرا" in told["text"] and told["language"] == ["ar"] and told["names"] == ["answer"]
    assert told["head"] == "---\n"
    repo = hub.repos["datasets/ann/votes"]
    assert repo.private
    assert {"README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"} <= set(repo.files)
    assert repo.files["data/train-00000-of-00001.parquet"].startswith(b"PAR1")
    assert not hub.unexpected


def test_without_a_token_nothing_is_pushed_or_read(hub: StandinHub, api: HfApi, tmp_path: Path) -> None:
    def try_both() -> list[str]:
        from datasets import Dataset, load_dataset
        from datasets.exceptions import DatasetNotFoundError
        from huggingface_hub.errors import HfHubHTTPError

        tries = {
            "push": lambda: Dataset.from_dict({"a": [1]}).push_to_hub("ann/new"),
            "load": lambda: load_dataset("ann/votes"),
        }
        said = []
        for attempt in tries.values():
            try:
                said.append(str(attempt()))
            except (HfHubHTTPError, DatasetNotFoundError) as error:
                said.append(type(error).__name__)
        return said

    api.create_repo(**DATA, private=True)
    assert elsewhere(try_both, hub, tmp_path, token=None) == ["HfHubHTTPError", "DatasetNotFoundError"]
    assert set(hub.repos) == {"datasets/ann/votes"}


def test_card_is_validated(hub: StandinHub, api: HfApi) -> None:
    api.create_repo(**DATA)
    with pytest.warns(UserWarning, match="empty or missing yaml metadata"):
        api.upload_file(path_or_fileobj=b"# No front matter", path_in_repo="README.md", **DATA)
    hub.card_errors = ['"language[0]" must only contain lowercase characters']
    with pytest.raises(ValueError, match="lowercase"):
        api.upload_file(path_or_fileobj=b"---\nlanguage: EN\n---\n", path_in_repo="README.md", **DATA)


# --- the router -----------------------------------------------------------------------------------------------------


def ask(hub: StandinHub, model: str, text: str, key: str = TOKEN, **more: Any) -> Any:
    with openai.OpenAI(base_url=f"{hub.url}/v1", api_key=key, max_retries=0, timeout=20) as client:
        return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def test_chat(hub: StandinHub) -> None:
    price = {"pricing": {"input": 0.1, "output": 0.3}, "context_length": 8192}
    hub.models["acme/chat"] = chat_model({"together": price, "groq": {"status": "staging"}})
    hub.models["acme/draw"] = chat_model({"fal-ai": {"task": "text-to-image"}})
    said = ask(hub, "acme/chat:fastest", "hoe gaat het?")
    assert said.choices[0].message.content == "acme/chat:fastest: hoe gaat het?"
    assert (said.choices[0].finish_reason, said.usage.prompt_tokens, said.usage.total_tokens) == ("stop", 3, 7)
    cut = ask(hub, "acme/chat:together", "hoe gaat het?", max_tokens=2).choices[0]
    assert (cut.finish_reason, cut.message.content) == ("length", "acme/chat:together: hoe")
    hub.router.reply = lambda body: "نعم"
    assert ask(hub, "acme/chat", "x").choices[0].message.content == "نعم"
    assert len(hub.router.chats) == 3

    [listed] = requests.get(f"{hub.url}/v1/models", timeout=5).json()["data"]
    assert listed["id"] == "acme/chat" and listed["providers"] == [
        {"provider": "together", "status": "live", "is_model_author": False, **price}
    ]
    for model, code in (
        ("acme/none", "model_not_found"),
        ("acme/chat:groq", "model_not_supported"),
        ("acme/draw", "model_not_supported"),
    ):
        with pytest.raises(openai.BadRequestError) as error:
            ask(hub, model, "x")
        assert error.value.code == code
    assert len(hub.router.chats) == 3


def test_chat_refused(hub: StandinHub) -> None:
    hub.models["acme/chat"] = chat_model({"together": {}})
    with pytest.raises(openai.AuthenticationError):
        ask(hub, "acme/chat", "x", key="hf_wrong")
    assert requests.post(f"{hub.url}/v1/chat/completions", json={"model": "acme/chat"}, timeout=5).status_code == 401
    hub.router.prompt_status = {"breaks": 500, "too fast": 429}
    with pytest.raises(openai.InternalServerError):
        ask(hub, "acme/chat", "breaks")
    with pytest.raises(openai.RateLimitError):
        ask(hub, "acme/chat", "too fast")
    hub.router.require_token, hub.router.any_model = False, True
    assert ask(hub, "tiny", "x", key="none at all").choices[0].message.content == "tiny: x"


def test_many_chats_at_once(hub: StandinHub) -> None:
    hub.models["acme/chat"] = chat_model({"together": {}})
    hub.fail("/v1/chat/completions", delay=0.5)
    body: Any = {"model": "acme/chat", "messages": [{"role": "user", "content": "x"}]}

    def post(_: int) -> int:
        return requests.post(
            f"{hub.url}/v1/chat/completions", json=body, headers=_bearer(TOKEN), timeout=20
        ).status_code

    started = time.monotonic()
    with ThreadPoolExecutor(100) as pool:
        assert set(pool.map(post, range(100))) == {200}
    assert time.monotonic() - started < 10  # one after the other: 50 s
    assert len(hub.router.chats) == 100


# --- as a script ----------------------------------------------------------------------------------------------------


def test_script(tmp_path: Path) -> None:
    models = tmp_path / "models.json"
    models.write_text(json.dumps({"acme/chat": {"providers": {"together": {}}, "gated": "auto"}}), encoding="utf-8")
    script = Path(__file__).with_name("standin_hub.py")
    command = [sys.executable, str(script), "--models", str(models)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            [url] = re.findall(r"HF_ENDPOINT=(\S+)", process.stdout.readline())
            assert requests.get(f"{url}/api/models/acme/chat", timeout=5).json()["gated"] == "auto"
        finally:
            process.terminate()
