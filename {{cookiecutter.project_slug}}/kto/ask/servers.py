"""The address and the key of a server that speaks OpenAI's protocol."""

import asyncio
import base64
import dataclasses
import ipaddress
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urljoin, urlsplit

from kto.ask import error_body
from kto.errors import UserError
from kto.model_names import hide_login, is_address, split_provider
from kto.secrets import secret
from kto.settings import Settings

if TYPE_CHECKING:
    import aiohttp

TIMEOUT = 10
"""Seconds to wait for an answer to a question about the server itself."""
MOVED = (301, 302, 303)
"""Redirects after which clients send no body any more, so nobody would be asked."""
_MORE = ("has_more", "next", "next_page", "next_page_token", "nextPageToken")  # a list that says so has more pages
_BASIC = "Basic "  # a key that begins with this was a user name and a password in the address


@dataclasses.dataclass(frozen=True)
class Server:
    """Where requests go (`base_url` ends before `/chat/completions`) and the key they carry, "" for none."""

    base_url: str
    key: str = dataclasses.field(default="", repr=False)

    def __post_init__(self) -> None:
        """Take a user name and a password out of the address: it is shown to people, and the key is not."""
        parts = urlsplit(self.base_url)
        login, _, host = parts.netloc.rpartition("@")
        object.__setattr__(self, "base_url", parts._replace(netloc=host).geturl().rstrip("/"))
        if login:
            name, _, password = login.partition(":")
            both = f"{unquote(name)}:{unquote(password)}"
            object.__setattr__(self, "key", _BASIC + base64.b64encode(both.encode()).decode())

    @property
    def headers(self) -> Mapping[str, str]:
        """What requests carry."""
        if not self.key:
            return {}
        return {"Authorization": self.key if self.has_login else f"Bearer {self.key}"}

    @property
    def has_login(self) -> bool:
        """Whether the key is a user name and a password."""
        return self.key.startswith(_BASIC)

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, where no proxy leads."""
        host = (urlsplit(self.base_url).hostname or "").rstrip(".")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return host == "localhost" or host.endswith(".localhost")
        return address.is_loopback or address.is_unspecified


def _is_of_the_hub(url: str, router_url: str) -> bool:
    """Tell whether a server may see the token for the Hub."""
    asked, router = urlsplit(url), urlsplit(router_url)
    hub = (asked.hostname or "").endswith((".huggingface.co", ".hf.co", ".endpoints.huggingface.cloud"))
    return (hub and asked.scheme == "https") or (asked.scheme, asked.netloc) == (router.scheme, router.netloc)


def find(config: Settings, base_url: str | None = None, needs_key: bool = True) -> Server:
    """Return the server that the project uses; `base_url`, if given, replaces the address in `settings.toml`.

    Raises
    ------
    UserError
        There is no address; or no key where one is needed, unless nobody `needs_key` now.
    """
    generation = config.generation
    for address in (base_url or "", generation.base_url, generation.router_url):
        if address and not is_address(address):
            raise UserError("bad_base_url", url=hide_login(address))
    general = base_url or generation.router_url
    if generation.inference == "huggingface" and _is_of_the_hub(general, generation.router_url):
        key = secret(config, "HF_TOKEN")
        if needs_key and not key:
            raise UserError("no_hf_token")
        return Server(general.rstrip("/"), key)
    address = base_url or generation.base_url
    if not address:
        raise UserError("no_base_url")
    return Server(address.rstrip("/"), secret(config, "OPENAI_API_KEY"))


class ModelList(NamedTuple):
    """What a server says about its models, each with an `id`; `complete`: there are no others."""

    models: Sequence[Mapping[str, Any]]
    complete: bool

    def has(self, name: str) -> bool:
        """Tell whether the list has the model that a server would take this name for."""
        # Ollama's tag is "latest" where none is named, Gemini's list has a prefix, the router's no provider.
        names = {name, f"{name}:latest", name.removesuffix(":latest"), split_provider(name)[0]}
        names |= {f"models/{name}", name.removeprefix("models/")}
        return any(model["id"] in names for model in self.models)


def model_list(server: Server) -> ModelList | None:
    """Return what the server says about its models, None if it says nothing: then chat decides.

    Raises
    ------
    UserError
        No server answers (`no_server`), it cannot be reached (`connections.NoWay`), it refuses the key (`key_refused`),
        or there is no chat at this address (`no_api`, `technical.redirected`).
    """
    return asyncio.run(_model_list(server))


async def _model_list(server: Server) -> ModelList | None:
    import aiohttp

    from kto.ask import connections

    timeout = aiohttp.ClientTimeout(connect=TIMEOUT, sock_read=TIMEOUT, total=6 * TIMEOUT)
    async with connections.session(server, 1, timeout) as session:
        try:
            with connections.named(server):
                async with session.get(f"{server.base_url}/models") as response:
                    content = await response.read()
        except aiohttp.ConnectionTimeoutError:
            raise UserError("no_server", url=server.base_url) from None
        except TimeoutError:  # it is there, and busy
            return None
        except (aiohttp.ClientError, OSError, ValueError):
            raise UserError("no_server", url=server.base_url) from None
        if response.status == 407:
            raise connections.refused_by_proxy(server, response.reason or "")
        if response.status in (408, 429) or response.status >= 500:
            return None
        found = _models(content) if response.status < 300 else None
        if found is None or any(each.status in MOVED for each in response.history):
            await _look_for_chat(session, server)
        return found


async def _look_for_chat(session: "aiohttp.ClientSession", server: Server) -> None:
    """Raise `UserError` if the server does not even refuse an empty request, which asks no model, as one for chat."""
    import aiohttp

    url = server.base_url
    try:
        async with session.post(f"{url}/chat/completions", json={}, allow_redirects=False) as response:
            status, content = response.status, await response.read()
    except (aiohttp.ClientError, OSError, ValueError):
        return
    said = _json(content)
    if status == 401 and not server.key:
        raise UserError("no_key", url=url, detail=error_body.read(content).short or status)
    if status == 401:
        raise UserError("key_refused", url=url)
    if status in MOVED and (target := moved_to(server, response.headers.get("Location", ""))):
        raise UserError("technical.redirected", url=url, target=target)
    # A server may say that it knows no such model; and some answer 200 where there is nothing.
    if status in (404, 405) and (said is None or "model" not in str(said).lower()):
        raise UserError("no_api", url=url)
    if status < 300 and not (isinstance(said, dict) and "choices" in said):
        raise UserError("no_api", url=url)


def moved_to(server: Server, location: str) -> str:
    """Return the address, as `base_url` has it, to which a server sends requests for chat; "" if it is none."""
    try:
        target = urljoin(f"{server.base_url}/chat/completions", location)
    except ValueError:
        return ""
    return hide_login(target.removesuffix("/chat/completions")) if location and is_address(target) else ""


def _json(content: bytes) -> Any:
    """Return what the JSON says, None if it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _models(content: bytes) -> ModelList | None:
    """Return the models that a reply names, None if it is no list of models."""
    said = _json(content)
    listed, complete = said, True
    if isinstance(said, dict):
        listed = next((said[name] for name in ("data", "models") if said.get(name) is not None), None)
        complete = not any(said.get(name) for name in _MORE)
        if listed is None and "data" in said:  # so says Ollama as long as it has no model
            listed = []
    if not isinstance(listed, list):
        return None
    models = []
    for entry in listed:
        if isinstance(entry, str):
            entry = {"id": entry}
        if isinstance(entry, dict):
            name = next((entry[key] for key in ("id", "name", "model") if isinstance(entry.get(key), str)), None)
            if name is not None:
                models.append({**entry, "id": name})
    return ModelList(models, complete) if models or not listed else None


def offers(server: Server) -> Sequence[Mapping[str, Any]]:
    """Return the models of `model_list`; of a server that does not say what it has, none."""
    listed = model_list(server)
    return listed.models if listed else []


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
