"""`settings.toml`, read once and checked whole: every mistake is reported, not only the first.

A fact about the project has no default and must be in the file. Everything else has its default here and nowhere else,
so a file that was written before a setting existed stays valid.
"""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    Strict,
    ValidationError,
    WithJsonSchema,
)
from pydantic.fields import FieldInfo

from kto.ask.request_fields import SETTINGS
from kto.errors import UserError
from kto.model_names import hide_login, is_address
from kto.texts import ROOT, settings_file, t

INFERENCE = ("huggingface", "local", "openai-compatible")
RESERVED = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "best_of", "tools", "temperature", "top_p"}
    | {"max_tokens", "max_completion_tokens"}
)
"""Fields of a request that are not allowed in `extra`: they have their own setting or change the reply format."""
RENAMED = {("generation", "attempts"): "max_attempts", ("generation", "ask_again"): "language_retries"}
"""Earlier names of settings, which stay valid."""

_KINDS = {"string": "a_string", "int": "an_int", "float": "a_float", "bool": "a_bool", "dict": "a_table"}
"""Text for what a value must be, by the beginning of pydantic's error type; lists are the rest."""
_LIST = {"type": "array", "items": {"type": "string"}}


@dataclasses.dataclass(frozen=True)
class Allowed:
    """The text that says which values a setting takes: `config.allowed_NAME`, or the whole name of a text."""

    name: str


def _require(test: bool) -> None:
    if not test:
        raise ValueError


def _unique(models: tuple[str, ...]) -> tuple[str, ...]:
    _require(len(set(models)) == len(models))
    return models


def _address(url: str) -> str:
    _require(is_address(url))
    return url


def _filter(columns: dict[str, Any]) -> dict[str, Any]:
    """Accept columns with the value, or the list of values, that rows must have."""
    wanted = [item for value in columns.values() for item in (value if isinstance(value, list) else [value])]
    _require(all(isinstance(item, str | int | float) for item in wanted))
    return columns


NotEmpty = Annotated[str, Field(pattern=r"\S"), Allowed("not_empty")]
Model = Annotated[str, Field(pattern=r"^[^\r\n]*\S[^\r\n]*$"), Allowed("not_empty")]
"""A Hub id with an optional `:provider`, or the name that a server or a folder has."""
Texts = Annotated[tuple[str, ...], Strict(False)]
Positive = Annotated[int, Field(ge=1, le=1024)]
Seconds = Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False), Allowed("seconds")]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
Votes = Annotated[int, Field(ge=1, le=1000)]


class _Section(BaseModel):
    """TOML's types are taken literally, but 1 is a float."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Project(_Section):
    """What the dataset is and whose it is."""

    name: NotEmpty = Field(description="Title of all pages")
    slug: Annotated[str, Allowed("slug")] = Field(
        pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,94}[a-z0-9])?$",
        description="Name of the dataset on the Hub: hub_owner/slug",
    )
    domain: NotEmpty = Field(description="What the prompts are about")
    hub_owner: Annotated[str, Allowed("hub_owner")] = Field(
        pattern=r"^(?:[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?)?$",
        description="Your user or organisation on the Hub; empty: nothing is published",
    )
    license: NotEmpty = Field(description="Licence of the dataset, as the Hub writes it")

    @property
    def repo_id(self) -> str:
        """The dataset's address on the Hub, `owner/slug`; raise `UserError` while there is no owner."""
        if not self.hub_owner:
            raise UserError("no_owner")
        return f"{self.hub_owner}/{self.slug}"


class Language(_Section):
    """Facts about the community's language."""

    tag: Annotated[str, Allowed("tag")] = Field(
        pattern=r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*$", description="BCP-47 tag"
    )
    autonym: str = Field(description="Name of the language in the language")
    english_name: str = Field(description="Name of the language in English")
    iso: Annotated[str, Allowed("iso")] = Field(pattern=r"^[a-z]{2,3}$", description="ISO 639 code, for dataset cards")
    script: Annotated[str, Allowed("script")] = Field(pattern=r"^[A-Z][a-z]{3}$", description="ISO 15924 code")
    direction: Annotated[Literal["ltr", "rtl"], Allowed("direction")] = Field(description="Writing direction")
    texts: Annotated[Texts, Field(min_length=1), Allowed("not_empty")] = Field(
        description="Catalogues that the texts were taken from, first choice first"
    )
    reviewed: bool = Field(description="true once a native speaker has read the texts and pages")


