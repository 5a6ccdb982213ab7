"""What the Hub knows about models: whether they exist, who serves them, how large they are.

The template's hook uses this module, too, with no more packages than cookiecutter brings.
"""

import dataclasses
import difflib
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kto.model_names import split_provider

if TYPE_CHECKING:
    import requests

TIMEOUT = 10  # seconds for all questions that are asked at the same time
ROUTES = ("", "fastest", "cheapest", "preferred")  # in place of a provider: the router chooses one
MEMORY = 1.2  # times the size of its weights is what a running model needs, about
_CHATS = ("text-generation", "image-text-to-text", "any-to-any")  # tasks of chat models
_FIELDS = ("inferenceProviderMapping", "gated", "pipeline_tag", "tags", "disabled", "safetensors", "usedStorage")
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}  # per parameter; all others: 1
_ID = re.compile(r"(?:\w[\w.-]*/)?\w[\w.-]*", re.ASCII)
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")

T = TypeVar("T")


class Unreachable(Exception):
    """The Hub gave no usable answer."""


@dataclasses.dataclass(frozen=True)
class HubModel:
    """A model as the Hub describes it now; "", 0 and None: the Hub does not say."""

    name: str  # as in the project, with a provider if one is named
    exists: bool = True  # False also for a private model that the token may not read
    called: str = ""  # its name on the Hub, where that is another one
    disabled: bool = False
    gated: bool = False
    readable: bool = True  # the token may download it; only asked for gated models
    providers: Mapping[str, str] | None = None  # that know it as a chat model → "live", "staging" or "error"
    unfit: str = ""  # why `transformers` cannot chat with it: "task", "gguf", "base"
    task: str = ""
    weights: int = 0  # bytes: the download, and the least memory that it takes
    storage: int = 0  # bytes of the whole repository, all versions together

    @property
    def live(self) -> list[str]:
        """Providers that serve it for chat now."""
        return [name for name, status in (self.providers or {}).items() if status == "live"]

    @property
    def is_served(self) -> bool:
        """Whether the named provider, or any if none is named, serves it for chat now."""
        provider = split_provider(self.name)[1]
        return bool(self.live) if provider in ROUTES else provider in self.live

    def unusable(self, *, local: bool) -> str:
        """Return why it cannot be used: "missing", "disabled", "not_served" or `unfit`; "" if it can.

        A `local` model runs on the user's machine, so nobody else has to serve it.
        """
        if not self.exists or self.disabled:
            return "disabled" if self.exists else "missing"
        if local:
            return self.unfit
        return "" if self.live or self.providers is None else "not_served"


