"""The hook that asks the Hub about the models before anything is written."""

import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from odd_hub import odd_hub
from rendering import Bake, bake, follow
from standin_hub import TOKEN, StandinHub
from standin_parts import chat_model


@pytest.fixture
def hub():
    with StandinHub() as hub:
        hub.models["acme/tiny-chat"] = chat_model({"together": {}, "groq": {"status": "staging"}}, parameters=10**9)
        hub.models["acme/tiny-chat-v2"] = chat_model({"groq": {}}, parameters=2 * 10**9)
        hub.models["acme/tiny-base"] = chat_model({"together": {"task": "text-to-image"}})
        hub.models["acme/unserved"] = chat_model({"together": {"status": "error"}})
        hub.models["acme/alone"] = chat_model(None, parameters=7 * 10**9)
        hub.models["acme/gone"] = chat_model({"together": {}}, disabled=True)
        hub.models["acme/gated"] = chat_model({"together": {}}, gated="manual")
        yield hub


def make(hub: StandinHub, folder: Path, models: str, inference: str = "huggingface", token: str | None = None):
    return bake(folder, "--no-input", f"models={models}", f"inference={inference}", env=hub.env(folder / "hf", token))


def test_models_that_are_served(hub: StandinHub, tmp_path: Path) -> None:
    done = make(hub, tmp_path, "acme/tiny-chat, acme/tiny-chat:together, acme/tiny-chat-v2:fastest")
    assert done.status == 0, done.output
    assert not hub.unexpected
    assert "Note:" not in done.output


def test_all_problems_at_once_with_alternatives(hub: StandinHub, tmp_path: Path) -> None:
    asked = "acme/tiny-chatt, acme/gone, acme/tiny-base, acme/tiny-chat:nebius, acme/alone"
    done = make(hub, tmp_path, asked)
    assert done.status == 1 and done.nothing_written
    lines = {line.split()[2]: line for line in done.output.splitlines() if line.startswith("  - models:")}
    assert set(lines) == {
        "acme/tiny-chatt",
        "acme/gone",
        "acme/tiny-base",
        "acme/tiny-chat:nebius",
        "acme/alone",
    }
    assert "does not exist" in lines["acme/tiny-chatt"] and "acme/tiny-chat," in lines["acme/tiny-chatt"]
    assert "disabled" in lines["acme/gone"]
    assert "not served for chat by any provider" in lines["acme/alone"]
    assert "not served by nebius, but by together" in lines["acme/tiny-chat:nebius"]
    assert not hub.unexpected


def test_a_bad_minute_of_a_provider_is_a_loud_note_with_a_way_on(hub: StandinHub, tmp_path: Path) -> None:
    done = make(hub, tmp_path, "acme/unserved, acme/tiny-chat:groq")
    assert done.status == 0, done.output
    notes = " ".join(line for line in done.output.splitlines() if line.startswith("Note:"))
    assert "NO PROVIDER SERVES acme/unserved" in notes and "together: error" in notes
    assert "groq DOES NOT SERVE acme/tiny-chat" in notes and "but together does" in notes and "check.py" in notes


def test_only_the_models_are_asked_again(hub: StandinHub, tmp_path: Path) -> None:
    first = bake(
        tmp_path,
        "--no-input",
        "language=nl",
        "domain=koken 👩‍🍳",
        "project_slug=kto-nl-koken",
        "models=acme/nope",
        env=hub.env(tmp_path / "hf", None),
    )
    assert first.status == 1 and first.nothing_written and "--replay" in first.output
    second = follow(first, "acme/tiny-chat\n")
    assert second.status == 0, second.output
    toml = tomllib.loads((second.project / "settings.toml").read_text(encoding="utf-8"))
    assert toml["project"]["domain"] == "koken 👩‍🍳" and toml["language"]["tag"] == "nl"
    assert toml["generation"]["models"] == ["acme/tiny-chat"]


def test_a_gated_model_is_a_warning_with_its_address(hub: StandinHub, tmp_path: Path) -> None:
    done = make(hub, tmp_path, "acme/gated")
    assert done.status == 0, done.output
    assert f"{hub.url}/acme/gated" in done.output and "gated" in done.output


def test_a_local_run_tells_size_and_needs_no_provider(hub: StandinHub, tmp_path: Path) -> None:
    done = make(hub, tmp_path / "a", "acme/alone", "local")
    assert done.status == 0, done.output
    assert "14.0 GB" in done.output and "16.8 GB of memory" in done.output
    done = make(hub, tmp_path / "b", "acme/missing", "local")
    assert done.status == 1 and "does not exist" in done.output


def test_a_server_of_ones_own_is_not_looked_up(hub: StandinHub, tmp_path: Path) -> None:
    done = make(hub, tmp_path, "llama3.1:8b, acme/missing", "openai-compatible")
    assert done.status == 0, done.output
    assert not hub.requests


