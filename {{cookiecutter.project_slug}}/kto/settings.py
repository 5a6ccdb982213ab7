"""`project.toml`, read once and checked whole: every mistake is reported, not only the first."""

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from kto.ask.request_fields import SETTINGS
from kto.errors import UserError
from kto.model_names import hide_login, is_address
from kto.texts import ROOT, t

INFERENCE = ("huggingface", "local", "openai-compatible")
RESERVED = frozenset(
    {"model", "messages", "stream", "stream_options", "n", "best_of", "tools", "temperature", "top_p"}
    | {"max_tokens", "max_completion_tokens"}
)
"""Fields of a request that `extra` cannot have: there are settings for them, or answers would be another thing."""

TEXTS = "texts"
"""The kind of a list of texts that may also be one text: files that were written before it was a list have that."""

_KINDS: Mapping[object, str] = {bool: "a_bool", str: "a_string", int: "an_int", float: "a_float", dict: "a_table"}

T = TypeVar("T")
Check = Callable[[Any], bool]


def _one_of(*allowed: str) -> Check:
    return lambda value: value in allowed


def _between(low: float, high: float) -> Check:
    return lambda value: low <= value <= high


def _matches(pattern: str) -> Check:
    return lambda value: re.fullmatch(pattern, value) is not None


def _is_model(value: str) -> bool:
    """Accept a Hub id with an optional `:provider`, or the name that a server or a folder has."""
    return bool(value.strip()) and not any(character in value for character in "\r\n")


def _is_filter(value: Mapping[str, Any]) -> bool:
    """Accept columns with the value, or the list of values, that rows must have."""
    chosen = [each for wanted in value.values() for each in (wanted if isinstance(wanted, list) else [wanted])]
    return all(isinstance(each, str | int | float) for each in chosen)


def _setting(
    check: Check | None = None, allowed: str = "", default: Any = dataclasses.MISSING, kind: object = None
) -> Any:
    """Describe one setting: what its value must satisfy, and how to say so (`config.<allowed>` in the texts).

    A fact about the project has no default and must be in the file. Everything else has one, here and nowhere else, so
    a file that was written before the setting existed stays valid. Its `kind`, if given, is what `_convert` makes of
    the value in place of the field's type.
    """
    metadata = {"check": check, "allowed": allowed} | ({"type": kind} if kind else {})
    return dataclasses.field(default=default, metadata=metadata)


def _optional(kind: object, check: Check | None = None, allowed: str = "") -> Any:
    """Describe a setting that may be left out."""
    return dataclasses.field(default=None, metadata={"type": kind, "check": check, "allowed": allowed})


@dataclasses.dataclass(frozen=True)
class Project:
    """`[project]`: what the dataset is and whose it is."""

    name: str = _setting(lambda value: bool(value.strip()), "not_empty")
    slug: str = _setting(_matches(r"[a-z0-9](?:[a-z0-9._-]{0,94}[a-z0-9])?"), "slug")
    domain: str = _setting(lambda value: bool(value.strip()), "not_empty")
    hub_owner: str = _setting(_matches(r"(?:[A-Za-z0-9](?:[\w.-]{0,94}[A-Za-z0-9])?)?"), "hub_owner")
    license: str = _setting(lambda value: bool(value.strip()), "not_empty")

    @property
    def repo_id(self) -> str:
        """The dataset's address on the Hub, `owner/slug`; raise `UserError` while there is no owner."""
        if not self.hub_owner:
            raise UserError("no_owner")
        return f"{self.hub_owner}/{self.slug}"


