"""Can everything be used? Asks the Hub or the model server about the models, but no model for an answer.

uv run check.py
"""

import contextlib
import difflib
import json
from collections.abc import Iterator
from pathlib import Path

from kto import pages, texts
from kto.ask import endpoint, prompts, routes, serving, untranslated
from kto.ask.endpoint import Endpoint
from kto.command_line import Parser, run
from kto.errors import UserError
from kto.hub_lookup import MEMORY, Hub, HubModel, Unreachable
from kto.model_names import split_provider
from kto.settings import Settings, load
from kto.texts import t

GB = 1e9


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


def check_texts(config: Settings, found: Findings) -> None:
    """Look at every text that some command or page will need, before anybody waits for it."""
    wanted: dict[str, list[str]] = json.loads((texts.ROOT / "kto" / "text_names.json").read_text(encoding="utf-8"))
    for key, names in wanted.items():
        with found.collect():
            pages.check_placeholders(key, texts.look_up(texts.load(), key), names)
    values = pages.values_of(config)
    for page in sorted((texts.ROOT / "kto" / "pages").rglob("*.md")):
        with found.collect():
            pages.fill_page(page, texts.load(), values)


def check_prompts(config: Settings, hub: Hub, token: str, found: Findings) -> None:
    """Read each file with prompts, and the first rows of each dataset on the Hub."""
    origins: list[Path | str] = []
    english = 0
    with found.collect():
        origins = prompts.sources(config)
    for origin in origins:
        with found.collect():
            if isinstance(origin, Path):
                there = prompts.load(config, origins=[origin])
                english += untranslated.english_prompts(config, there.prompts)
                found.notes.append(t("check.prompts", number=len(there.prompts), source=origin))
                found.notes += [t("technical.unfiltered", source=each) for each in there.unfiltered]
            else:
                check_dataset(config, origin, hub, token, found)
    with found.collect():
        found.notes[:0] = untranslated.sentences(config, english)
    if len(origins) > 1 and all(isinstance(origin, Path) for origin in origins):
        with found.collect():  # what is wrong with all of them together
            prompts.load(config)


def check_dataset(config: Settings, name: str, hub: Hub, token: str, found: Findings) -> None:
    """Ask the Hub for a dataset of prompts, and read its first rows."""
    known = hub.has_dataset(name)
    if isinstance(known, Unreachable):
        found.problems.append(t("check.unreachable", name=name, reason=known))
    elif not known:
        found.problems.append(t("check.no_dataset", name=name))
    elif not prompts.look_at_dataset(config, name, token):
        found.notes.append(t("technical.no_prompt_yet", source=name, number=prompts.LOOKED_AT))


def general(config: Settings) -> list[str]:
    """Return the models that have no server of their own."""
    return [name for name in config.generation.models if config.model(name).base_url is None]


def check_hub(config: Settings, hub: Hub, found: Findings) -> None:
    """Ask the Hub about all models, and for others like those that cannot be used."""
    local = config.generation.inference == "local"
    names = [name for name in general(config) if not (local and serving.folder(config, name))]
    problems: dict[str, str] = {}
    unusable: list[str] = []  # there may be others like these
    for name, model in zip(names, hub.look_up(names), strict=True):
        if isinstance(model, Unreachable):
            problems[name] = t("check.unreachable", name=name, reason=model)
            continue
        if model.called:
            found.notes.append(t("technical.renamed", model=name, name=model.called))
        if what := _unusable(model, local):
            problems[name] = what
            unusable.append(name)
        elif local and not model.readable:
            problems[name] = t("check.not_readable", model=name, url=hub.page(model))
        elif not local and model.live and not model.is_served:
            provider, live = split_provider(name)[1], ", ".join(model.live)
            problems[name] = t("check.other_provider", model=name, provider=provider, providers=live)
        elif local:
            found.notes.append(_size(model, hub.page(model)))
        elif model.gated:
            found.notes.append(t("check.gated", model=name, url=hub.page(model)))
    for name, close in zip(unusable, hub.alternatives(unusable, served=not local), strict=True):
        if close:
            problems[name] += f" {t('check.instead', models=', '.join(close))}"
    found.problems += problems.values()


def _unusable(model: HubModel, local: bool) -> str:
    """Return why another model has to be taken, "" if this one can be used somehow."""
    if not model.exists:
        return t("check.missing", model=model.name)
    if model.disabled:
        return t("check.disabled", model=model.name)
    if local:
        return t(f"technical.unfit_{model.unfit}", model=model.name, task=model.task) if model.unfit else ""
    return "" if model.live or model.providers is None else t("check.not_served", model=model.name)


def _size(model: HubModel, url: str) -> str:
    if model.weights:
        download, memory = texts.number(model.weights / GB, 1), texts.number(model.weights * MEMORY / GB, 1)
        return t("check.size", model=model.name, download=download, memory=memory)
    if model.storage:
        return t("check.size_at_most", model=model.name, download=texts.number(model.storage / GB, 1))
    return t("check.size_unknown", model=model.name, url=url)


def check_folders(config: Settings, found: Findings) -> None:
    """Look for what a model in a folder needs, and for a way to start it."""
    for name in general(config):
        folder = serving.folder(config, name)
        if folder and not serving.is_chat_model(folder):
            found.problems.append(t("check.no_chat_model", path=folder))
    with found.collect():
        for name in general(config)[:1]:
            serving.command(config, name, 0)


def check_servers(config: Settings, found: Findings) -> None:
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
    hub = Hub(token)
    check_prompts(config, hub, token, found)
    inference = config.generation.inference
    check_servers(config, found)
    if inference != "openai-compatible":
        check_hub(config, hub, found)
    if hub.token_refused:
        found.problems.append(t("check.bad_token"))
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