def test_a_refused_token_is_named_and_not_taken_for_a_missing_model(hub: StandinHub, tmp_path: Path) -> None:
    done = make(hub, tmp_path, "acme/tiny-chat", token="hf_expired")
    assert done.status == 0, done.output
    assert "refuses HF_TOKEN" in done.output


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 500}, {"status": 503}, {"drop": True}])
def test_trouble_is_one_line_and_the_render_goes_on(hub: StandinHub, fault: dict, tmp_path: Path) -> None:
    hub.fail("*", **fault)
    done = make(hub, tmp_path, "acme/tiny-chat, acme/nope")
    assert done.status == 0, done.output
    notes = [line for line in done.output.splitlines() if line.startswith("Note:")]
    assert len(notes) == 1 and "Not checked: acme/tiny-chat, acme/nope" in notes[0]


def test_a_slow_hub_is_given_up_after_ten_seconds_for_all_models_together(hub: StandinHub, tmp_path: Path) -> None:
    hub.fail("*", delay=60)
    begun = time.monotonic()
    done = make(hub, tmp_path, ", ".join(f"acme/m{number}" for number in range(8)))
    assert done.status == 0 and "Not checked" in done.output
    assert 9 < time.monotonic() - begun < 25


def test_a_hub_that_drips_and_a_missing_model_on_a_slow_one_end_in_time(hub: StandinHub, tmp_path: Path) -> None:
    """Ten seconds for everything together, what is asked for alternatives included."""
    hub.fail("/api/models", delay=8)

    def timed(folder: str, models: str, env: dict[str, str]) -> tuple[float, Bake]:
        begun = time.monotonic()
        done = bake(tmp_path / folder, "--no-input", f"models={models}", env=env)
        return time.monotonic() - begun, done

    with ThreadPoolExecutor(2) as both, odd_hub(b'{"id": "' + b"x" * 200, pause=0.5) as url:
        missing = both.submit(timed, "a", "acme/missing-one-of-many-words", hub.env(tmp_path / "a" / "hf"))
        dripping = both.submit(timed, "b", "acme/one", {"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"})
        seconds, done = missing.result()
        assert seconds < 25
        assert done.status == 1 and "acme/missing-one-of-many-words does not exist" in done.output, done.output
        seconds, done = dripping.result()
        assert seconds < 25
        assert done.status == 0 and "Not checked: acme/one" in done.output, done.output


def test_a_disabled_model_is_refused_as_the_hub_says_it(hub: StandinHub, tmp_path: Path) -> None:
    hub.fail("/api/models/acme/gone", status=403, message="Access to this resource is disabled.")
    done = make(hub, tmp_path, "acme/gone")
    assert done.status == 1 and "acme/gone is disabled" in done.output, done.output


@pytest.mark.parametrize(("asked", "name"), [("acme/old-name", "acme/tiny-chat"), ("Acme/Tiny-Chat", "acme/tiny-chat")])
def test_another_name_on_the_hub_is_said(hub: StandinHub, asked: str, name: str, tmp_path: Path) -> None:
    hub.models[asked] = hub.models[name] | {"id": name}
    done = make(hub, tmp_path, asked)
    assert done.status == 0 and f"{asked} is called {name} on the Hub" in done.output, done.output


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tags": ["transformers", "safetensors"]}, "base model"),
        ({"pipeline_tag": "feature-extraction"}, "one for feature-extraction"),
        ({"pipeline_tag": "text-to-image"}, "one for text-to-image"),
        ({"tags": ["gguf", "conversational"], "safetensors": None}, "GGUF"),
    ],
)
def test_what_cannot_chat_here_is_no_local_model(hub: StandinHub, fields: dict, said: str, tmp_path: Path) -> None:
    hub.models["acme/unfit"] = chat_model({"together": {}}, **fields)
    done = make(hub, tmp_path, "acme/unfit", "local")
    assert done.status == 1 and said in done.output, done.output


def test_the_token_of_a_login_is_used(hub: StandinHub, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(f"{TOKEN}\n", encoding="utf-8")
    env = hub.env(tmp_path / "hf", None) | {"HF_TOKEN_PATH": str(token)}
    assert bake(tmp_path, "--no-input", "models=acme/tiny-chat", env=env).status == 0
    assert [request.user.name if request.user else "" for request in hub.requests] == ["ann"]


def test_a_mapping_without_content_is_no_provider(hub: StandinHub, tmp_path: Path) -> None:
    odd = b'{"id": "acme/odd", "tags": null, "inferenceProviderMapping": {"together": null}}'
    with odd_hub(odd) as url:
        done = bake(tmp_path, "--no-input", "models=acme/odd", env={"HF_ENDPOINT": url, "HF_HUB_OFFLINE": "0"})
    assert "Traceback" not in done.output.split("Stopping generation")[0], done.output
    assert done.status == 1 and "not served" in done.output


def test_offline_and_unreachable(tmp_path: Path) -> None:
    done = bake(tmp_path / "a", "--no-input", "models=acme/one")
    assert done.status == 0 and "HF_HUB_OFFLINE" in done.output
    env = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": "http://127.0.0.1:9"}
    done = bake(tmp_path / "b", "--no-input", "models=acme/one", env=env)
    assert done.status == 0 and "Not checked: acme/one" in done.output and "Traceback" not in done.output