class Hub:
    """The Hub, for the questions of one command, which take at most `seconds` together.

    `token_refused` is true once the Hub has refused the token; then it is asked without.
    """

    def __init__(self, token: str = "", seconds: float = 2 * TIMEOUT) -> None:
        self.url = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self.token_refused = False
        self._token = token
        self._seconds = seconds  # left
        self._end = 0.0

    def page(self, model: HubModel) -> str:
        """Return the address of a model's page."""
        return f"{self.url}/{split_provider(model.name)[0]}"

    def look_up(self, names: Sequence[str]) -> list[HubModel | Unreachable]:
        """Ask about all models at the same time."""
        return self._all_at_once(self._look_up, names)

    def alternatives(self, names: Sequence[str], *, served: bool) -> list[list[str]]:
        """Return for each name up to three existing chat models with a similar one; with `served` only served ones."""
        search = functools.partial(self._search, served=served)
        return [[] if isinstance(similar, Unreachable) else similar for similar in self._all_at_once(search, names)]

    def has_dataset(self, name: str) -> bool | Unreachable:
        """Return whether this dataset exists and the token may see it."""
        return self._all_at_once(self._has_dataset, [name])[0]

    def _has_dataset(self, name: str) -> bool:
        if not _ID.fullmatch(name):
            return False
        response = self._get(f"/api/datasets/{name}")
        if _is_missing(response):
            return False
        if response.status_code == 200 or response.headers.get("X-Error-Code") == "GatedRepo":
            return True
        raise Unreachable(f"HTTP {response.status_code}")

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
        info = response.json()
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

    def _search(self, name: str, served: bool) -> list[str]:
        """Search for the name without its provider; the Hub matches all words, so drop words from the end."""
        model = split_provider(name)[0]
        words = model.split("/")[-1].split("-")
        similar: dict[str, None] = {}
        for length in range(len(words), 0, -1):
            params = [("search", "-".join(words[:length])), ("pipeline_tag", "text-generation"), ("limit", "20")]
            if served:
                params += [("inference", "warm"), ("expand", "inferenceProviderMapping")]
            else:
                params.append(("filter", "conversational"))
            try:
                hits = self._get("/api/models", params).json()
            except Unreachable:
                break
            similar |= {hit["id"]: None for hit in hits if not served or "live" in _providers(hit).values()}
            similar.pop(model, None)
            if len(similar) >= 3:
                break
        return sorted(similar, key=lambda hit: -difflib.SequenceMatcher(None, hit.lower(), model.lower()).ratio())[:3]

    def _get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> "requests.Response":
        """Ask the Hub; raise `Unreachable` for network errors, 429 and 5xx."""
        import requests

        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            raise Unreachable("HF_HUB_OFFLINE")
        trusted = next((os.environ[name] for name in _CERTIFICATES if os.environ.get(name)), True)

        def ask(token: str) -> "requests.Response":
            left = max(self._end - time.monotonic(), 0.1)
            auth = functools.partial(_sign, token)  # without one, requests would look into ~/.netrc
            return requests.get(self.url + path, list(params), auth=auth, timeout=left, verify=trusted)

        try:
            response = ask(self._token)
            if self._token and response.status_code == 401 and "X-Error-Code" not in response.headers:
                # The Hub refuses an expired token even where none is needed.
                self.token_refused = True
                response = ask("")
        except (requests.RequestException, OSError, ValueError) as error:  # OSError: no such certificates
            raise Unreachable(type(error).__name__) from None
        if response.status_code == 429 or response.status_code >= 500:
            raise Unreachable(f"HTTP {response.status_code}")
        return response

    def _all_at_once(self, ask: Callable[[str], T], names: Sequence[str]) -> list[T | Unreachable]:
        """Ask about several names at the same time; requests that time out are abandoned."""
        began = time.monotonic()
        self._end = began + min(self._seconds, TIMEOUT)
        answers: dict[str, T | Unreachable] = {}

        def answer(name: str) -> None:
            try:
                answers[name] = ask(name)
            except Unreachable as reason:
                answers[name] = reason
            except Exception as error:  # an answer in an unexpected form
                answers[name] = Unreachable(type(error).__name__)

        # Daemons do not keep the program alive: a server that sends byte after byte never times out.
        threads = [threading.Thread(target=answer, args=(name,), daemon=True) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(self._end + 0.5 - time.monotonic(), 0))  # time-outs get half a second to be raised
        self._seconds = max(self._seconds - (time.monotonic() - began), 0)
        return [answers.get(name, Unreachable(f"{TIMEOUT} s")) for name in names]


def _sign(token: str, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    if token:
        request.headers["Authorization"] = f"Bearer {token}"
    return request


def _is_missing(response: "requests.Response") -> bool:
    """Return whether the repository does not exist for us: the Hub answers 401 for unknown names."""
    return response.status_code in (401, 404) and response.headers.get("X-Error-Code") in (None, "RepoNotFound")


def _providers(model: Mapping[str, Any]) -> dict[str, str]:
    """Return provider → status for chat; the Hub gives a mapping for one model, and a list in lists of models."""
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
    if task == "text-generation" and tags and "conversational" not in tags:  # no chat template
        return "base"
    return ""