class Generation(_Section):
    """Which models answer which prompts, and how."""

    inference: Annotated[Literal["huggingface", "local", "openai-compatible"], Allowed("inference")] = Field(
        description="Where the models run"
    )
    models: Annotated[
        tuple[Model, ...],
        Strict(False),
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_unique),
        Allowed("models"),
    ] = Field(description="Hub ids, each optionally with :provider, or the names that your server gives its models")
    prompts: Annotated[
        tuple[NotEmpty, ...],
        Strict(False),
        Field(min_length=1),
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
        WithJsonSchema({"anyOf": [{"type": "string"}, _LIST | {"minItems": 1}]}),
        Allowed("not_empty"),
    ] = Field(default=("starter",), description='"starter", ids of datasets on the Hub, or paths (.jsonl, .csv, .txt)')
    prompt_column: NotEmpty = Field(default="prompt", description="Column with the text of a prompt")
    prompt_config: str = Field(default="", description="Configuration of the dataset on the Hub, where it has several")
    prompt_split: NotEmpty = Field(default="train", description="Split of the dataset on the Hub")
    prompt_filter: Annotated[dict[str, Any], AfterValidator(_filter), Allowed("filter")] | None = Field(
        default=None, description="Only rows that have this value, or one of a list, in this column"
    )
    base_url: Annotated[str, Allowed("url")] = Field(
        default="",
        pattern=r"^(?:https?://\S+)?$",
        description='Address of the model server, for inference = "openai-compatible"',
    )
    router_url: Annotated[str, Allowed("url")] = Field(
        default="https://router.huggingface.co/v1",
        pattern=r"^https?://\S+$",
        description='Address of the router, for inference = "huggingface"',
    )
    concurrency: Positive = Field(default=32, description="Requests in flight per model")
    temperature: Temperature = Field(default=0.7, description="Sampling temperature")
    max_tokens: MaxTokens = Field(default=1024, description="Longest answer, in tokens")
    timeout: Seconds = Field(default=120.0, description="Seconds to wait for one answer")
    max_attempts: int = Field(
        default=4,
        ge=1,
        le=100,
        description="Attempts per answer before it is reported as missing; rate limits do not count",
    )
    loading_timeout: Seconds = Field(
        default=600.0,
        description="Seconds to wait for a server that is still loading the model",
    )
    language_retries: int = Field(
        default=1, ge=0, le=10, description="Retries of an answer in the wrong language, with a stricter instruction"
    )


class ModelSettings(_Section):
    """What is different for one model; without a value it is as in [generation]."""

    base_url: Annotated[str, AfterValidator(_address), Allowed("url")] | None = Field(
        default=None, description="Address of the model's own server"
    )
    key: Annotated[str | None, Allowed("variable")] = Field(
        default=None,
        pattern="^[A-Za-z_][A-Za-z0-9_]*$",
        description="Variable, in .env or the environment, that holds the key for that server",
    )
    name: NotEmpty | None = Field(default=None, description="The name that the server gives the model")
    concurrency: Positive | None = Field(default=None, description="Requests in flight")
    temperature: Temperature | None = Field(default=None, description="Sampling temperature")
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Share of the probability that tokens are sampled from"
    )
    max_tokens: MaxTokens | None = Field(default=None, description="Longest answer, in tokens")
    timeout: Seconds | None = Field(default=None, description="Seconds to wait for one answer")
    extra: dict[str, Any] | None = Field(
        default=None,
        description="Further fields of a request (seed, reasoning_effort, …)",
    )
    unsupported: Texts | None = Field(
        default=None,
        description="What the server refuses: max_tokens, temperature, top_p, system, or names of `extra`."
        " Changes what is sent, not which stored answers count",
    )


class NewPrompts(_Section):
    """What a model is asked for that writes new prompts."""

    model: str = Field(default="", description="Which of the models writes them; empty: the first")
    topics: Texts = Field(default=(), description="Subjects; empty: the domain")
    count: int = Field(default=100, ge=1, le=1_000_000, description="Prompts wanted in the file")
    per_request: int = Field(default=5, ge=1, le=50, description="Prompts per request")
    similarity: float = Field(
        default=0.7,
        ge=0.1,
        le=1,
        allow_inf_nan=False,
        description="Prompts this similar or more (Jaccard of 5-character n-grams) count as duplicates",
    )


