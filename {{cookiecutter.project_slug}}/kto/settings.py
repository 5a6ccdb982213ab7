"""`settings.toml`: all settings with defaults, limits and earlier names; every mistake is reported at once.

A fact about the project has no default and must be in the file. Everything else has its default here and nowhere else,
so a file that was written before a setting existed stays valid.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from kto.ask.request_fields import BASIC_FIELDS
from kto.errors import UserError
from kto.model_names import hide_login, is_address
from kto.questions import ASPECTS, BAD, FLAGS, GOOD, NAME, NOT_ASPECTS, REASONS, TASK
from kto.texts import ROOT, settings_file, t

try:
    from pydantic import (
        AfterValidator,
        BaseModel,
        BeforeValidator,
        ConfigDict,
        Field,
        JsonValue,
        PrivateAttr,
        Strict,
        TypeAdapter,
        ValidationError,
        ValidationInfo,
        WithJsonSchema,
        field_validator,
        model_validator,
    )
    from pydantic_core import PydanticCustomError
except ModuleNotFoundError as error:
    raise SystemExit(t("technical.no_package", name=error.name)) from None

RESERVED = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "best_of", "tools", "temperature", "top_p"}
    | {"max_tokens", "max_completion_tokens"}
)
"""Fields of a request that are not allowed in `extra`: they have their own setting or change the reply format."""
RENAMED = {("generation", "attempts"): "max_attempts", ("generation", "ask_again"): "language_retries"}
"""Earlier names of settings, which stay valid."""

_KINDS = {"string": "a_string", "int": "an_int", "float": "a_float", "bool": "a_bool"} | dict.fromkeys(
    ("dict", "model"), "a_table"
)
"""Text for what a value must be, by the beginning of pydantic's error type; lists are the rest."""
_ALLOWED = {
    **{key: f"config.allowed_{key}" for key in ("slug", "hub_owner", "tag", "iso", "script", "direction")},
    **{key: f"config.allowed_{key}" for key in ("inference", "models", "dataset", "workspace", "annotators", "space")},
    **dict.fromkeys(("base_url", "router_url"), "config.allowed_url"),
    **dict.fromkeys(("timeout", "loading_timeout", "start_timeout"), "config.allowed_seconds"),
    **{"prompt_filter": "config.allowed_filter", "key": "config.allowed_variable"},
    # Few people change these: their texts are in English alone.
    **{key: f"technical.allowed_{key}" for key in ("lora", "rule", "aspects", "reasons")},
    **dict.fromkeys(("good", "bad", "flags"), "technical.allowed_names"),
}
"""Text for the values that a setting takes; others are a number in bounds, or not empty."""


def _only_if(is_allowed: Callable[[Any], bool]) -> AfterValidator:
    """Let a field take only values for which this is true."""

    def checked(value: Any) -> Any:
        if not is_allowed(value):
            raise ValueError
        return value

    return AfterValidator(checked)


NotEmpty = Annotated[str, Field(pattern=r"\S")]
Model = Annotated[str, Field(pattern=r"^[^\r\n]*\S[^\r\n]*$")]
"""A Hub id with an optional `:provider`, or the name that a server or a folder has."""
Texts = Annotated[tuple[str, ...], Strict(False)]
Names = Annotated[tuple[Annotated[str, Field(pattern=NAME)], ...], Strict(False)]
Positive = Annotated[int, Field(ge=1, le=1024)]
Seconds = Annotated[float, Field(ge=1, le=86_400)]
Temperature = Annotated[float, Field(ge=0, le=2)]
MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]
Votes = Annotated[int, Field(ge=1, le=1000)]
_USER_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}"
UserName = Annotated[str, Field(pattern=f"^{_USER_NAME}$")]
Scalar = str | bool | int | float
Json = Annotated[Any, AfterValidator(TypeAdapter(JsonValue, config=ConfigDict(allow_inf_nan=False)).validate_python)]


def is_user_name(text: str) -> bool:
    """Tell whether this can be the name of a person in `[annotation] annotators`."""
    return re.fullmatch(_USER_NAME, text) is not None


