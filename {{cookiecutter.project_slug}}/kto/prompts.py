"""The prompts: from the starter file, a file (JSONL, CSV, or text with one per line) or a dataset on the Hub."""

import contextlib
import dataclasses
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kto import prompt_files
from kto.config import Config, as_path
from kto.errors import UserError
from kto.prompt_files import OTHER_FILES, Filter, NoColumn, Problem, Unusable, is_path, text_of
from kto.store import Message
from kto.texts import t

STARTER = Path("prompts") / "starter.jsonl"
_SHOWN = 5  # bad lines that a message lists
_LISTED = 50  # names of configurations and splits in a message
LOOKED_AT = 10_000
"""Rows that `look_at_dataset` looks at, at most."""
_WHOLE_SPLIT = re.compile(r"(?!all\Z)[\w.-]+")
_DATASET_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Prompt:
    """One prompt: the text as it was written, and the id that follows from it."""

    id: str
    text: str


@dataclasses.dataclass(frozen=True)
class Prompts:
    """All prompts, each once and in the order of the source, and how many were passed over."""

    prompts: list[Prompt]
    duplicates: int
    empty: int


def prompt_id(text: str) -> str:
    """Return the id of a prompt: the first 16 hex digits of the SHA-256 of its text in UTF-8, NFC.

    NFC because the same letters can be written with different code points, and editors change them silently.
    """
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8")).hexdigest()[:16]


