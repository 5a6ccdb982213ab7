"""Before anything is written: are the models there, and does somebody serve them?

Runs with nothing but cookiecutter's own dependencies. The answers arrive as one JSON literal.
"""

import difflib
import json
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import requests

ANSWERS = json.loads(r"""{{ hook_answers(cookiecutter) }}""")

TIMEOUT = 10  # seconds for all questions to the Hub together
DEADLINE = time.monotonic() + TIMEOUT
CHATS = ("text-generation", "image-text-to-text", "any-to-any")  # tasks of models that answer in a conversation
ROUTES = ("", "fastest", "cheapest", "preferred")  # what may stand for a provider: the router chooses
BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}  # per parameter; all others: 1


refused: list[str] = []  # tokens that the Hub did not accept


class Unreachable(Exception):
    """The Hub gave no answer that says anything about the model."""


@dataclass
class Verdict:
    """What is known about one model."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def endpoint() -> str:
    """Return the address of the Hub."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def find_token() -> str:
    """Return the token of HF_TOKEN, or else of `hf auth login`, "" if there is none (huggingface_hub, constants.py)."""
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    path = Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()
    try:
        token = token.strip() or path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return token if token.isascii() and token.isprintable() else ""


def get(path: str, params: list[tuple[str, str]]) -> requests.Response:
    """Ask the Hub; raise `Unreachable` for network trouble, 429 and 5xx."""
    token = find_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{endpoint()}{path}"
    left = max(DEADLINE - time.monotonic(), 0.1)
    try:
        response = requests.get(url, params=params, headers=headers, timeout=left)
        if token and response.status_code == 401 and "X-Error-Code" not in response.headers:
            # The Hub refuses a token that has expired even where none is needed.
            refused.append(token)
            response = requests.get(url, params=params, timeout=left)
    except (requests.RequestException, ValueError) as error:
        raise Unreachable(type(error).__name__) from None
    if response.status_code == 429 or response.status_code >= 500:
        raise Unreachable(f"HTTP {response.status_code}")
    return response


def providers(model: dict) -> dict[str, str]:
    """Return the providers that know the model as a chat model: name → live, staging or error."""
    mapping = model.get("inferenceProviderMapping") or {}
    entries = list(mapping.items()) if isinstance(mapping, dict) else [(None, entry) for entry in mapping]
    known = [(name or entry.get("provider"), entry) for name, entry in entries if isinstance(entry, dict)]
    return {str(name): str(entry.get("status")) for name, entry in known if entry.get("task") == "conversational"}


def alternatives(model: str, served: bool) -> list[str]:
    """Return up to three models with a similar name that exist, and are served for chat now if `served`."""
    name = model.split("/")[-1]
    words = name.split("-")
    found: list[str] = []
    for length in range(len(words), 0, -1):
        params = [("search", "-".join(words[:length])), ("pipeline_tag", "text-generation"), ("limit", "20")]
        params += [("inference", "warm"), ("expand", "inferenceProviderMapping")] if served else []
        try:
            listed = get("/api/models", params).json()
        except (Unreachable, ValueError):
            break
        if isinstance(listed, list):
            hits = [hit for hit in listed if isinstance(hit, dict) and isinstance(hit.get("id"), str)]
            found += [hit["id"] for hit in hits if not served or "live" in providers(hit).values()]
        if len(found) >= 3:
            break
    unique = [hit for hit in dict.fromkeys(found) if hit != model]
    return sorted(unique, key=lambda hit: -difflib.SequenceMatcher(None, hit.lower(), model.lower()).ratio())[:3]


def size(model: dict) -> str:
    """Return what a local run downloads and holds in memory, from the number and kind of its parameters."""
    parameters = (model.get("safetensors") or {}).get("parameters") or {}
    gigabytes = sum(BYTES.get(kind, 1) * count for kind, count in parameters.items()) / 1e9
    if not gigabytes:
        return "its size is not known; look at its page before you begin"
    return f"a download of about {gigabytes:.1f} GB, and at least {gigabytes * 1.2:.1f} GB of memory while it runs"