@dataclasses.dataclass(frozen=True)
class Language:
    """`[language]`: language-neutral facts about the community's language."""

    tag: str = _setting(_matches(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*"), "tag")
    autonym: str = _setting()
    english_name: str = _setting()
    iso: str = _setting(_matches(r"[a-z]{2,3}"), "iso")
    script: str = _setting(_matches(r"[A-Z][a-z]{3}"), "script")
    direction: str = _setting(_one_of("ltr", "rtl"), "direction")
    texts: tuple[str, ...] = _setting(bool, "not_empty")
    reviewed: bool = _setting()


@dataclasses.dataclass(frozen=True)
class Generation:
    """`[generation]`: which models answer which prompts, and how."""

    inference: str = _setting(_one_of(*INFERENCE), "inference")
    models: tuple[str, ...] = _setting(
        lambda value: bool(value) and len(set(value)) == len(value) and all(map(_is_model, value)), "models"
    )
    prompts: tuple[str, ...] = _setting(
        lambda value: bool(value) and all(map(str.strip, value)), "not_empty", default=("starter",), kind=TEXTS
    )
    prompt_column: str = _setting(lambda value: bool(value.strip()), "not_empty", default="prompt")
    prompt_config: str = _setting(default="")
    prompt_split: str = _setting(lambda value: bool(value.strip()), "not_empty", default="train")
    prompt_filter: Mapping[str, Any] | None = _optional(dict, _is_filter, "filter")
    base_url: str = _setting(_matches(r"(?:https?://\S+)?"), "url", default="")
    router_url: str = _setting(_matches(r"https?://\S+"), "url", default="https://router.huggingface.co/v1")
    concurrency: int = _setting(_between(1, 1024), "concurrency", default=32)
    temperature: float = _setting(_between(0, 2), "temperature", default=0.7)
    max_tokens: int = _setting(_between(1, 1_000_000), "max_tokens", default=1024)
    timeout: float = _setting(_between(1, 86_400), "timeout", default=120.0)
    attempts: int = _setting(_between(1, 100), "attempts", default=4)
    loading_timeout: float = _setting(_between(1, 86_400), "timeout", default=600.0)
    ask_again: int = _setting(_between(0, 10), "ask_again", default=1)


@dataclasses.dataclass(frozen=True)
class ModelSettings:
    """`[models."NAME"]`: what is different for one model; None is as in `[generation]`.

    Attributes
    ----------
    base_url
        Its own server.
    key
        Name of the variable, in the environment or `.env`, that holds the key for that server.
    name
        The name that the server gives it.
    extra
        Further fields of a request (`seed`, `reasoning_effort`, …), but none of `RESERVED`.
    unsupported
        What the server does not take: names of `SETTINGS` in `kto.ask.request_fields`, or of `extra`. That changes what
        is sent, but not what answers are known by.
    """

    base_url: str | None = _optional(str, is_address, "url")
    key: str | None = _optional(str, _matches(r"[A-Za-z_][A-Za-z0-9_]*"), "variable")
    name: str | None = _optional(str, lambda value: bool(value.strip()), "not_empty")
    concurrency: int | None = _optional(int, _between(1, 1024), "concurrency")
    temperature: float | None = _optional(float, _between(0, 2), "temperature")
    top_p: float | None = _optional(float, _between(0, 1), "top_p")
    max_tokens: int | None = _optional(int, _between(1, 1_000_000), "max_tokens")
    timeout: float | None = _optional(float, _between(1, 86_400), "timeout")
    extra: Mapping[str, Any] | None = _optional(dict)
    unsupported: tuple[str, ...] | None = _optional(tuple)


@dataclasses.dataclass(frozen=True)
class NewPrompts:
    """`[new_prompts]`: what make_prompts.py asks a model for."""

    model: str = _setting(default="")
    topics: tuple[str, ...] = _setting(default=())
    count: int = _setting(_between(1, 1_000_000), "count", default=100)
    per_request: int = _setting(_between(1, 50), "per_request", default=5)
    similarity: float = _setting(_between(0.1, 1), "similarity", default=0.7)


@dataclasses.dataclass(frozen=True)
class Local:
    """`[local]`: the model server that `inference = "local"` starts."""

    command: tuple[str, ...] = _setting(default=())
    device: str = _setting(lambda value: bool(value.strip()), "not_empty", default="auto")
    concurrency: int = _setting(_between(1, 1024), "concurrency", default=4)
    start_timeout: float = _setting(_between(1, 86_400), "timeout", default=1800.0)


@dataclasses.dataclass(frozen=True)
class Annotation:
    """`[annotation]`: the task that people see in Argilla."""

    dataset: str = _setting(_matches(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}"), "dataset")
    workspace: str = _setting(_matches(r"[a-z0-9][a-z0-9_-]{0,199}"), "workspace", default="argilla")
    min_submitted: int = _setting(_between(1, 1000), "min_submitted", default=2)
    annotators: tuple[str, ...] = _setting(
        lambda value: all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}", name) for name in value), "annotators", ()
    )
    space: str = _setting(_matches(r"(?:[\w.-]+/[\w.-]+)?"), "space", default="")
    wrong_language: bool = _setting(default=False)


@dataclasses.dataclass(frozen=True)
class Export:
    """`[export]`: from votes to rows."""

    test_fraction: float = _setting(_between(0, 0.9), "test_fraction", default=0.1)
    seed: int = _setting(_between(0, 2**32 - 1), "seed", default=0)
    min_votes: int | None = _optional(int, _between(1, 1000), "min_submitted")  # see `Settings.min_votes`
    private: bool = _setting(default=True)


@dataclasses.dataclass(frozen=True)
class Training:
    """`[training]`: from rows to a model. Without a `learning_rate`, `train.py` has one for each method."""

    model: str = _setting(_is_model, "not_empty", default="Qwen/Qwen2.5-0.5B-Instruct")
    learning_rate: float | None = _optional(float, _between(1e-9, 1), "learning_rate")
    beta: float = _setting(_between(1e-6, 100), "beta", default=0.1)
    epochs: float = _setting(_between(0, 1000), "epochs", default=1.0)
    batch_size: int = _setting(_between(2, 4096), "batch_size", default=4)
    accumulation: int = _setting(_between(1, 1024), "concurrency", default=1)
    max_length: int = _setting(_between(16, 1_000_000), "max_length", default=2048)
    lora: object = _setting(
        lambda value: value == "auto" or isinstance(value, bool), "technical.allowed_lora", default="auto"
    )


@dataclasses.dataclass(frozen=True)
class Settings:
    """All of `project.toml`. `root` is the folder that holds it."""

    root: Path
    project: Project
    language: Language
    generation: Generation
    new_prompts: NewPrompts
    local: Local
    annotation: Annotation
    export: Export
    training: Training
    models: Mapping[str, ModelSettings] = dataclasses.field(default_factory=dict)

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


def _convert(value: object, kind: object) -> object:
    """Return `value` as the field's type, or raise `TypeError`: TOML's types are taken literally, but 1 is a float."""
    if kind is bool or kind is str or kind is int:
        if type(value) is kind:
            return value
    elif kind is float:
        if type(value) in (int, float):
            return float(value)  # type: ignore[arg-type]
    elif kind is dict:
        if isinstance(value, dict):
            return value
    elif kind is object:  # its check says what it may be
        return value
    elif kind is TEXTS and isinstance(value, str):
        return (value,)
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise TypeError


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return t("config.did_you_mean", name=close[0]) if close else ""


def _read_section(section: str, kind: type[T], table: object, problems: list[str]) -> T | None:
    if table is None and all(field.default is not dataclasses.MISSING for field in dataclasses.fields(kind)):  # type: ignore[arg-type]
        table = {}
    if not isinstance(table, Mapping):
        problems.append(t("config.missing_section", section=section))
        return None
    values: dict[str, object] = {}
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    known = [field.name for field in fields]
    for name in table:
        if name not in known:
            hint = _nearest(name, known)
            problems.append(f"{t('config.unknown_key', section=section, key=name)} {hint}".rstrip())
    for field in fields:
        if field.name not in table:
            if field.default is not dataclasses.MISSING:
                values[field.name] = field.default
            else:
                problems.append(t("config.missing_key", section=section, key=field.name))
            continue
        wanted = field.metadata.get("type", field.type)
        try:
            value = _convert(table[field.name], wanted)
        except TypeError:
            expected = _KINDS.get(wanted, "a_list")
            problems.append(t("config.wrong_type", section=section, key=field.name, expected=t(f"config.{expected}")))
            continue
        check = field.metadata["check"]
        if check is not None and not check(value):
            allowed = field.metadata["allowed"]
            allowed = t(allowed if "." in allowed else f"config.allowed_{allowed}")
            shown = table[field.name]
            shown = hide_login(shown) if isinstance(shown, str) else shown
            problems.append(t("config.wrong_value", section=section, key=field.name, value=shown, allowed=allowed))
        values[field.name] = value
    return kind(**values) if len(values) == len(fields) else None


def load(root: Path = ROOT) -> Settings:
    """Read and check `root/project.toml`.

    Raises
    ------
    UserError
        The file is missing, is no TOML (the message gives the line), or settings in it cannot be used (the message
        lists all of them by name).
    """
    path = root / "project.toml"
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError("no_project_toml", path=path) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError("bad_toml", path=path, reason=error) from None
    problems: list[str] = []
    sections = [field for field in dataclasses.fields(Settings) if field.name != "root"]
    for name in data:
        if name not in [field.name for field in sections]:
            hint = _nearest(name, [field.name for field in sections])
            problems.append(f"{t('config.unknown_section', section=name)} {hint}".rstrip())
    models = data.pop("models", {})
    for name, table in models.items() if isinstance(models, Mapping) else ():
        extra = table.get("extra") if isinstance(table, Mapping) else None
        for field, value in extra.items() if isinstance(extra, Mapping) else ():
            if field in RESERVED or not _is_json(value):
                problems.append(t("config.unknown_key", section=f'models."{name}".extra', key=field))
        unsupported = table.get("unsupported") if isinstance(table, Mapping) else None
        known = [*sorted(SETTINGS), *(extra if isinstance(extra, Mapping) else ())]
        for field in unsupported if isinstance(unsupported, list) else ():
            if isinstance(field, str) and field not in known:
                allowed = t("technical.allowed_unsupported", names=", ".join(known))
                value = {"section": f'models."{name}"', "key": "unsupported", "value": field, "allowed": allowed}
                problems.append(t("config.wrong_value", **value))
    parsed: dict[str, Any] = {
        field.name: _read_section(field.name, field.type, data.get(field.name), problems)  # type: ignore[arg-type]
        for field in sections
        if field.name != "models"
    }
    if isinstance(models, Mapping):
        parsed["models"] = {
            name: _read_section(f'models."{name}"', ModelSettings, models[name], problems) for name in models
        }
        known = parsed["generation"].models if parsed["generation"] else list(models)
        for name in models:
            if name not in known:
                hint = _nearest(name, list(known))
                problems.append(f"{t('config.unknown_model', name=name)} {hint}".rstrip())
    else:
        problems.append(t("config.missing_section", section="models"))
    if problems:
        raise UserError("bad_settings", path=path, problems="\n".join(f"  - {problem}" for problem in problems))
    return Settings(root=root, **parsed)
