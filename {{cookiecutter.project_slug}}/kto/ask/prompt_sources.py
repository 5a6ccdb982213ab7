"""The prompts: from the starter file, files (JSONL, CSV, or text with one per line) and datasets on the Hub."""

import contextlib
import dataclasses
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kto import left_out
from kto.ask import prompt_files
from kto.ask.prompt_files import OTHER_FILES, Filter, NoColumn, Problem, Unusable, is_path, text_of
from kto.ask.store import Message
from kto.errors import UserError
from kto.files import as_path
from kto.settings import Settings
from kto.texts import t

STARTER = Path("prompts") / "starter.jsonl"
_USUAL_COLUMN = "prompt"  # of the starter file
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
    """All prompts, each once and in the order of the sources, and what was passed over.

    Attributes
    ----------
    duplicates, empty
        How many there were before in some source, and how many rows are without a text.
    unfiltered
        Sources that have none of the columns that the filter names, so all of them was taken.
    """

    prompts: list[Prompt]
    duplicates: int
    empty: int
    unfiltered: list[Path | str]


def prompt_id(text: str) -> str:
    """Return the id of a prompt: the first 16 hex digits of the SHA-256 of its text in UTF-8, NFC.

    NFC because the same letters can be written with different code points, and editors change them silently.
    """
    return hashlib.sha256(unicodedata.normalize("NFC", text).encode("utf-8")).hexdigest()[:16]


def messages(system_prompt: str, text: str) -> list[Message]:
    """Return the conversation that a model gets; without a system prompt it has one message."""
    system = [{"role": "system", "content": system_prompt}] if system_prompt else []
    return [*system, {"role": "user", "content": text}]


def sources(config: Settings) -> list[Path | str]:
    """Return where the prompts come from: paths, and ids of datasets on the Hub.

    Raises
    ------
    UserError
        One of them is neither.
    """
    return [_source(config.root, name) for name in config.generation.prompts]


def _source(root: Path, name: str) -> Path | str:
    """Return a path if there is such a file, or if the name ends or begins as only a path does; else the id.

    Relative paths start at the project folder.
    """
    path = root / STARTER if name == "starter" else as_path(root, name)
    if path is None:
        raise UserError("no_such_prompts", name=name)
    if name == "starter" or ((is_path(name) or path.is_file()) and path.suffix.lower() not in OTHER_FILES):
        return path
    if is_path(name) or not _DATASET_ID.fullmatch(name):
        raise UserError("no_such_prompts", name=name)
    return name


def load(
    config: Settings, limit: int | None = None, token: str | None = None, origins: Sequence[Path | str] | None = None
) -> Prompts:
    """Return the prompts of the project, each once, where it comes first, without those that are left out.

    Parameters
    ----------
    limit
        Only so many, the first ones; what comes after them is not read.
    origins
        Only those in these of the sources; then there may be none.

    Raises
    ------
    UserError
        A source cannot be read, a line of a file is wrong (the message says which), or there is no prompt.
    """
    every = sources(config)
    unwanted = left_out.read(config.root).ids
    found: dict[str, Prompt] = {}
    unfiltered: dict[Path | str, Collection[str]] = {}
    duplicates = empty = 0
    for origin in every if origins is None else origins:
        opened = _open(config, origin, limit is not None, token)
        has_prompts = False
        for text in opened.texts:
            if text is None:
                empty += 1
                continue
            has_prompts = True
            prompt = Prompt(prompt_id(text), text)
            if prompt.id in unwanted:
                continue
            if prompt.id in found:
                duplicates += 1
                continue
            found[prompt.id] = prompt
            if len(found) == limit:
                return Prompts(list(found.values()), duplicates, empty, [*unfiltered])
        if opened.chosen.others and not has_prompts:
            columns, values = (", ".join(each) for each in (opened.chosen.wanted, opened.chosen.others))
            raise UserError("technical.filter_fits_nothing", source=origin, columns=columns, values=values)
        if config.generation.prompt_filter and not opened.chosen.wanted:
            unfiltered[origin] = opened.columns
    if unfiltered.keys() == {*every}:  # so the name of a column is wrong
        _need_filter_columns(every[0], unfiltered[every[0]], Filter(config.generation.prompt_filter))
    if not found and origins is None:
        raise UserError("no_prompts", source=", ".join(map(str, every)))
    return Prompts(list(found.values()), duplicates, empty, [*unfiltered])


def texts_in(config: Settings, path: Path) -> Iterable[str]:
    """Return the prompts in one of the files, also those that are left out; raise `UserError` as `load` does."""
    return (text for text in _open(config, path, False, None).texts if text is not None)