def messages(system_prompt: str, text: str) -> list[Message]:
    """Return the conversation that a model gets; without a system prompt it has one message."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": text}]


def source(config: Config) -> Path | str:
    """Return where the prompts come from: a path, or the id of a dataset on the Hub.

    It is a path if there is such a file, or if the name ends or begins as only a path does. Relative paths start at the
    project folder.

    Raises
    ------
    UserError
        It is neither.
    """
    name = config.generation.prompts
    path = config.root / STARTER if name == "starter" else as_path(config.root, name)
    if path is None:
        raise UserError("no_such_prompts", name=name)
    if name == "starter" or ((is_path(name) or path.is_file()) and path.suffix.lower() not in OTHER_FILES):
        return path
    if is_path(name) or not _DATASET_ID.fullmatch(name):
        raise UserError("no_such_prompts", name=name)
    return name


def load(config: Config, limit: int | None = None, token: str | None = None) -> Prompts:
    """Return the prompts of the project, the first `limit` of them if it is given.

    Raises
    ------
    UserError
        The source cannot be read, a line of the file is wrong (the message says which), or there is no prompt.
    """
    origin = source(config)
    chosen = Filter(config.generation.prompt_filter)
    texts: Iterable[str | None]
    if isinstance(origin, Path):
        texts = read(origin, config.generation.prompt_column, chosen)
    else:
        texts = _read_dataset(config, chosen, limit is not None, token)
    found = _distinct(texts, limit)
    if not found.prompts:
        if chosen.others:
            values = ", ".join(chosen.others)
            raise UserError(
                "technical.filter_fits_nothing", source=origin, columns=", ".join(chosen.wanted), values=values
            )
        raise UserError("no_prompts", source=origin)
    return found


def _distinct(texts: Iterable[str | None], limit: int | None) -> Prompts:
    found: dict[str, Prompt] = {}
    duplicates = empty = 0
    for text in texts:
        if text is None:
            empty += 1
            continue
        prompt = Prompt(prompt_id(text), text)
        if prompt.id in found:
            duplicates += 1
            continue
        found[prompt.id] = prompt
        if limit is not None and len(found) == limit:
            break
    return Prompts(list(found.values()), duplicates, empty)


def read(path: Path, column: str, chosen: Filter | None = None) -> list[str]:
    """Return the prompts in a file, in the format that its name says; JSONL if it says none.

    Raises
    ------
    UserError
        The file cannot be read, or lines are wrong (the message says which).
    """
    chosen = chosen or Filter()
    try:
        texts, problems = prompt_files.read(path.read_bytes(), path.suffix, column, chosen)
    except OSError as error:
        raise UserError("no_prompts_file", path=path, reason=error.strerror or error) from None
    except NoColumn as error:
        _need_filter_columns(path, error.columns, chosen)
        raise UserError("no_csv_column", path=path, column=column, columns=", ".join(error.columns)) from None
    if problems:
        shown = [_bad_line(each) for each in problems[:_SHOWN]]
        listed = "\n".join(f"  - {problem}" for problem in shown)
        if len(problems) > _SHOWN:
            listed += "\n" + t("generate.more_lines", number=len(problems) - _SHOWN)
        raise UserError("bad_prompts", path=path, problems=listed)
    return texts


def _bad_line(problem: Problem) -> str:
    reason = t(f"generate.{problem.why.text}", **problem.why.values)
    return t("generate.bad_line", number=str(problem.line), reason=reason)


def _need_filter_columns(source: object, columns: Collection[str], chosen: Filter) -> None:
    """Raise `UserError` if there is no column of some name in the filter."""
    for name in chosen.wanted:
        if name not in columns:
            raise UserError("technical.no_filter_column", source=source, column=name, columns=", ".join(columns))


def _read_dataset(
    config: Config, chosen: Filter, streaming: bool, token: str | None, most: int | None = None
) -> Iterator[str | None]:
    """Yield the prompts of a dataset on the Hub, None for a row without text: nobody here can correct that row.

    Parameters
    ----------
    streaming
        Download only what is read; `datasets` cannot do that for a part of a split, or for several.
    most
        How many rows are looked at.
    """
    import datasets  # takes a second, and only this source needs it

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    settings = config.generation
    name, column, split = settings.prompts, settings.prompt_column, settings.prompt_split
    streaming = streaming and _WHOLE_SPLIT.fullmatch(split) is not None
    wanted = dict.fromkeys((column, *chosen.wanted))
    try:
        rows = datasets.load_dataset(
            name, settings.prompt_config or None, split=split, streaming=streaming, token=token or None
        )
        head = next(iter(rows), None)
        if head is None:
            return
        if column not in head:
            raise UserError("no_prompt_column", source=name, column=column, columns=", ".join(head))
        _need_filter_columns(name, head, chosen)
        labels = {
            each: rows.features[each] for each in chosen.wanted if hasattr((rows.features or {}).get(each), "names")
        }
        for row in itertools.islice(rows.select_columns([*wanted]), most):
            try:
                if chosen.takes(row | {each: _label(feature, row[each]) for each, feature in labels.items()}):
                    yield text_of(row, column)
            except Unusable:
                yield None
    except UserError:
        raise
    except Exception as error:  # the library raises whatever the format's reader raises
        raise _why_no_dataset(config, token, error) from None


def _label(feature: Any, value: object) -> object:
    """Return the name of a class that a dataset stores as a number; -1 is none."""
    return feature.int2str(value) if isinstance(value, int) and value >= 0 else value


def _why_no_dataset(config: Config, token: str | None, error: Exception) -> UserError:
    """Return what to say of a dataset that cannot be read: often it has no such configuration, or no such split."""
    import datasets

    settings = config.generation
    name, chosen = settings.prompts, settings.prompt_config
    with contextlib.suppress(Exception):  # it cannot be asked that either
        configs = datasets.get_dataset_config_names(name, token=token or None)
        default = datasets.get_dataset_default_config_name(name, token=token or None)
        if chosen not in configs and (chosen or (default is None and len(configs) > 1)):
            return UserError("no_prompt_config", source=name, configs=_some(configs))
        splits = datasets.get_dataset_split_names(name, chosen or default, token=token or None)
        parts = re.findall(r"(?:^|\+)\s*([\w.-]+)", settings.prompt_split)
        if not {*parts, "all"} - {"all"} <= {*splits}:
            return UserError(
                "technical.no_prompt_split", source=name, split=settings.prompt_split, splits=_some(splits)
            )
    return UserError("bad_dataset", source=name, reason=" ".join(str(error).split())[:300])


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:_LISTED], *(["…"] if len(names) > _LISTED else [])])


def look_at_dataset(config: Config, token: str | None) -> bool:
    """Read the first rows of the dataset on the Hub as `load` would; return whether there was a prompt among them.

    Raises
    ------
    UserError
        It cannot be read, or lacks what the settings name.
    """
    import datasets

    settings = config.generation
    try:
        datasets.ReadInstruction.from_spec(settings.prompt_split)
    except Exception as error:
        raise _why_no_dataset(config, token, error) from None
    whole = re.match(r"[\w.-]+", settings.prompt_split)  # a part of it would be downloaded
    split = whole[0] if whole else settings.prompt_split
    some = dataclasses.replace(config, generation=dataclasses.replace(settings, prompt_split=split))
    return any(_read_dataset(some, Filter(settings.prompt_filter), True, token, LOOKED_AT))
