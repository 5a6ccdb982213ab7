"""Can everything be used? Asks the Hub or the model server about the models, but no model for an answer.

uv run check.py
"""

import contextlib
import difflib
import json
from collections.abc import Iterator
from pathlib import Path

from kto import endpoint, hub_models, pages, prompts, routes, serving, texts
from kto.command_line import Parser
from kto.config import Config, load, split_provider
from kto.endpoint import Endpoint
from kto.errors import UserError, run
from kto.hub_models import BadToken, HubModel, Unreachable
from kto.texts import t

GB = 1e9
MEMORY = 1.2  # a model that answers takes its weights and about a fifth of that


class Findings:
    """What was found: problems, which somebody has to put right, and notes, which are good to know."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.notes: list[str] = []

    @contextlib.contextmanager
    def collect(self) -> Iterator[None]:
        """Make a problem of what a part of the project says about itself."""
        try:
            yield
        except (UserError, texts.TextsError) as error:
            self.problems.append(str(error))


def check_texts(config: Config, found: Findings) -> None:
    """Look at every text that some command or page will need, before anybody waits for it."""
    wanted: dict[str, list[str]] = json.loads((texts.ROOT / "kto" / "text_names.json").read_text(encoding="utf-8"))
    for key, names in wanted.items():
        with found.collect():
            pages.check_placeholders(key, texts.look_up(texts.load(), key), names)
    values = pages.values_of(config)
    for page in sorted((texts.ROOT / "kto" / "pages").rglob("*.md")):
        with found.collect():
            pages.fill_page(page, texts.load(), values)


def check_prompts(config: Config, token: str, found: Findings) -> None:
    """Read each file with prompts, and the first rows of each dataset on the Hub."""
    origins: list[Path | str] = []
    with found.collect():
        origins = prompts.sources(config)
    for origin in origins:
        with found.collect():
            if isinstance(origin, Path):
                there = prompts.load(config, origins=[origin])
                found.notes.append(t("check.prompts", number=len(there.prompts), source=origin))
                found.notes += [t("technical.unfiltered", source=each) for each in there.unfiltered]
            else:
                check_dataset(config, origin, token, found)
    if len(origins) > 1 and all(isinstance(origin, Path) for origin in origins):
        with found.collect():  # what is wrong with all of them together
            prompts.load(config)


def check_dataset(config: Config, name: str, token: str, found: Findings) -> None:
    """Ask the Hub for a dataset of prompts, and read its first rows."""
    there = hub_models.has_dataset(name, token)
    if isinstance(there, Unreachable | BadToken):
        found.problems.append(_no_answer(there, name))
    elif not there:
        found.problems.append(t("check.no_dataset", name=name))
    elif not prompts.look_at_dataset(config, name, token):
        found.notes.append(t("technical.no_prompt_yet", source=name, number=prompts.LOOKED_AT))


def general(config: Config) -> list[str]:
    """Return the models that have no server of their own."""
    return [name for name in config.generation.models if config.model(name).base_url is None]


def check_hub(config: Config, token: str, found: Findings) -> None:
    """Ask the Hub about all models, and for others like those that cannot be used."""
    local = config.generation.inference == "local"
    names = [name for name in general(config) if not (local and serving.folder(config, name))]
    for name, model in zip(names, hub_models.look_up(names, token), strict=True):
        if isinstance(model, HubModel):
            problem = _problem(model, token, local)
            if problem:
                found.problems.append(problem)
                continue
            if model.gated and not local:
                found.notes.append(t("check.gated", model=name, url=model.url))
            if local:
                found.notes.append(_size(model))
        else:
            found.problems.append(_no_answer(model, name))


def _problem(model: HubModel, token: str, local: bool) -> str:
    """Return why a model cannot be used and what to do, "" if it can."""
    name = model.name
    if not model.exists:
        what = t("check.missing", model=name)
    elif model.disabled:
        what = t("check.disabled", model=name)
    elif local:
        return "" if model.readable else t("check.not_readable", model=name, url=model.url)
    elif model.is_served:
        return ""
    elif model.live:
        provider = split_provider(name)[1]
        return t("check.other_provider", model=name, provider=provider, providers=", ".join(model.live))
    else:
        what = t("check.not_served", model=name)
    close = hub_models.alternatives(name, token, served=not local)
    return f"{what} {t('check.instead', models=', '.join(close))}" if close else what


def _no_answer(why: Unreachable | BadToken, name: str) -> str:
    if isinstance(why, BadToken):
        return t("check.bad_token")
    return t("check.unreachable", name=name, reason=why)


def _size(model: HubModel) -> str:
    if model.weights:
        download, memory = texts.number(model.weights / GB, 1), texts.number(model.weights * MEMORY / GB, 1)
        return t("check.size", model=model.name, download=download, memory=memory)
    if model.storage:
        return t("check.size_at_most", model=model.name, download=texts.number(model.storage / GB, 1))
    return t("check.size_unknown", model=model.name, url=model.url)


def check_folders(config: Config, found: Findings) -> None:
    """Look for what a model in a folder needs, and for a way to start it."""
    for name in general(config):
        folder = serving.folder(config, name)
        if folder and not serving.is_chat_model(folder):
            found.problems.append(t("check.no_chat_model", path=folder))
    with found.collect():
        for name in general(config)[:1]:
            serving.command(config, name, 0)


def check_servers(config: Config, found: Findings) -> None:
    """Ask OpenAI-compatible servers which models they have."""
    asked: dict[Endpoint, list[str]] = {}
    inference = config.generation.inference
    for name in config.generation.models:
        own = config.model(name)
        if own.base_url is None and inference != "openai-compatible":
            continue
        with found.collect():
            asked.setdefault(routes.server(config, own), []).append(name)
    for server, names in asked.items():
        with found.collect():
            listed = endpoint.model_list(server)
            unknown = [
                name
                for name in (config.model(name).name or name for name in names)
                if not (listed and listed.has(name))
            ]
            if unknown and not (listed and listed.complete):
                found.notes.append(t("check.no_list", url=server.base_url))
                continue
            ids = [model["id"] for model in listed.models] if listed else []
            for name in unknown:
                close = ", ".join(difflib.get_close_matches(name, ids, n=3, cutoff=0) or ["–"])
                found.problems.append(t("check.not_listed", model=name, url=server.base_url, models=close))


def main(argv: list[str] | None = None) -> int:
    """Check everything and say all that was found. 1 if somebody has to put something right, or nobody answered."""
    Parser(t("check.help")).parse_args(argv)
    config = load()
    found = Findings()
    token = ""
    with found.collect():
        token = endpoint.secret(config, "HF_TOKEN")
    with found.collect():
        _ = config.system_prompt
    check_texts(config, found)
    check_prompts(config, token, found)
    inference = config.generation.inference
    check_servers(config, found)
    if inference != "openai-compatible":
        check_hub(config, token, found)
    if inference == "local":
        check_folders(config, found)
    if inference == "huggingface" and not token:
        found.notes.append(t("check.no_token"))
    for note in found.notes:
        print(note)
    if found.problems:
        listed = "\n".join(f"  - {problem}" for problem in dict.fromkeys(found.problems))
        raise UserError("check_failed", problems=listed)
    print(t("check.fine"))
    return 0


if __name__ == "__main__":
    run(main)
