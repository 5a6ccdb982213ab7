"""Before anything is written: do the models exist, and does a provider serve them?

Needs only cookiecutter's own dependencies. The answers arrive as one JSON literal; the look-up on the Hub is the
project's own module, imported from the template.
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

ANSWERS = json.loads(r"""{{ hook_answers(cookiecutter) }}""")

sys.dont_write_bytecode = True  # what is in the template folder would be rendered
sys.path.insert(0, ANSWERS["code"])
from kto.hub_lookup import MEMORY, TIMEOUT, Hub, HubModel, Unreachable  # noqa: E402
from kto.model_names import split_provider  # noqa: E402

WHY_ANOTHER = {
    "missing": "does not exist on the Hub (or is private and HF_TOKEN may not read it)",
    "disabled": "is disabled on the Hub",
    "not_served": "is not served for chat by any provider",
    "task": "is not a chat model, but one for {task}",
    "gguf": "has GGUF files only, which Ollama and llama.cpp run (choose openai-compatible for them)",
    "base": "is a base model: it has no chat template, so it continues texts instead of answering",
}
"""Sentences for `HubModel.unusable`; a model whose providers are all down at the moment may be used."""


@dataclass
class Verdict:
    """Problems, which stop the rendering, and notes."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_token() -> str:
    """Return HF_TOKEN, or the token of `hf auth login` (paths as in huggingface_hub's constants.py), "" without one."""
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN") or ""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    path = Path(os.environ.get("HF_TOKEN_PATH") or os.path.join(home, "token")).expanduser()
    try:
        token = token.strip() or path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
    return token if token.isascii() and token.isprintable() else ""


def size(model: HubModel) -> str:
    """Return download size and memory of a local model."""
    gigabytes = model.weights / 1e9
    if not gigabytes:
        return "its size is not known; look at its page before you begin"
    return f"a download of about {gigabytes:.1f} GB, and at least {gigabytes * MEMORY:.1f} GB of memory while it runs"


def look_at(model: HubModel, inference: str, url: str, verdict: Verdict) -> None:
    """Add notes on a model that can be used, and a problem if its provider does not serve it."""
    provider, live = split_provider(model.name)[1], ", ".join(model.live)
    ill = {name: status for name, status in (model.providers or {}).items() if status != "live"}
    if model.called:
        verdict.notes.append(
            f"{model.name} is called {model.called} on the Hub now. Write that into settings.toml (models)."
        )
    if inference == "local":
        if model.readable:
            verdict.notes.append(f"{model.name}: {size(model)}.")
    elif ill and not live:
        listed = ", ".join(f"{name}: {status}" for name, status in ill.items())
        verdict.notes.append(
            f"NO PROVIDER SERVES {model.name} AT THIS MOMENT ({listed}). That may pass: ask again with "
            "`uv run check.py`, or write another model into settings.toml (models)."
        )
    elif provider in ill and live:
        verdict.notes.append(
            f"{provider} DOES NOT SERVE {model.name} AT THIS MOMENT ({ill[provider]}), but {live} does. "
            "That may pass: ask again with `uv run check.py`."
        )
    elif live and not model.is_served:
        verdict.problems.append(f"{model.name} is not served by {provider}, but by {live}.")
    if model.gated:
        verdict.notes.append(
            f"{model.name} is gated: its owners want to be asked first. Ask at {url} while you are logged in."
        )


def check(models: list[str], inference: str) -> Verdict:
    """Ask the Hub about all models at the same time; the models of one's own server need not be there."""
    verdict = Verdict()
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        verdict.notes.append("The models were not checked: HF_HUB_OFFLINE is set. `uv run check.py` does it later.")
        return verdict
    if inference == "openai-compatible":
        return verdict
    hub = Hub(find_token(), TIMEOUT)
    asked = [model for model in models if not os.path.isdir(os.path.expanduser(model))]
    unchecked: dict[str, str] = {}
    unusable: dict[str, str] = {}
    for name, model in zip(asked, hub.look_up(asked), strict=True):
        if isinstance(model, Unreachable):
            unchecked[name] = str(model)
        elif (why := model.unusable(local=inference == "local")) and (why != "not_served" or not model.providers):
            unusable[name] = f"{name} {WHY_ANOTHER[why].format(task=model.task)}."
        else:
            look_at(model, inference, hub.page(model), verdict)
    for name, close in zip(unusable, hub.alternatives([*unusable], served=inference == "huggingface"), strict=True):
        verdict.problems.append(unusable[name] + (f" Close to it: {', '.join(close)}." if close else ""))
    if hub.token_refused:
        verdict.notes.append(f"The Hub refuses HF_TOKEN. Make a new token at {hub.url}/settings/tokens.")
    if unchecked:
        reasons = ", ".join(sorted({*unchecked.values()}))
        verdict.notes.append(
            f"Not checked: {', '.join(unchecked)} (no answer from {hub.url}: {reasons}). Later: `uv run check.py`."
        )
    return verdict


def how_to_go_on() -> str:
    """Save the answers without the models, and return how to continue: cookiecutter asks for missing answers.

    Without `_extensions` in the file, it takes them from the template.
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
