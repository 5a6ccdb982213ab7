"""What the Hub says about models: are they there, who serves them, how large are they?"""

import concurrent.futures
import dataclasses
import difflib
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from kto.config import split_provider

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

TIMEOUT = 10
"""Seconds that the Hub has to answer one question. The client itself would wait for ever."""
ROUTES = ("", "fastest", "cheapest", "preferred")
"""What a model's name may have in place of a provider: the router chooses one."""
_FIELDS = ["inferenceProviderMapping", "gated", "pipeline_tag", "tags", "disabled", "safetensors", "usedStorage"]
_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2}  # per parameter; all others: 1

T = TypeVar("T")


class Unreachable(Exception):
    """The Hub gave no answer that says anything about the model."""


class BadToken(Exception):
    """The Hub does not accept the token."""


@dataclasses.dataclass(frozen=True)
class HubModel:
    """A model as the Hub describes it now.

    Attributes
    ----------
    name
        Its name in the project, with the provider if one is named.
    exists
        False also for a private model that the token may not read.
    disabled
        The Hub has switched it off.
    gated
        Its owners want to be asked before they give it away.
    readable
        The token may download it; only asked for gated models.
    live
        Providers that serve it for conversations at this moment.
    weights
        Bytes of its weights: the download, and the least memory that it takes. 0 if the Hub does not know.
    storage
        Bytes of the whole repository, all versions together. 0 if the Hub does not know.
    """

    name: str
    exists: bool = True
    disabled: bool = False
    gated: bool = False
    readable: bool = True
    live: tuple[str, ...] = ()
    weights: int = 0
    storage: int = 0

    @property
    def url(self) -> str:
        """Its page on the Hub."""
        from huggingface_hub import constants

        return f"{constants.ENDPOINT}/{split_provider(self.name)[0]}"

    @property
    def is_served(self) -> bool:
        """Whether the provider that is named, or any if none is named, serves it for conversations now."""
        provider = split_provider(self.name)[1]
        return bool(self.live) if provider in ROUTES else provider in self.live


def look_up(names: Sequence[str], token: str) -> list[HubModel | Unreachable | BadToken]:
    """Ask the Hub about all models at the same time; an exception in the list means that there was no answer."""
    return _all_at_once([lambda name=name: _look_up(name, token) for name in names])  # type: ignore[misc]


def alternatives(name: str, token: str, *, served: bool) -> list[str]:
    """Return up to three chat models with a similar name that are there, and served by some provider if `served`.

    The Hub finds what contains all of the words that it is given, so words are left off from the end until it does.
    """
    model = split_provider(name)[0]
    words = model.split("/")[-1].split("-")
    found: list[str] = []
    for length in range(len(words), 0, -1):
        search = "-".join(words[:length])
        [hits] = _all_at_once([lambda search=search: _search(search, token, served)])  # type: ignore[misc]
        if isinstance(hits, Exception):
            break
        found += [hit for hit in hits if hit != model and hit not in found]
        if len(found) >= 3:
            break
    return sorted(found, key=lambda hit: -difflib.SequenceMatcher(None, hit.lower(), model.lower()).ratio())[:3]


def has_dataset(name: str, token: str) -> bool | Unreachable | BadToken:
    """Tell whether there is such a dataset on the Hub that the token may see."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    def ask() -> bool:
        try:
            HfApi().dataset_info(name, timeout=TIMEOUT, token=token or False)
        except GatedRepoError:
            return True
        except (RepositoryNotFoundError, HFValidationError):
            return False
        return True

    [answer] = _all_at_once([ask])
    return answer


def _look_up(name: str, token: str) -> HubModel:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    api = HfApi()
    model = split_provider(name)[0]
    try:
        info = api.model_info(model, expand=_FIELDS, timeout=TIMEOUT, token=token or False)  # type: ignore[arg-type]
    except GatedRepoError:  # before its base class, which means something else
        return HubModel(name, gated=True, readable=False)
    except (RepositoryNotFoundError, HFValidationError):
        return HubModel(name, exists=False)
    except HfHubHTTPError as error:
        if error.response.status_code == 401 and not token:  # what the Hub says of names that it does not know
            return HubModel(name, exists=False)
        raise
    readable = True
    if info.gated:
        try:
            api.auth_check(model, token=token or False)
        except HfHubHTTPError:
            readable = False
    parameters = info.safetensors.parameters if info.safetensors else {}
    return HubModel(
        name,
        disabled=bool(info.disabled),
        gated=bool(info.gated),
        readable=readable,
        live=tuple(_live(info)),
        weights=sum(_BYTES.get(kind, 1) * count for kind, count in parameters.items()),
        storage=info.used_storage or 0,
    )


def _live(info: "ModelInfo") -> list[str]:
    mapping = info.inference_provider_mapping or []
    return [each.provider for each in mapping if each.status == "live" and each.task == "conversational"]


def _search(text: str, token: str, served: bool) -> list[str]:
    from huggingface_hub import HfApi

    wanted: dict[str, Any] = {"inference": "warm", "expand": ["inferenceProviderMapping"]} if served else {}
    models = HfApi().list_models(search=text, pipeline_tag="text-generation", limit=20, token=token or False, **wanted)
    return [info.id for info in itertools.islice(models, 20) if not served or _live(info)]


def _all_at_once(questions: Sequence[Callable[[], T]]) -> list[T | Unreachable | BadToken]:
    """Ask the Hub several questions at the same time; what has no answer in time is left to itself."""
    asked: list[concurrent.futures.Future[T]] = []
    for question in questions:
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()
        # Of a kind that does not keep the program alive: the client retries and waits longer than people do.
        threading.Thread(target=_answer, args=(question, answer), daemon=True).start()
        asked.append(answer)
    concurrent.futures.wait(asked, timeout=TIMEOUT)
    return list(map(_result, asked))


def _answer(question: Callable[[], T], answer: "concurrent.futures.Future[T]") -> None:
    try:
        answer.set_result(question())
    except Exception as error:  # network trouble comes in many types, some of them the HTTP library's own
        answer.set_exception(error)


def _result(answer: "concurrent.futures.Future[T]") -> T | Unreachable | BadToken:
    from huggingface_hub.errors import HfHubHTTPError

    if not answer.done():
        return Unreachable(f"{TIMEOUT} s")
    error = answer.exception()
    if error is None:
        return answer.result()
    status = error.response.status_code if isinstance(error, HfHubHTTPError) and error.response is not None else None
    return BadToken() if status == 401 else Unreachable(f"HTTP {status}" if status else type(error).__name__)
