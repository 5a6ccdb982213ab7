"""The address and the key of a server that speaks OpenAI's protocol."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests

from kto.config import Config, is_address, split_provider
from kto.errors import UserError
from kto.secrets import secret as secret  # other modules have it from here

TIMEOUT = 10
"""Seconds to wait for an answer to a question about the server itself."""


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """Where requests go (`base_url` ends before `/chat/completions`) and the key they carry, "" for none."""

    base_url: str
    key: str = dataclasses.field(default="", repr=False)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, where no proxy leads."""
        return (urlsplit(self.base_url).hostname or "") in ("localhost", "127.0.0.1", "::1")


def _is_of_the_hub(url: str, router_url: str) -> bool:
    """Tell whether a server may see the token for the Hub."""
    asked, router = urlsplit(url), urlsplit(router_url)
    hub = (asked.hostname or "").endswith((".huggingface.co", ".hf.co", ".endpoints.huggingface.cloud"))
    return (hub and asked.scheme == "https") or (asked.scheme, asked.netloc) == (router.scheme, router.netloc)


def find(config: Config, base_url: str | None = None) -> Endpoint:
    """Return the endpoint that the project uses; `base_url`, if given, replaces the address in `project.toml`.

    Raises
    ------
    UserError
        There is no address, or no key where one is needed.
    """
    generation = config.generation
    for address in (base_url or "", generation.base_url, generation.router_url):
        if address and not is_address(address):
            raise UserError("bad_base_url", url=address)
    general = base_url or generation.router_url
    if generation.inference == "huggingface" and _is_of_the_hub(general, generation.router_url):
        key = secret(config, "HF_TOKEN")
        if not key:
            raise UserError("no_hf_token")
        return Endpoint(general.rstrip("/"), key)
    address = base_url or generation.base_url
    if not address:
        raise UserError("no_base_url")
    return Endpoint(address.rstrip("/"), secret(config, "OPENAI_API_KEY"))


def model_list(endpoint: Endpoint) -> list[Mapping[str, Any]] | None:
    """Return what the server says about its models, each with an `id`; None if it is too busy to tell.

    Raises
    ------
    UserError
        No server answers (`no_server`), it refuses the key, or it does not answer like one that has models (`no_api`).
    """

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if endpoint.key:  # a function, because otherwise requests would look for passwords in ~/.netrc
            request.headers["Authorization"] = f"Bearer {endpoint.key}"
        return request

    session = requests.Session()
    session.trust_env = not endpoint.is_local
    try:
        response = session.get(f"{endpoint.base_url}/models", auth=authorize, timeout=TIMEOUT)
    except requests.ReadTimeout:  # it is there, and busy
        return None
    except (requests.RequestException, ValueError):
        raise UserError("no_server", url=endpoint.base_url) from None
    if response.status_code == 401:
        raise UserError("key_refused", url=endpoint.base_url)
    try:
        listed = response.json()["data"]
        if all(isinstance(model["id"], str) for model in listed):
            return list(listed)
    except (ValueError, LookupError, TypeError):
        pass
    raise UserError("no_api", url=endpoint.base_url) from None


def offers(endpoint: Endpoint) -> list[Mapping[str, Any]]:
    """Return what `model_list` does; a server that is too busy for it, or that keeps none, has an empty one."""
    try:
        return model_list(endpoint) or []
    except UserError as error:
        if error.key != "no_api":
            raise
        return []


def listed_models(endpoint: Endpoint) -> list[str] | None:
    """Return the names that the server gives its models; see `model_list`."""
    listed = model_list(endpoint)
    return None if listed is None else [model["id"] for model in listed]


def prices(listed: Sequence[Mapping[str, Any]], name: str) -> tuple[float, float] | None:
    """Return the dollars that a model takes per token read and written, None if the server does not say.

    The Hub's router gives dollars per million tokens for each provider. Where it chooses the provider itself, the
    dearest of them counts.
    """
    for entry in listed:
        model, provider = (entry["id"], "") if entry["id"] == name else split_provider(name)
        if entry["id"] != model:
            continue
        found = []
        for each in entry.get("providers") or []:
            pricing = each.get("pricing") if isinstance(each, Mapping) else None
            if isinstance(pricing, Mapping) and provider in (
                "",
                "fastest",
                "cheapest",
                "preferred",
                each.get("provider"),
            ):
                pair = pricing.get("input"), pricing.get("output")
                if all(isinstance(price, int | float) and price >= 0 for price in pair):
                    found.append((float(pair[0]) / 1e6, float(pair[1]) / 1e6))  # type: ignore[arg-type]
        if found:
            return max(found, key=sum)
    return None
