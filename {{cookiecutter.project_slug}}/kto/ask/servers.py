"""A server that speaks OpenAI's protocol: its address, and what its list of models says."""

import asyncio
import base64
import dataclasses
import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from kto.hub_lookup import ROUTES
from kto.model_names import split_provider

_MORE = ("has_more", "next", "next_page", "next_page_token", "nextPageToken")  # set in a list that has more pages
_BASIC = "Basic "  # starts a key that was a user name and a password in the address


@dataclasses.dataclass(frozen=True)
class Server:
    """Where requests go (`base_url` ends before `/chat/completions`) and the key they carry, "" for none."""

    base_url: str
    key: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        """Take a user name and a password out of the address, because people see it."""
        parts = urlsplit(self.base_url)
        login, _, host = parts.netloc.rpartition("@")
        object.__setattr__(self, "base_url", parts._replace(netloc=host).geturl().rstrip("/"))
        if login:
            name, _, password = login.partition(":")
            both = f"{unquote(name)}:{unquote(password)}"
            object.__setattr__(self, "key", _BASIC + base64.b64encode(both.encode()).decode())

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of every request."""
        if not self.key:
            return {}
        return {"Authorization": self.key if self.has_login else f"Bearer {self.key}"}

    @property
    def has_login(self) -> bool:
        """Whether the key is a user name and a password."""
        return self.key.startswith(_BASIC)

    @property
    def is_loopback(self) -> bool:
        """True for addresses that lead nowhere but to the machine itself; they bypass proxies."""
        host = (urlsplit(self.base_url).hostname or "").rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")
        return address.is_loopback or address.is_unspecified


class ModelList(NamedTuple):
    """A server's models, each with an `id`; `complete` if the list has no further pages."""

    models: Sequence[Mapping[str, Any]]
    complete: bool

    @classmethod
    def parse(cls, reply: Any) -> "ModelList | None":
        """Return the models in the JSON of a reply, None if it is no list of models."""
        listed, complete = reply, True
        if isinstance(reply, dict):
            listed = reply.get("models") if reply.get("data") is None else reply["data"]
            complete = not any(reply.get(name) for name in _MORE)
            if listed is None and "data" in reply:  # Ollama without models
                listed = []
        if not isinstance(listed, list):
            return None
        models = []
        for entry in listed:
            entry = {"id": entry} if isinstance(entry, str) else entry
            names = [entry.get(key) for key in ("id", "name", "model")] if isinstance(entry, dict) else []
            if name := next((name for name in names if isinstance(name, str)), ""):
                models.append({**entry, "id": name})
        return cls(models, complete) if models or not listed else None

    def has(self, name: str) -> bool:
        """Tell whether the list has the model that the server takes for this name."""
        # Ollama's default tag is "latest", Gemini's list has a prefix, the router's list no provider.
        names = {name, f"{name}:latest", name.removesuffix(":latest"), split_provider(name)[0]}
        names |= {f"models/{name}", name.removeprefix("models/")}
        return any(model["id"] in names for model in self.models)

    def prices(self, name: str) -> tuple[float, float] | None:
        """Return a model's dollars per token read and written, None if the list does not say.

        The Hub's router lists dollars per million tokens for each provider. Where it chooses the provider itself, the
        dearest counts.
        """
        for model in self.models:
            provider = "" if model["id"] == name else split_provider(name)[1]
            if model["id"] not in (name, split_provider(name)[0]):
                continue
            found = []
            for entry in model.get("providers") or []:
                pricing = entry.get("pricing") if isinstance(entry, Mapping) else None
                if isinstance(pricing, Mapping) and provider in (*ROUTES, entry.get("provider")):
                    pair = pricing.get("input"), pricing.get("output")
                    if all(isinstance(price, int | float) and price >= 0 for price in pair):
                        found.append((float(pair[0]) / 1e6, float(pair[1]) / 1e6))  # type: ignore[arg-type]
            if found:
                return max(found, key=sum)
        return None


def model_list(server: Server) -> ModelList | None:
    """Return what a server says about its models; see `kto.ask.client.ModelClient.models`."""
    from kto.ask.client import ModelClient

    async def ask() -> ModelList | None:
        async with ModelClient(server) as client:
            return await client.models()

    return asyncio.run(ask())
