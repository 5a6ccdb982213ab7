"""Before anything is written: are the models there, and does somebody serve them?

Runs with nothing but cookiecutter's own dependencies. The answers arrive as one JSON literal.
"""

import difflib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import quote

import requests

ANSWERS = json.loads(r"""{{ hook_answers(cookiecutter) }}""")

TIMEOUT = 10  # seconds for each question to the Hub
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


def get(path: str, params: list[tuple[str, str]]) -> requests.Response:
    """Ask the Hub; raise `Unreachable` for network trouble, 429 and 5xx."""
    token = os.environ.get("HF_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"{endpoint()}{path}"
    try:
        response = requests.get(url, params=params, headers=headers, timeout=TIMEOUT)
        if token and response.status_code == 401 and "X-Error-Code" not in response.headers:
            # The Hub refuses a token that has expired even where none is needed.
            refused.append(token)
            response = requests.get(url, params=params, timeout=TIMEOUT)
    except (requests.RequestException, ValueError) as error:
        raise Unreachable(type(error).__name__) from None
    if response.status_code == 429 or response.status_code >= 500:
        raise Unreachable(f"HTTP {response.status_code}")
    return response


def providers(model: dict) -> dict[str, str]:
    """Return the providers that know the model as a chat model: name → live, staging or error."""
    mapping = model.get("inferenceProviderMapping") or {}
    entries = mapping.items() if isinstance(mapping, dict) else ((entry.get("provider"), entry) for entry in mapping)
    return {name: entry.get("status") for name, entry in entries if entry.get("task") == "conversational"}


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
    try:
        info = response.json()
    except ValueError:
        raise Unreachable("no JSON") from None
    if response.status_code != 200 or not isinstance(info, dict):
        raise Unreachable(f"HTTP {response.status_code}")
    if info.get("disabled"):
        problem("is disabled on the Hub")
    elif served:
        status = providers(info)
        live = [name for name, state in status.items() if state == "live"]
        if not live:
            problem("is not served for chat by any provider now")
        elif provider not in live and provider not in ROUTES:
            verdict.problems.append(f"{answer} is not served by {provider} now, but by {', '.join(live)}.")
    elif inference == "local":
        verdict.notes.append(f"{answer}: {size(info)}.")
    if info.get("gated"):
        verdict.notes.append(gated(answer, model))
    return verdict


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

    def one(model: str) -> Verdict | Unreachable:
        try:
            return look_up(model, inference)
        except Unreachable as reason:
            return reason

    with ThreadPoolExecutor(max_workers=max(1, len(asked))) as pool:
        results = list(pool.map(one, asked))
    unchecked = []
    for model, result in zip(asked, results, strict=True):
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


def how_to_go_on(ask_again: list[str]) -> str:
    """Prepare cookiecutter's replay file so that only `ask_again` is asked next time, and say how to use it.

    Cookiecutter asks for whatever that file lacks; without `_extensions` in it, it takes them from the template again.
    """
    try:
        with open(ANSWERS["replay"], encoding="utf-8") as file:
            kept = json.load(file)
        for name in [*ask_again, "_extensions"]:
            kept["cookiecutter"].pop(name, None)
        with open(ANSWERS["replay"], "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=2)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "Correct this and run cookiecutter again."
    return (
        f"Your other answers are kept. To go on, run this; it asks only for {', '.join(ask_again)}:\n"
        f"    {ANSWERS['command']} --replay"
    )


def main() -> int:
    """Print what was found; return 1 if the project must not be made like this."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    found: dict[str, str] = dict(ANSWERS["problems"])
    verdict = Verdict() if "models" in found else check(ANSWERS["models"], ANSWERS["inference"])
    for note in verdict.notes:
        print(f"Note: {note}", file=sys.stderr)
    problems = [f"{question}: {problem}" for question, problem in found.items()]
    problems += [f"models: {problem}" for problem in verdict.problems]
    if not problems:
        return 0
    print("\nNothing was written, because of this:", file=sys.stderr)
    for problem in problems:
        print(f"  - {problem}", file=sys.stderr)
    ask_again = [*found, *(["models"] if verdict.problems else [])]
    print(how_to_go_on(ask_again), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