class Local(_Section):
    """The model server that inference = "local" starts."""

    command: Texts = Field(
        default=(),
        description="How to start it; empty: `transformers serve` in an environment of its own",
    )
    device: NotEmpty = Field(default="auto", description='"auto", "cpu", "cuda", "mps"')
    concurrency: Positive = Field(default=4, description="Requests in flight; `timeout` is multiplied by it")
    start_timeout: Seconds = Field(default=1800.0, description="Seconds; the first start downloads the model")


class Annotation(_Section):
    """The task that people see in Argilla."""

    dataset: Annotated[str, Allowed("dataset")] = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}$", description="Name of the dataset in Argilla"
    )
    workspace: Annotated[str, Allowed("workspace")] = Field(
        default="argilla", pattern=r"^[a-z0-9][a-z0-9_-]{0,199}$", description="Workspace in Argilla"
    )
    min_submitted: Votes = Field(default=2, description="Votes per record before it leaves the queue")
    annotators: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,98}$")], ...],
        Strict(False),
        Allowed("annotators"),
    ] = Field(default=(), description="User names to invite; this file is shared, so no real names")
    space: Annotated[str, Allowed("space")] = Field(
        default="", pattern=r"^(?:[\w.-]+/[\w.-]+)?$", description="owner/name of an Argilla Space, if you use one"
    )
    wrong_language: bool = Field(default=False, description="true: people also vote on answers in the wrong language")


class Export(_Section):
    """From votes to rows."""

    test_fraction: float = Field(
        default=0.1, ge=0, le=0.9, allow_inf_nan=False, description="Share of the prompts that goes into the test split"
    )
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="Seed of the split and of the order of rows")
    min_votes: Votes | None = Field(
        default=None,
        description="Votes that an answer needs to be in the dataset; default: 2, or min_submitted if that is less",
    )
    private: bool = Field(default=True, description="A pushed dataset starts private")