class _Opened(NamedTuple):
    """A source: its texts, None for a row without one; its columns, and the filter that they fit."""

    texts: Iterable[str | None]
    columns: Collection[str]
    chosen: Filter


def _open(config: Settings, origin: Path | str, streaming: bool, token: str | None) -> _Opened:
    if isinstance(origin, str):
        return _open_dataset(config, origin, streaming, token)
    content = _content(origin)
    columns = prompt_files.columns(content, origin.suffix, config.generation.prompt_column)
    column, chosen = _fitting(config, columns)
    return _Opened(_texts(origin, content, column, chosen), columns, chosen)


def _fitting(config: Settings, columns: Collection[str]) -> tuple[str, Filter]:
    """Return the column and the filter for a source with these columns: of several, each may have other ones."""
    column, chosen = config.generation.prompt_column, Filter(config.generation.prompt_filter)
    if len(config.generation.prompts) > 1:
        if column not in columns and _USUAL_COLUMN in columns:
            column = _USUAL_COLUMN
        if chosen.wanted.keys().isdisjoint(columns):
            chosen = Filter()
    return column, chosen


def read(path: Path, column: str) -> list[str]:
    """Return the prompts in a file, in the format that its name says; JSONL if it says none.

    Raises
    ------
    UserError
        The file cannot be read, or lines are wrong (the message says which).
    """
    return _texts(path, _content(path), column, Filter())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError("no_prompts_file", path=path, reason=error.strerror or error) from None


def _texts(path: Path, content: bytes, column: str, chosen: Filter) -> list[str]:
    try:
        texts, problems = prompt_files.read(content, path.suffix, column, chosen)
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


def _open_dataset(config: Settings, name: str, streaming: bool, token: str | None, most: int | None = None) -> _Opened:
    """Open a dataset on the Hub: nobody here can correct a row of it that has no text.

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
    split = config.generation.prompt_split
    streaming = streaming and _WHOLE_SPLIT.fullmatch(split) is not None
    with _said_plainly(config, name, token):
        rows = datasets.load_dataset(
            name, _configuration(config, name, token), split=split, streaming=streaming, token=token or None
        )
        head = next(iter(rows), None)
        if head is None:
            return _Opened((), (), Filter(config.generation.prompt_filter))
        column, chosen = _fitting(config, head)
        if column not in head:
            raise UserError("no_prompt_column", source=name, column=column, columns=", ".join(head))
        _need_filter_columns(name, head, chosen)

    def texts() -> Iterator[str | None]:
        labels = {
            each: rows.features[each] for each in chosen.wanted if hasattr((rows.features or {}).get(each), "names")
        }
        with _said_plainly(config, name, token):
            for row in itertools.islice(rows.select_columns([*dict.fromkeys((column, *chosen.wanted))]), most):
                try:
                    if chosen.takes(row | {each: _label(feature, row[each]) for each, feature in labels.items()}):
                        yield text_of(row, column)
                except Unusable:
                    yield None

    return _Opened(texts(), [*head], chosen)


def _configuration(config: Settings, name: str, token: str | None) -> str | None:
    """Return the configuration to read; of several datasets, one may have no other than its own."""
    import datasets

    chosen = config.generation.prompt_config
    if chosen and len(config.generation.prompts) > 1:
        configs = datasets.get_dataset_config_names(name, token=token or None)
        return None if chosen not in configs and len(configs) == 1 else chosen
    return chosen or None


@contextlib.contextmanager
def _said_plainly(config: Settings, name: str, token: str | None) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # the library raises whatever the format's reader raises
        raise _why_no_dataset(config, name, token, error) from None


def _label(feature: Any, value: object) -> object:
    """Return the name of a class that a dataset stores as a number; -1 is none."""
    return feature.int2str(value) if isinstance(value, int) and value >= 0 else value


def _why_no_dataset(config: Settings, name: str, token: str | None, error: Exception) -> UserError:
    """Return what to say of a dataset that cannot be read: often it has no such configuration, or no such split."""
    import datasets

    settings = config.generation
    chosen = settings.prompt_config
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


def look_at_dataset(config: Settings, name: str, token: str | None) -> bool:
    """Read the first rows of a dataset on the Hub as `load` would; return whether there was a prompt among them.

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
        raise _why_no_dataset(config, name, token, error) from None
    whole = re.match(r"[\w.-]+", settings.prompt_split)  # a part of it would be downloaded
    split = whole[0] if whole else settings.prompt_split
    some = config.model_copy(update={"generation": settings.model_copy(update={"prompt_split": split})})
    return any(_open_dataset(some, name, True, token, LOOKED_AT).texts)
