"""Where and how each model is asked: its server, key, request fields, limits and prices, from the settings."""

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from kto.ask import local_server
from kto.ask.language import Gate
from kto.ask.servers import ModelList, Server
from kto.ask.store import Message, answer_key
from kto.errors import UserError
from kto.keys import secret
from kto.model_names import hide_login, is_address, public_names
from kto.settings import ModelSettings, Settings
from kto.texts import t


@dataclasses.dataclass(frozen=True)
class ModelTarget:
    """One model as it is asked."""

    model: str  # its name in the project, under which answers are stored
    public_name: str  # see kto.model_names.public_names
    server: Server | None  # None: it has to be started on this machine
    body: Mapping[str, Any]  # fields besides messages and arguments: `model`, the name that the server gives it
    arguments: Mapping[str, Any]  # what the answer depends on besides model and messages: `max_tokens` and the like
    concurrency: int  # requests in flight
    # Rate-limit replies (429) use up none of the attempts; but without any answer for `timeout` seconds the model ends.
    max_attempts: int
    timeout: float  # seconds for one request
    loading_timeout: float = 600.0  # seconds that the server may say it is still loading the model
    prices: tuple[float, float] | None = None  # dollars per token read and written, if they are known
    unsupported: Collection[str] = ()  # fields that the server refuses; see kto.ask.request_fields
    language_retries: int = 0  # further requests after an answer in the wrong language
    stricter: str = ""  # the instruction that these add to the prompt
    weights: str = ""  # digest of the files of a model in a folder

    @property
    def requests(self) -> range:
        """Numbers of the requests for one answer: 0, then the language retries."""
        return range(1 + self.language_retries)

    def messages(self, conversation: Sequence[Message], number: int) -> list[Message]:
        """Return the conversation as request `number` sends it."""
        if not number:
            return list(conversation)
        *before, prompt = conversation
        return [*before, {**prompt, "content": f"{prompt['content']}\n\n{self.stricter}"}]

    def key(
        self, conversation: Sequence[Message], number: int = 0, empty: int = 0, arguments: Mapping[str, Any] = {}
    ) -> str:
        """Return the store's key for the answer to request `number`, after `empty` answers without a text."""
        # The second retry has the same text as the first one, and is still another request.
        further = ({"try": number} if number > 1 else {}) | ({"empty": empty} if empty else {})
        asked = {**(arguments or self.arguments), **further}
        return answer_key(self.model, self.messages(conversation, number), asked, self.weights)

    @property
    def may_cost(self) -> bool:
        """Whether requests may cost money: the server lists a price, or is on another machine and takes a key."""
        server = self.server
        sends_bill = server is not None and not server.is_loopback and bool(server.key) and not server.has_login
        return sends_bill or any(self.prices or ())

    def cost(self, read: int, written: int) -> float | None:
        """Return the dollars for these tokens, None if the prices are not known."""
        return None if self.prices is None else read * self.prices[0] + written * self.prices[1]

    def priced(self, listed: ModelList | None) -> "ModelTarget":
        """Return the target with the prices in a server's list of models."""
        return dataclasses.replace(self, prices=listed.prices(str(self.body["model"])) if listed else None)


def gate_for(config: Settings) -> Gate:
    """Return the language gate of the project."""
    return Gate(config.language.tag, config.language.script)


def find(config: Settings, gate: Gate, base_url: str | None = None, needs_key: bool = True) -> list[ModelTarget]:
    """Return the targets of all models; raise `UserError` for a missing address or key.

    `base_url` replaces the address in `[generation]`; without `needs_key` (prices are told without one) none is missed.
    """
    return [find_one(config, gate, model, base_url, needs_key) for model in config.generation.models]


def find_one(config: Settings, gate: Gate, model: str, base_url: str | None, needs_key: bool = True) -> ModelTarget:
    """Return the target of one of the models; see `find`."""
    generation, own = config.generation, config.model(model)
    names = dict(zip(generation.models, public_names(generation.models), strict=True))
    is_local = generation.inference == "local"
    starts_here = is_local and base_url is None and own.base_url is None
    folder = local_server.folder(config, model) if is_local else None
    arguments = {
        "max_tokens": own.max_tokens or generation.max_tokens,
        "temperature": generation.temperature if own.temperature is None else own.temperature,
        **({} if own.top_p is None else {"top_p": own.top_p}),
        **(own.extra or {}),
    }
    body = {"model": own.name or (local_server.served_name(config, model) if starts_here else model)}
    if starts_here and local_server.is_transformers(config) and arguments["temperature"] > 0:
        # Without it `transformers serve` ignores the temperature for models that do not sample by themselves.
        body["generation_config"] = json.dumps({"do_sample": True})
    concurrency = own.concurrency or (config.local.concurrency if starts_here else generation.concurrency)
    timeout = own.timeout or generation.timeout
    retries = generation.language_retries if gate.supported else 0
    return ModelTarget(
        model,
        names[model],
        None if starts_here else server(config, own, base_url, needs_key),
        body,
        arguments,
        concurrency,
        generation.max_attempts,
        # Requests queue up on this machine, so an answer may take as long as all that are in flight.
        timeout * concurrency if starts_here else timeout,
        generation.loading_timeout,
        unsupported=own.unsupported or (),
        language_retries=retries,
        stricter=t("generate.firmly", language=config.language.autonym) if retries else "",
        weights=local_server.weights_digest(folder) if folder else "",
    )


def server(config: Settings, own: ModelSettings, base_url: str | None = None, needs_key: bool = True) -> Server:
    """Return the server of a model with settings `own`; see `find`."""
    generation = config.generation
    key = secret(config, own.key) if own.key else ""
    if own.base_url is not None:  # the general key is not for other servers
        return Server(own.base_url, key)
    for address in (base_url or "", generation.base_url, generation.router_url):
        if address and not is_address(address):
            raise UserError("bad_base_url", url=hide_login(address))
    address = base_url or (generation.router_url if generation.inference == "huggingface" else generation.base_url)
    if not address:
        raise UserError("no_base_url")
    if generation.inference == "huggingface" and _is_of_the_hub(address, generation.router_url):
        token = secret(config, "HF_TOKEN")
        if needs_key and not token:
            raise UserError("no_hf_token")
    else:
        token = secret(config, "OPENAI_API_KEY")
    general = Server(address, token)
    return Server(general.base_url, key) if own.key else general


def _is_of_the_hub(url: str, router_url: str) -> bool:
    asked, router = urlsplit(url), urlsplit(router_url)
    hub = (asked.hostname or "").endswith((".huggingface.co", ".hf.co", ".endpoints.huggingface.cloud"))
    return (hub and asked.scheme == "https") or (asked.scheme, asked.netloc) == (router.scheme, router.netloc)