class _Section(BaseModel):
    """TOML's types are taken literally, but 1 is a float."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


def _default(value: Any, description: str, **limits: Any) -> Any:
    """Return the field of a setting with a default."""
    return Field(default=value, description=description, **limits)


class Project(_Section):
    """What the dataset is and whose it is."""

    name: NotEmpty = Field(description="Title of all pages")
    slug: str = Field(
        pattern=r"^[a-z0-9](?:[a-z0-9._-]{0,94}[a-z0-9])?$",
        description="Name of the dataset on the Hub: hub_owner/slug",
    )
    domain: NotEmpty = Field(description="What the prompts are about")
    hub_owner: str = Field(
        pattern=r"^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9])?)?$",
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

    tag: str = Field(pattern=r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*$", description="BCP-47 tag")
    autonym: str = Field(description="Name of the language in the language")
    english_name: str = Field(description="Name of the language in English")
    iso: str = Field(pattern=r"^[a-z]{2,3}$", description="ISO 639 code, for dataset cards")
    script: str = Field(pattern=r"^[A-Z][a-z]{3}$", description="ISO 15924 code")
    direction: Literal["ltr", "rtl"] = Field(description="Writing direction")
    texts: Annotated[Texts, Field(min_length=1)] = Field(description="Catalogues of the texts, first choice first")
    reviewed: bool = Field(description="true once a native speaker has read the texts and pages")


class Generation(_Section):
    """Which models answer which prompts, and how."""

    inference: Literal["huggingface", "local", "openai-compatible"] = Field(description="Where the models run")
    models: Annotated[
        tuple[Model, ...],
        Strict(False),
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        _only_if(lambda models: len(set(models)) == len(models)),
    ] = Field(description="Hub ids, each optionally with :provider, or the names that your server gives its models")
    prompts: Annotated[
        tuple[NotEmpty, ...],
        Strict(False),
        Field(min_length=1),
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = _default(("starter",), '"starter", ids of datasets on the Hub, or paths (.jsonl, .csv, .txt)')
    prompt_column: NotEmpty = _default("prompt", "Column with the text of a prompt")
    prompt_config: str = _default("", "Configuration of the dataset on the Hub, where it has several")
    prompt_split: NotEmpty = _default("train", "Split of the dataset on the Hub")
    prompt_filter: dict[str, Scalar | list[Scalar]] | None = _default(
        None, "Only rows that have this value, or one of a list, in this column"
    )
    base_url: str = _default(
        "", 'Address of the model server, for inference = "openai-compatible"', pattern=r"^(?:https?://\S+)?$"
    )
    router_url: str = _default(
        "https://router.huggingface.co/v1", 'Router, for inference = "huggingface"', pattern=r"^https?://\S+$"
    )
    concurrency: Positive = _default(32, "Requests in flight per model")
    temperature: Temperature = _default(0.7, "Sampling temperature")
    max_tokens: MaxTokens = _default(1024, "Longest answer, in tokens")
    timeout: Seconds = _default(120.0, "Seconds to wait for one answer")
    max_attempts: int = _default(
        4, "Attempts per answer before it is reported as missing; rate limits do not count", ge=1, le=100
    )
    loading_timeout: Seconds = _default(600.0, "Seconds to wait for a server that is still loading the model")
    language_retries: int = _default(
        1, "Retries of an answer in the wrong language, with a stricter instruction", ge=0, le=10
    )


class ModelSettings(_Section):
    """What is different for one model; without a value it is as in [generation]."""

    base_url: Annotated[str, _only_if(is_address)] | None = _default(None, "Address of the model's own server")
    key: str | None = _default(
        None, "Variable in .env or the environment with the server's key", pattern="^[A-Za-z_][A-Za-z0-9_]*$"
    )
    name: NotEmpty | None = _default(None, "The name that the server gives the model")
    concurrency: Positive | None = _default(None, "Requests in flight")
    temperature: Temperature | None = _default(None, "Sampling temperature")
    top_p: Annotated[float, Field(ge=0, le=1)] | None = _default(None, "Share of the probability to sample from")
    max_tokens: MaxTokens | None = _default(None, "Longest answer, in tokens")
    timeout: Seconds | None = _default(None, "Seconds to wait for one answer")
    extra: dict[Annotated[str, _only_if(lambda field: field not in RESERVED)], Json] | None = _default(
        None, "Further fields of a request (seed, reasoning_effort, …)"
    )
    unsupported: Texts | None = _default(
        None,
        "Fields that the server refuses: max_tokens, temperature, top_p, system, or names of `extra`."
        " Changes what is sent, not which stored answers count",
    )

    @field_validator("unsupported")
    @classmethod
    def _is_sent(cls, names: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if "extra" not in info.data:  # what is wrong with it is said already
            return names
        fields = [*sorted(BASIC_FIELDS), *(info.data["extra"] or ())]
        for name in names or ():
            if name not in fields:
                allowed = t("technical.allowed_unsupported", names=", ".join(fields))
                raise PydanticCustomError("unsupported", "", {"field": name, "allowed": allowed})
        return names


class NewPrompts(_Section):
    """What a model is asked for that writes new prompts."""

    model: str = _default("", "Which of the models writes them; empty: the first")
    topics: Texts = _default((), "Subjects; empty: the domain")
    count: int = _default(100, "Prompts wanted in the file", ge=1, le=1_000_000)
    per_request: int = _default(5, "Prompts per request", ge=1, le=50)
    similarity: float = _default(
        0.7, "Prompts this similar or more (Jaccard of 5-character n-grams) count as duplicates", ge=0.1, le=1
    )


class Local(_Section):
    """The model server that inference = "local" starts."""

    command: Texts = _default((), "How to start it; empty: `transformers serve` in an environment of its own")
    device: NotEmpty = _default("auto", '"auto", "cpu", "cuda", "mps"')
    concurrency: Positive = _default(4, "Requests in flight; `timeout` is multiplied by it")
    start_timeout: Seconds = _default(1800.0, "Seconds; the first start downloads the model")


Aspect = Annotated[
    str,
    Field(pattern=NAME, json_schema_extra={"not": {"enum": [*NOT_ASPECTS]}}),
    _only_if(lambda name: name not in NOT_ASPECTS),
]


class Reasons(_Section):
    """Reasons that people can give, each with a text `task.reason_NAME`; an empty list asks for none."""

    good: Names = _default(REASONS[GOOD], "For a thumbs up")
    bad: Names = _default(REASONS[BAD], "For a thumbs down")
    flags: Names = _default(FLAGS, "For both; they take an answer away until the lead has looked at it")

    @model_validator(mode="after")
    def _more_than_one(self) -> Self:
        """Argilla has no question with one answer."""
        if len({*self.good, *self.bad, *self.flags}) == 1:
            raise ValueError
        return self


class Annotation(_Section):
    """The task that people see in Argilla."""

    dataset: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}$", description="Name of the dataset in Argilla")
    workspace: str = _default("argilla", "Workspace in Argilla", pattern=r"^[a-z0-9][a-z0-9_-]{0,199}$")
    task: int = _default(1, "What people are asked: 1 as before November 2026, 2 as today", ge=1, le=TASK)
    min_submitted: Votes = _default(2, "Votes per record before it leaves the queue")
    third_vote: bool = _default(True, "Somebody else is asked where the votes on an answer are tied (task 2)")
    measured_share: Annotated[float, Field(ge=0, le=1)] = _default(
        0.1, "Share of the answers that get one vote more, to measure agreement (task 2)"
    )
    aspects: Annotated[tuple[Aspect, ...], Strict(False)] = _default(
        ASPECTS, "What people can say after the thumb, each a section in `aspects` of the texts"
    )
    reasons: Reasons = _default(Reasons(), "Reasons that people can give")
    annotators: Annotated[tuple[UserName, ...], Strict(False)] = _default(
        (), "User names to invite; this file is shared, so no real names"
    )
    contact: str = _default("", "Who runs this and how to reach them, as the consent says it")
    space: str = _default(
        "", "owner/name of an Argilla Space, if you use one", pattern=r"^(?:[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+)?$"
    )
    seconds_per_card: Annotated[float, Field(ge=1, le=3600)] | None = _default(
        None, "For vote.py plan; default: measured, or guessed from the length of the answers"
    )
    wrong_language: bool = _default(False, "true: people also vote on answers in the wrong language")
    self_naming: bool = _default(False, "true: people also vote on answers that say which model wrote them")

    @property
    def asks_third(self) -> bool:
        """Whether somebody else is asked where the votes on an answer are tied."""
        return self.task >= TASK and self.third_vote

    @property
    def measured(self) -> float:
        """Share of the answers that get one vote more, to measure agreement."""
        return self.measured_share if self.task >= TASK else 0.0


class Export(_Section):
    """From votes to rows."""

    rule: Literal["majority", "unanimous", "confidence"] = _default(
        "majority",
        "Which answers get a row: those with a majority, those without a differing vote, or those that are sure",
    )
    min_confidence: float = _default(0.8, 'How sure a label is at least, with rule = "confidence"', ge=0, le=1)
    test_fraction: float = _default(0.1, "Share of the prompts that goes into the test split", ge=0, le=0.9)
    seed: int = _default(0, "Seed of the split and of the order of rows", ge=0, le=2**32 - 1)
    min_votes: Votes | None = _default(
        None, "Votes that an answer needs to be in the dataset; default: 2, or min_submitted if that is less"
    )
    private: bool = _default(True, "A pushed dataset starts private")


class Training(_Section):
    """From rows to a model."""

    model: Model = _default("Qwen/Qwen2.5-0.5B-Instruct", "Id on the Hub or a folder; any instruct model")
    learning_rate: Annotated[float, Field(ge=1e-9, le=1)] | None = _default(None, "Default: depends on the method")
    beta: float = _default(0.1, "How closely the model stays to where it started", ge=1e-6, le=100)
    epochs: float = _default(1.0, "Passes over the rows", ge=0, le=1000)
    batch_size: int = _default(4, "Rows at a time on one device; at least 2", ge=2, le=4096)
    accumulation: Positive = _default(1, "Batches for one step")
    max_length: int = _default(2048, "Tokens of prompt + completion; longer rows are left out", ge=16, le=1_000_000)
    lora: Literal["auto"] | bool = _default(
        "auto", 'true: train a small addition to the weights; "auto": where memory is short'
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
    models: dict[str, ModelSettings] = _default({}, "What is different for one model, by its name in the list")
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
    earlier: dict[tuple[str, str], str] = {}
    for (section, old), new in RENAMED.items():
        table = data.get(section)
        if isinstance(table, dict) and old in table:
            if new in table:
                problems.append(t("technical.both_names", section=section, old=old, new=new))
            earlier[section, new] = old
            table.setdefault(new, table.pop(old))
    try:
        settings = Settings.model_validate(data)
        settings._root = root
    except ValidationError as invalid:
        problems += [_problem(error, data, earlier) for error in invalid.errors()]
    problems += _unlisted_models(data)
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in dict.fromkeys(problems))
        raise UserError("bad_settings", path=path, problems=listed)
    return settings


def _problem(error: Mapping[str, Any], data: Mapping[str, Any], earlier: Mapping[tuple[str, str], str]) -> str:
    """Return the sentence for one of pydantic's errors, whose place is such as `("generation", "models", 0)`."""
    section, *place = error["loc"]
    kind: Any = getattr(Settings.model_fields.get(section), "annotation", None)
    table: Any = data.get(section)
    if section == "models" and place:
        name, *place = place
        section, kind, table = f'models."{name}"', ModelSettings, table[name]
    if not place:
        if error["type"] == "extra_forbidden":
            return _with_hint(t("config.unknown_section", section=section), section, Settings.model_fields)
        return t("config.missing_section", section=section)
    key, *inside = place
    within = getattr(kind.model_fields.get(key), "annotation", None)
    if inside and isinstance(within, type) and issubclass(within, _Section):
        section, kind, table = f"{section}.{key}", within, table[key]
        key, *inside = inside
    if error["type"] == "extra_forbidden":
        return _with_hint(t("config.unknown_key", section=section, key=key), key, kind.model_fields)
    if key == "extra" and inside:
        return t("config.unknown_key", section=f"{section}.extra", key=inside[0]).rstrip()
    names = {"section": section, "key": earlier.get((section, key), key)}
    if error["type"] == "missing":
        return t("config.missing_key", **names)
    if error["type"] == "unsupported":
        return t("config.wrong_value", **names, value=error["ctx"]["field"], allowed=str(error["ctx"]["allowed"]))
    if error["type"].endswith("_type") and not (inside and isinstance(inside[0], str)):
        expected = "a_list" if inside else _KINDS.get(error["type"].removesuffix("_type"), "a_list")
        return t("config.wrong_type", **names, expected=t(f"config.{expected}"))
    shown = hide_login(table[key]) if isinstance(table[key], str) else table[key]
    return t("config.wrong_value", **names, value=shown, allowed=_allowed(kind, key))


def _allowed(kind: type[BaseModel], key: str) -> str:
    """Return the sentence for the values that a setting takes."""
    schema = kind.model_json_schema()["properties"][key]
    schema = schema.get("anyOf", [schema])[0]
    text = _ALLOWED.get(key, "config.allowed_number" if "minimum" in schema else "config.allowed_not_empty")
    return t(text, low=schema.get("minimum"), high=schema.get("maximum"))


def _unlisted_models(data: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each table in `[models]` whose name is not in the list of models."""
    generation, models = data.get("generation"), data.get("models")
    listed = generation.get("models") if isinstance(generation, dict) else None
    if not (isinstance(listed, list) and isinstance(models, dict)):
        return []
    known = [name for name in listed if isinstance(name, str)]
    return [_with_hint(t("config.unknown_model", name=name), name, known) for name in models if name not in known]


def _with_hint(sentence: str, name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{sentence} {t('config.did_you_mean', name=close[0])}" if close else sentence
