"""What the Hub says about models: are they there, who serves them, how large are they?

The template's hook asks the same before it makes a project, with no more packages than cookiecutter brings.
"""

import dataclasses
import difflib
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kto.model_names import split_provider

if TYPE_CHECKING:
    import requests

TIMEOUT = 10
"""Seconds that the Hub has for questions that are asked at the same time."""
ROUTES = ("", "fastest", "cheapest", "preferred")
"""What a model's name may have in place of a provider: the router chooses one."""
MEMORY = 1.2
"""A model that answers takes its weights and about a fifth of that."""
_CHATS = ("text-generation", "image-text-to-text", "any-to-any")  # tasks of models that answer in a conversation
_FIELDS = ("inferenceProviderMapping", "gated", "pipeline_tag", "tags", "disabled", "safetensors", "usedStorage")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}  # per parameter; all others: 1
_ID = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

T = TypeVar("T")


class Unreachable(Exception):
    """The Hub gave no answer that says anything about the model."""


@dataclasses.dataclass(frozen=True)
class HubModel:
    """A model as the Hub describes it now.

    Attributes
    ----------
    name
        Its name in the project, with the provider if one is named.
    exists
        False also for a private model that the token may not read.
    called
        Its name on the Hub, "" if that is the one in the project.
    disabled
        The Hub has switched it off.
    gated
        Its owners want to be asked before they give it away.
    readable
        The token may download it; only asked for gated models.
    providers
        Those that know it as a model for conversations: by name "live", "staging" or "error"; None: not known.
    unfit
        Why `transformers` cannot chat with it: "task", "gguf", "base"; "" if it can, or if the Hub does not say.
    task
        What it is for, as the Hub calls it, "" if the Hub does not say.
    weights
        Bytes of its weights: the download, and the least memory that it takes. 0 if the Hub does not know.
    storage
        Bytes of the whole repository, all versions together. 0 if the Hub does not know.
    """

    name: str
    exists: bool = True
    called: str = ""
    disabled: bool = False
    gated: bool = False
    readable: bool = True
    providers: Mapping[str, str] | None = None
    unfit: str = ""
    task: str = ""
    weights: int = 0
    storage: int = 0

    @property
    def live(self) -> list[str]:
        """Providers that serve it for conversations at this moment."""
        return [name for name, status in (self.providers or {}).items() if status == "live"]

    @property
    def is_served(self) -> bool:
        """Whether the provider that is named, or any if none is named, serves it for conversations now."""
        provider = split_provider(self.name)[1]
        return bool(self.live) if provider in ROUTES else provider in self.live

    def unusable(self, *, local: bool) -> str:
        """Return why another model has to be taken: "missing", "disabled", "not_served" or `unfit`; "" if none has to.

        Parameters
        ----------
        local
            It runs on a machine of one's own, so nobody else has to serve it.
        """
        if not self.exists or self.disabled:
            return "disabled" if self.exists else "missing"
        if local:
            return self.unfit
        return "" if self.live or self.providers is None else "not_served"


