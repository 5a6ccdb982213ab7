"""Can the models be used: on the Hub, in a folder, on a server of one's own? No model is asked for an answer."""

import difflib

from kto import texts
from kto.ask import local_server, servers, targets
from kto.ask.servers import Server
from kto.check import Findings
from kto.hub_lookup import MEMORY, Hub, HubModel, Unreachable
from kto.model_names import split_provider
from kto.settings import Settings
from kto.texts import t

GB = 1e9
_WHY = {
    "missing": "check.missing",
    "disabled": "check.disabled",
    "not_served": "check.not_served",
    **{why: f"technical.unfit_{why}" for why in ("task", "gguf", "base")},
}  # the text for each value of `HubModel.unusable`


def general(config: Settings) -> list[str]:
    """Return the models that have no server of their own."""
    return [name for name in config.generation.models if config.model(name).base_url is None]


def check_servers(config: Settings, found: Findings) -> None:
    """Ask OpenAI-compatible servers which models they have."""
    asked: dict[Server, list[str]] = {}  # names of models as the server knows them
    for name in config.generation.models:
        own = config.model(name)
        if own.base_url is not None or config.generation.inference == "openai-compatible":
            with found.collect():
                asked.setdefault(targets.server(config, own), []).append(own.name or name)
    for server, names in asked.items():
        with found.collect():
            listed = servers.model_list(server)
            unknown = [name for name in names if not (listed and listed.has(name))]
            if unknown and not (listed and listed.complete):
                found.notes.append(t("check.no_list", url=server.base_url))
                continue
            ids = [model["id"] for model in listed.models] if listed else []
            for name in unknown:
                close = ", ".join(difflib.get_close_matches(name, ids, n=3, cutoff=0) or ["–"])
                found.problems.append(t("check.not_listed", model=name, url=server.base_url, models=close))


def check_hub(config: Settings, hub: Hub, found: Findings) -> None:
    """Ask the Hub about all models, and for others like those that cannot be used."""
    local = config.generation.inference == "local"
    names = [name for name in general(config) if not (local and local_server.folder(config, name))]
    problems: dict[str, str] = {}
    unusable: list[str] = []
    for name, model in zip(names, hub.look_up(names), strict=True):
        if isinstance(model, Unreachable):
            problems[name] = t("check.unreachable", name=name, reason=model)
            continue
        if model.called:
            found.notes.append(t("technical.renamed", model=name, name=model.called))
        if why := model.unusable(local=local):
            problems[name] = t(_WHY[why], model=name, task=model.task)
            unusable.append(name)
        elif local and not model.readable:
            problems[name] = t("check.not_readable", model=name, url=hub.page(model))
        elif local:
            found.notes.append(_size(model, hub.page(model)))
        elif model.live and not model.is_served:
            provider, live = split_provider(name)[1], ", ".join(model.live)
            problems[name] = t("check.other_provider", model=name, provider=provider, providers=live)
        elif model.gated:
            found.notes.append(t("check.gated", model=name, url=hub.page(model)))
    for name, close in zip(unusable, hub.alternatives(unusable, served=not local), strict=True):
        if close:
            problems[name] += f" {t('check.instead', models=', '.join(close))}"
    found.problems += problems.values()


def _size(model: HubModel, url: str) -> str:
    if model.weights:
        download, memory = texts.number(model.weights / GB, 1), texts.number(model.weights * MEMORY / GB, 1)
        return t("check.size", model=model.name, download=download, memory=memory)
    if model.storage:
        return t("check.size_at_most", model=model.name, download=texts.number(model.storage / GB, 1))
    return t("check.size_unknown", model=model.name, url=url)


def check_folders(config: Settings, found: Findings) -> None:
    """Check that models in folders are complete, and that there is a way to start a model."""
    names = general(config)
    for name in names:
        folder = local_server.folder(config, name)
        if folder and not local_server.is_chat_model(folder):
            found.problems.append(t("check.no_chat_model", path=folder))
    if names:
        with found.collect():
            local_server.command(config, names[0], 0)
