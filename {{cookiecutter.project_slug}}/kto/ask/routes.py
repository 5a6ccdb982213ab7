"""Where each model is asked, and how: what `settings.toml` says in general and for this model."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from kto.ask import endpoint, serving
from kto.ask.endpoint import Endpoint
from kto.ask.language_gate import Gate
from kto.ask.tries import Tries
from kto.settings import ModelSettings, Settings
from kto.texts import t


@dataclasses.dataclass(frozen=True)
class Route:
    """How one model is reached.

    Attributes
    ----------
    tries
        What is asked, as the answer store knows it.
    endpoint
        The server; None for a model that has to be started on this machine.
    body
        What requests hold besides messages and arguments.
    concurrency
        Requests in flight.
    timeout
        Seconds that one request may take.
    prices
        Dollars per token read and written, None if they are not known.
    unsupported
        Fields that the server is known to refuse; see `kto.ask.request_fields`.
    loading_timeout
        Seconds to wait for a server that is still loading the model.
    """

    tries: Tries
    endpoint: Endpoint | None
    body: Mapping[str, Any]
    concurrency: int
    timeout: float
    prices: tuple[float, float] | None = None
    unsupported: Sequence[str] = ()
    loading_timeout: float = 600.0

    @property
    def model(self) -> str:
        """Its name in the project."""
        return self.tries.model

    @property
    def sends_bill(self) -> bool:
        """Whether the server is one that may take money: it is elsewhere, and wants a key."""
        if self.endpoint is None or self.endpoint.is_local:
            return False
        return bool(self.endpoint.key) and not self.endpoint.has_login

    def priced(self, offers: Sequence[Mapping[str, Any]]) -> "Route":
        """Return the route with the prices that the server names in its list of models."""
        return dataclasses.replace(self, prices=endpoint.prices(offers, str(self.body["model"])))


def gate_for(config: Settings) -> Gate:
    """Return the language gate of the project."""
    return Gate(config.language.tag, config.language.script)


def find(config: Settings, gate: Gate, base_url: str | None = None, needs_key: bool = True) -> list[Route]:
    """Return the routes of all models; `base_url`, if given, replaces the address in `[generation]`.

    Raises
    ------
    UserError
        There is no address; or no key where one is needed, unless nobody `needs_key` now: prices are told without one.
    """
    return [_route(config, gate, model, base_url, needs_key) for model in config.generation.models]


def _route(config: Settings, gate: Gate, model: str, base_url: str | None, needs_key: bool) -> Route:
    generation, own = config.generation, config.model(model)
    starts_here = generation.inference == "local" and base_url is None and own.base_url is None
    again = generation.language_retries if gate.supported else 0
    firmly = t("generate.firmly", language=config.language.autonym) if again else ""
    path = serving.folder(config, model) if generation.inference == "local" else None
    tries = Tries(model, _arguments(config, own), firmly, again, serving.weights_digest(path) if path else "")
    concurrency = own.concurrency or (config.local.concurrency if starts_here else generation.concurrency)
    timeout = own.timeout or generation.timeout
    unsupported = own.unsupported or ()
    if not starts_here:
        there, body = server(config, own, base_url, needs_key), {"model": own.name or model}
        loading = generation.loading_timeout
        return Route(tries, there, body, concurrency, timeout, unsupported=unsupported, loading_timeout=loading)
    body = {"model": own.name or serving.served_name(config, model)}
    if serving.is_transformers(config) and tries.arguments["temperature"] > 0:
        # Without it `transformers serve` passes over the temperature for models that do not sample by themselves.
        body["generation_config"] = json.dumps({"do_sample": True})
    # Requests wait for each other there, so an answer may take as long as all that are in flight.
    return Route(tries, None, body, concurrency, timeout * concurrency, unsupported=unsupported)


def _arguments(config: Settings, own: ModelSettings) -> dict[str, Any]:
    generation = config.generation
    arguments: dict[str, Any] = {
        "max_tokens": own.max_tokens or generation.max_tokens,
        "temperature": generation.temperature if own.temperature is None else own.temperature,
    }
    if own.top_p is not None:
        arguments["top_p"] = own.top_p
    return arguments | dict(own.extra or {})


def server(config: Settings, own: ModelSettings, base_url: str | None = None, needs_key: bool = True) -> Endpoint:
    """Return the server of a model with settings `own`; see `find`."""
    key = endpoint.secret(config, own.key) if own.key else ""
    if own.base_url is not None:  # the general key is not for other servers
        return Endpoint(own.base_url.rstrip("/"), key)
    general = endpoint.find(config, base_url, needs_key)
    return Endpoint(general.base_url, key) if own.key else general