class Training(_Section):
    """From rows to a model."""

    model: Model = Field(
        default="Qwen/Qwen2.5-0.5B-Instruct",
        description="Id on the Hub or a folder; any instruct model",
    )
    learning_rate: Annotated[float, Field(ge=1e-9, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Learning rate; default: train.py has one for each method"
    )
    beta: float = Field(
        default=0.1, ge=1e-6, le=100, allow_inf_nan=False, description="How closely the model stays to where it started"
    )
    epochs: float = Field(default=1.0, ge=0, le=1000, allow_inf_nan=False, description="Passes over the rows")
    batch_size: int = Field(default=4, ge=2, le=4096, description="Rows at a time on one device; at least 2")
    accumulation: Positive = Field(default=1, description="Batches for one step")
    max_length: int = Field(
        default=2048, ge=16, le=1_000_000, description="Tokens of prompt + completion; longer rows are left out"
    )
    lora: Annotated[Literal["auto"] | bool, Allowed("technical.allowed_lora")] = Field(
        default="auto", description='true: train a small addition to the weights; "auto": where memory is short'
    )


class Settings(_Section):
    """All settings of a project."""

    project: Project
    language: Language
    generation: Generation
    new_prompts: NewPrompts = NewPrompts()
    local: Local = Local()
    annotation: Annotation
    export: Export = Export()
    training: Training = Training()
    models: dict[str, ModelSettings] = Field(
        default={},
        description="What is different for one model, by its name in the list",
    )
    _root: Path = PrivateAttr(ROOT)

    @property
    def root(self) -> Path:
        """The project folder."""
        return self._root

    def model(self, name: str) -> ModelSettings:
        """Return the settings of one model."""
        return self.models.get(name, ModelSettings())

    @property
    def min_votes(self) -> int:
        """How many votes an answer needs to become a row: two that agree say more than one, where two are asked for."""
        wanted = self.export.min_votes
        return min(2, self.annotation.min_submitted) if wanted is None else wanted

    @property
    def system_prompt(self) -> str:
        """The text of `prompts/system_prompt.txt`, without the line end that editors add."""
        path = self.root / "prompts" / "system_prompt.txt"
        try:
            return path.read_text(encoding="utf-8-sig").removesuffix("\n")
        except (OSError, UnicodeDecodeError):
            raise UserError("no_system_prompt", path=path) from None


def load(root: Path = ROOT) -> Settings:
    """Read and check `root/settings.toml`, or `project.toml` where a project of an earlier version has that.

    Raises
    ------
    UserError
        The file is missing, is no TOML (the message gives the line), or settings in it cannot be used (the message
        lists all of them by name).
    """
    path = settings_file(root)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError("no_project_toml", path=path) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError("bad_toml", path=path, reason=error) from None
    problems: list[str] = []
    former: dict[tuple[str, str], str] = {}
    for (section, old), new in RENAMED.items():
        table = data.get(section)
        if isinstance(table, dict) and old in table:
            if new in table:
                problems.append(t("technical.both_names", section=section, old=old, new=new))
            former[section, new] = old
            table.setdefault(new, table.pop(old))
    settings = None
    try:
        settings = Settings.model_validate(data)
    except ValidationError as error:
        problems += dict.fromkeys(_problem(list(found["loc"]), found, data, former) for found in error.errors())
    problems += _problems_of_models(data)
    if problems or settings is None:
        raise UserError("bad_settings", path=path, problems="\n".join(f"  - {problem}" for problem in problems))
    settings._root = root
    return settings


def _problem(where: list[Any], error: Mapping[str, Any], data: Any, former: Mapping[tuple[str, str], str]) -> str:
    """Return the sentence for one of pydantic's errors at a place such as `["generation", "models", 0]`."""
    section, table = where[0], data.get(where[0])
    kind: Any = getattr(Settings.model_fields.get(section), "annotation", None)
    if section == "models" and where[1:]:
        where = where[1:]
        section, kind, table = f'models."{where[0]}"', ModelSettings, table[where[0]]
    if not where[1:]:
        if error["type"] == "extra_forbidden":
            return _with_hint(t("config.unknown_section", section=section), section, Settings.model_fields)
        return t("config.missing_section", section=section)
    key, *inside = where[1:]
    if error["type"] == "extra_forbidden":
        return _with_hint(t("config.unknown_key", section=section, key=key), key, kind.model_fields)
    place = {"section": section, "key": former.get((section, key), key)}
    if error["type"] == "missing":
        return t("config.missing_key", **place)
    if error["type"].endswith("_type") and not (inside and isinstance(inside[0], str)):
        expected = "a_list" if inside else _KINDS.get(error["type"].removesuffix("_type"), "a_list")
        return t("config.wrong_type", **place, expected=t(f"config.{expected}"))
    bounds: dict[str, object] = {}
    allowed = "number"
    for item in _metadata(kind.model_fields[key]):
        if isinstance(item, Ge):
            bounds["low"] = item.ge
        elif isinstance(item, Le):
            bounds["high"] = item.le
        elif isinstance(item, Allowed):
            allowed = item.name
    sentence = t(allowed if "." in allowed else f"config.allowed_{allowed}", **bounds)
    shown = hide_login(table[key]) if isinstance(table[key], str) else table[key]
    return t("config.wrong_value", **place, value=shown, allowed=sentence)


def _metadata(of: Any) -> Iterator[object]:
    """Yield what is annotated on a field, also on what it is if it is not None."""
    if isinstance(of, FieldInfo):
        yield from of.metadata
        yield from _metadata(of.annotation)
    elif get_origin(of) is Annotated:
        for item in get_args(of)[1:]:
            yield from _metadata(item) if isinstance(item, FieldInfo) else (item,)
        yield from _metadata(get_args(of)[0])
    elif get_origin(of) in (Union, UnionType):
        for item in get_args(of):
            yield from _metadata(item)


def _problems_of_models(data: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong in `[models]` that depends on other settings."""
    models = data.get("models")
    if not isinstance(models, dict):
        return
    generation = data.get("generation")
    listed = generation.get("models") if isinstance(generation, dict) else None
    known = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else list(models)
    for name, table in models.items():
        if name not in known:
            yield _with_hint(t("config.unknown_model", name=name), name, known)
        extra = table.get("extra") if isinstance(table, dict) else None
        extra = extra if isinstance(extra, dict) else {}
        for field, value in extra.items():
            if field in RESERVED or not _is_json(value):
                yield t("config.unknown_key", section=f'models."{name}".extra', key=field).rstrip()
        unsupported = table.get("unsupported") if isinstance(table, dict) else None
        fields = [*sorted(SETTINGS), *extra]
        for field in unsupported if isinstance(unsupported, list) else ():
            if isinstance(field, str) and field not in fields:
                place = {"section": f'models."{name}"', "key": "unsupported", "value": field}
                allowed = t("technical.allowed_unsupported", names=", ".join(fields))
                yield t("config.wrong_value", **place, allowed=allowed)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _with_hint(sentence: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{sentence} {t('config.did_you_mean', name=close[0])}" if close else sentence