class Hub:
    """The Hub, as one command asks it.

    Parameters
    ----------
    token
        "" for none.
    seconds
        For all questions together.

    Attributes
    ----------
    token_refused
        The Hub does not accept the token; it was asked without it.
    """

    def __init__(self, token: str = "", seconds: float = 2 * TIMEOUT) -> None:
        self.url = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.token_refused = False
        self._token = token
        self._seconds = seconds  # that are left
        self._end = 0.0

    def page(self, model: HubModel) -> str:
        """Return the address of a model's page."""
        return f"{self.url}/{split_provider(model.name)[0]}"

    def look_up(self, names: Sequence[str]) -> list[HubModel | Unreachable]:
        """Ask about all models at the same time; an exception in the list means that there was no answer."""
        return self._all_at_once(self._look_up, names)

    def alternatives(self, names: Sequence[str], *, served: bool) -> list[list[str]]:
        """Return for each name up to three chat models with a similar one that are there, and `served` now if wanted.

        The Hub finds what contains all of the words that it is given, so words are left off from the end until it does.
        """

        def search(name: str) -> list[str]:
            return self._search(split_provider(name)[0], served)

        return [[] if isinstance(found, Unreachable) else found for found in self._all_at_once(search, names)]

    def has_dataset(self, name: str) -> bool | Unreachable:
        """Tell whether there is such a dataset that the token may see."""

        def ask(name: str) -> bool:
            if not _ID.fullmatch(name):
                return False
            response = self._get(f"/api/datasets/{name}")
            if _is_missing(response):
                return False
            if response.status_code == 200 or response.headers.get("X-Error-Code") == "GatedRepo":
                return True
            raise Unreachable(f"HTTP {response.status_code}")

        return self._all_at_once(ask, [name])[0]

    def _look_up(self, name: str) -> HubModel:
        model = split_provider(name)[0]
        if not _ID.fullmatch(model):
            return HubModel(name, exists=False)
        response = self._get(f"/api/models/{model}", [("expand", field) for field in _FIELDS])
        if response.headers.get("X-Error-Code") == "GatedRepo":
            return HubModel(name, gated=True, readable=False)
        if response.status_code == 403 and "disabled" in response.headers.get("X-Error-Message", ""):
            return HubModel(name, disabled=True)
        if _is_missing(response):
            return HubModel(name, exists=False)
        info = _json(response)
        if response.status_code != 200 or not isinstance(info, dict):
            raise Unreachable(f"HTTP {response.status_code}")
        called = info.get("id")
        parameters = (info.get("safetensors") or {}).get("parameters") or {}
        return HubModel(
            name,
            called=called if isinstance(called, str) and called != model else "",
            disabled=bool(info.get("disabled")),
            gated=bool(info.get("gated")),
            readable=not info.get("gated") or self._get(f"/api/models/{model}/auth-check").status_code == 200,
            providers=_providers(info),
            unfit=_unfit(info),
            task=str(info.get("pipeline_tag") or ""),
            weights=sum(_BYTES.get(kind, 1) * count for kind, count in parameters.items()),
            storage=info.get("usedStorage") or 0,
        )

    def _search(self, model: str, served: bool) -> list[str]:
        words = model.split("/")[-1].split("-")
        found: dict[str, None] = {}
        for length in range(len(words), 0, -1):
            wanted = [("search", "-".join(words[:length])), ("pipeline_tag", "text-generation"), ("limit", "20")]
            wanted += [("inference", "warm"), ("expand", "inferenceProviderMapping")] if served else []
            wanted += [] if served else [("filter", "conversational")]
            try:
                listed = _json(self._get("/api/models", wanted))
            except Unreachable:
                break
            hits = [hit for hit in listed if isinstance(hit, dict)] if isinstance(listed, list) else []
            found |= {str(hit.get("id")): None for hit in hits if not served or "live" in _providers(hit).values()}
            found.pop(model, None)
            if len(found) >= 3:
                break
        return sorted(found, key=lambda hit: -difflib.SequenceMatcher(None, hit.lower(), model.lower()).ratio())[:3]

    def _get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> "requests.Response":
        """Ask the Hub; raise `Unreachable` for network trouble, 429 and 5xx."""
        import requests

        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise Unreachable("HF_HUB_OFFLINE")
        trusted = next((os.environ[name] for name in _CERTIFICATES if os.environ.get(name)), True)

        def ask(token: str) -> "requests.Response":
            left = max(self._end - time.monotonic(), 0.1)
            return requests.get(self.url + path, list(params), auth=_signature(token), timeout=left, verify=trusted)

        try:
            response = ask(self._token)
            if self._token and response.status_code == 401 and "X-Error-Code" not in response.headers:
                # The Hub refuses a token that has expired even where none is needed.
                self.token_refused = True
                response = ask("")
        except (requests.RequestException, OSError, ValueError) as error:  # OSError: no such certificates
            raise Unreachable(type(error).__name__) from None
        if response.status_code == 429 or response.status_code >= 500:
            raise Unreachable(f"HTTP {response.status_code}")
        return response

    def _all_at_once(self, ask: Callable[[str], T], names: Sequence[str]) -> list[T | Unreachable]:
        """Ask about several names at the same time; what has no answer in time is left to itself."""
        began = time.monotonic()
        self._end = began + min(self._seconds, TIMEOUT)
        answers: dict[str, T | Unreachable] = {}

        def answer(name: str) -> None:
            try:
                answers[name] = ask(name)
            except Unreachable as reason:
                answers[name] = reason
            except Exception as error:  # the Hub said what nobody expects
                answers[name] = Unreachable(type(error).__name__)

        # Of a kind that does not keep the program alive: a server that sends byte after byte never times out.
        threads = [threading.Thread(target=answer, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(self._end + 0.5 - time.monotonic(), 0))  # what times out has half a second to say so
        self._seconds = max(self._seconds - (time.monotonic() - began), 0)
        return [answers.get(name, Unreachable(f"{TIMEOUT} s")) for name in names]


def _signature(token: str) -> "Callable[[requests.PreparedRequest], requests.PreparedRequest]":
    """Return what adds the token to a request; without one, nothing is looked for in ~/.netrc either."""

    def sign(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        if token:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    return sign


def _json(response: "requests.Response") -> Any:
    try:
        return response.json()
    except (ValueError, RecursionError):
        raise Unreachable("no JSON") from None


def _is_missing(response: "requests.Response") -> bool:
    """Tell whether there is no such repository for us: the Hub says 401 of names that it does not know."""
    return response.status_code in (401, 404) and response.headers.get("X-Error-Code") in (None, "RepoNotFound")


def _providers(model: Mapping[str, Any]) -> dict[str, str]:
    """Return the providers that know a model as one for conversations, and how each is; a list in lists of models."""
    mapping = model.get("inferenceProviderMapping") or {}
    entries = list(mapping.items()) if isinstance(mapping, dict) else [(None, entry) for entry in mapping]
    known = [(name or entry.get("provider"), entry) for name, entry in entries if isinstance(entry, dict)]
    return {str(name): str(entry.get("status")) for name, entry in known if entry.get("task") == "conversational"}


def _unfit(model: Mapping[str, Any]) -> str:
    """Return why `transformers` cannot chat with a model; see `HubModel`."""
    task = model.get("pipeline_tag")
    tags = {tag for tag in model.get("tags") or [] if isinstance(tag, str)}
    if task and task not in _CHATS:
        return "task"
    if "gguf" in tags and not {"safetensors", "pytorch"} & tags and not model.get("safetensors"):
        return "gguf"
    if task == "text-generation" and tags and "conversational" not in tags:  # it has no chat template
        return "base"
    return ""