def look_up(answer: str, inference: str) -> Verdict:
    """Ask the Hub about one model of the answers; raise `Unreachable` if that is impossible."""
    model, _, provider = answer.partition(":")
    verdict = Verdict()
    fields = ("inferenceProviderMapping", "gated", "pipeline_tag", "tags", "disabled", "safetensors")
    response = get(f"/api/models/{quote(model)}", [("expand", name) for name in fields])
    served = inference == "huggingface"

    def problem(what: str) -> None:
        close = alternatives(model, served)
        instead = f" Close to it: {', '.join(close)}." if close else ""
        verdict.problems.append(f"{answer} {what}.{instead}")

    if response.status_code in (401, 404) and response.headers.get("X-Error-Code") in (None, "RepoNotFound"):
        problem("does not exist on the Hub (or is private and HF_TOKEN may not read it)")
        return verdict
    if response.status_code == 403 and response.headers.get("X-Error-Code") == "GatedRepo":
        verdict.notes.append(gated(answer, model))
        return verdict
    if response.status_code == 403 and "disabled" in response.headers.get("X-Error-Message", ""):
        problem("is disabled on the Hub")
        return verdict
    try:
        info = response.json()
    except ValueError:
        raise Unreachable("no JSON") from None
    if response.status_code != 200 or not isinstance(info, dict):
        raise Unreachable(f"HTTP {response.status_code}")
    name = info.get("id")
    if isinstance(name, str) and name != model:
        verdict.notes.append(f"{answer} is called {name} on the Hub now. Write that into project.toml (models).")
    unfit = no_chat_model(info)
    if info.get("disabled"):
        problem("is disabled on the Hub")
    elif served:
        status = providers(info)
        live = [name for name, state in status.items() if state == "live"]
        if not status:
            problem("is not served for chat by any provider")
        elif not live:
            ill = ", ".join(f"{name}: {state}" for name, state in status.items())
            verdict.notes.append(
                f"NO PROVIDER SERVES {answer} AT THIS MOMENT ({ill}). That may pass: ask again with `uv run check.py`, "
                "or write another model into project.toml (models)."
            )
        elif provider not in status and provider not in ROUTES:
            verdict.problems.append(f"{answer} is not served by {provider}, but by {', '.join(live)}.")
        elif provider not in live and provider not in ROUTES:
            verdict.notes.append(
                f"{provider} DOES NOT SERVE {answer} AT THIS MOMENT ({status[provider]}), but {', '.join(live)} does. "
                "That may pass: ask again with `uv run check.py`."
            )
    elif inference == "local" and unfit:
        problem(unfit)
    elif inference == "local":
        verdict.notes.append(f"{answer}: {size(info)}.")
    if info.get("gated"):
        verdict.notes.append(gated(answer, model))
    return verdict


def no_chat_model(model: dict) -> str:
    """Return why `transformers` cannot chat with a model of the Hub, "" if it can or if the Hub does not say."""
    task = model.get("pipeline_tag")
    tags = [tag for tag in model.get("tags") or [] if isinstance(tag, str)]
    if task and task not in CHATS:
        return f"is no model that chats, but one for {task}"
    if "gguf" in tags and not {"safetensors", "pytorch"} & {*tags} and not model.get("safetensors"):
        return "has GGUF files only, which Ollama and llama.cpp run (choose openai-compatible for them)"
    if task == "text-generation" and tags and "conversational" not in tags:
        return "is a base model: it has no chat template, so it continues texts and does not answer"
    return ""


def gated(answer: str, model: str) -> str:
    """Say where to ask for access to a gated model."""
    return f"{answer} is gated: its owners want to be asked first. Ask at {endpoint()}/{model} while you are logged in."


def check(models: list[str], inference: str) -> Verdict:
    """Ask about all models at the same time and gather what was found.

    Models that only a server of one's own knows need not be on the Hub, so there nothing is a problem.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return Verdict(notes=["The models were not checked: HF_HUB_OFFLINE is set. `uv run check.py` does it later."])
    if inference == "openai-compatible":
        return Verdict()
    asked = [model for model in models if not os.path.isdir(os.path.expanduser(model))]
    whole = Verdict()

    results: dict[str, Verdict | Unreachable] = {}

    def one(model: str) -> None:
        try:
            results[model] = look_up(model, inference)
        except Unreachable as reason:
            results[model] = reason
        except Exception as error:  # the Hub said what nobody expects
            results[model] = Unreachable(type(error).__name__)

    # Of a kind that does not keep the program alive: a server that sends byte after byte never times out.
    threads = [threading.Thread(target=one, args=(model,), daemon=True) for model in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(DEADLINE - time.monotonic(), 0))
    unchecked = []
    for model in asked:
        result = results.get(model, Unreachable(f"{TIMEOUT} s"))
        if isinstance(result, Unreachable):
            unchecked.append((model, str(result)))
        else:
            whole.problems += result.problems
            whole.notes += result.notes
    if refused:
        whole.notes.append(f"The Hub refuses HF_TOKEN. Make a new token at {endpoint()}/settings/tokens.")
    if unchecked:
        names, reasons = ", ".join(name for name, _ in unchecked), ", ".join(sorted({why for _, why in unchecked}))
        whole.notes.append(f"Not checked: {names} (no answer from {endpoint()}: {reasons}). Later: `uv run check.py`.")
    return whole


def how_to_go_on() -> str:
    """Keep the answers but for the models, and say how to go on with them.

    Cookiecutter asks for whatever a replay file lacks; without `_extensions` in it, it takes them from the template.
    """
    kept = {name: answer for name, answer in ANSWERS["answers"].items() if name not in ("models", "__check_models")}
    try:
        with open(ANSWERS["file"], "w", encoding="utf-8") as file:
            json.dump({"cookiecutter": kept}, file, indent=2)
    except OSError:
        return "Correct this and run cookiecutter again."
    return f"Your other answers are kept. To go on, run this; it asks only for models:\n    {ANSWERS['command']}"


def main() -> int:
    """Print what was found; return 1 if the project must not be made like this."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    verdict = check(ANSWERS["models"], ANSWERS["inference"])
    for note in verdict.notes:
        print(f"Note: {note}", file=sys.stderr)
    if not verdict.problems:
        return 0
    print("\nNothing was written, because of this:", file=sys.stderr)
    for problem in verdict.problems:
        print(f"  - models: {problem}", file=sys.stderr)
    print(how_to_go_on(), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
