"""The prompts: from the starter file, files (JSONL, CSV, or text with one per line) and datasets on the Hub."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kto import left_out
from kto.ask import prompt_files
from kto.ask.prompt_files import OTHER_FILES, NoColumn, Selection, Unusable, is_path
from kto.ask.store import Message
from kto.errors import UserError
from kto.files import as_path
from kto.pages import fingerprint
from kto.settings import Settings
from kto.texts import t

STARTER = Path("prompts") / "starter.jsonl"
LOOKED_AT = 10_000  # rows that `look_at_dataset` reads, at most
_MAX_LINES = 5  # bad lines that a message lists
_MAX_NAMES = 50  # names of configurations and splits in a message
_DATASET_ID = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_SPLIT = re.compile(r"[\w.-]+")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt as it was written, and the id that follows from its text."""

    id: str
    text: str


@dataclasses.dataclass
class Prompts:
    """All prompts in the order of the sources, without duplicates."""

    prompts: list[Prompt] = dataclasses.field(default_factory=list)
    duplicates: int = 0  # rows with a prompt that came before
    empty: int = 0  # rows without a text
    # Columns of the sources that have none of those in the filter: all of their rows were taken.
    unfiltered: dict[Path | str, Sequence[str]] = dataclasses.field(default_factory=dict)


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
    """Return the sources of the prompts: paths, and ids of datasets on the Hub.

    A name is a path if there is such a file, or if it ends or begins as only a path does; relative paths start at the
    project folder. Raises `UserError` for what is neither.
    """
    origins: list[Path | str] = []
    for name in config.generation.prompts:
        name = STARTER.as_posix() if name == "starter" else name
        path = as_path(config.root, name)
        if path and path.suffix.lower() not in OTHER_FILES and (is_path(name) or path.is_file()):
            origins.append(path)
        elif path and not is_path(name) and _DATASET_ID.fullmatch(name):
            origins.append(name)
        else:
            raise UserError("no_such_prompts", name=name)
    return origins


def load(
    config: Settings, limit: int | None = None, token: str | None = None, origins: Sequence[Path | str] | None = None
) -> Prompts:
    """Return the prompts of the project without duplicates, and without those that are left out.

    No more than the first `limit` are read; of the sources only `origins`, if given, which may hold no prompt. Raises
    `UserError` if a source cannot be read, a line of a file is wrong (the message says which), or there is no prompt.
    """
    all_sources, wanted = sources(config), config.generation.prompt_filter or {}
    unwanted = left_out.read(config.root).ids
    result = Prompts()
    known: set[str] = set()
    for origin in all_sources if origins is None else origins:
        selection = _selection(config)
        texts: Iterable[str | None]
        if isinstance(origin, Path):
            texts = read(origin, selection)
        else:
            split = config.generation.prompt_split
            texts = _read_dataset(config, origin, selection, split, token, streaming=limit is not None, most=None)
        has_prompts = False
        for text in texts:
            if text is None:
                result.empty += 1
                continue
            has_prompts = True
            prompt = Prompt(prompt_id(text), text)
            if prompt.id in known:
                result.duplicates += 1
            elif prompt.id not in unwanted:
                known.add(prompt.id)
                result.prompts.append(prompt)
                if len(known) == limit:
                    return result
        if selection.others and not has_prompts:
            columns, values = ", ".join(selection.wanted), ", ".join(selection.others)
            raise UserError("technical.filter_fits_nothing", source=origin, columns=columns, values=values)
        if wanted and not selection.wanted:
            result.unfiltered[origin] = selection.columns
    if result.unfiltered.keys() == {*all_sources}:  # so the name of a column is wrong
        _need_columns(all_sources[0], result.unfiltered[all_sources[0]], wanted)
    if not known and origins is None:
        raise UserError("no_prompts", source=", ".join(map(str, all_sources)))
    return result


def _selection(config: Settings) -> Selection:
    generation = config.generation
    return Selection(generation.prompt_column, generation.prompt_filter, several=len(generation.prompts) > 1)


def _need_columns(source: object, columns: Sequence[str], names: Iterable[str]) -> None:
    for name in names:
        if name not in columns:
            raise UserError("technical.no_filter_column", source=source, column=name, columns=", ".join(columns))


def texts_in(config: Settings, path: Path) -> list[str]:
    """Return the prompts in one of the files, also those that are left out; raise `UserError` as `load` does."""
    return read(path, _selection(config))


def read(path: Path, selection: Selection) -> list[str]:
    """Return the prompts in a file; raise `UserError` if it cannot be read, or if lines are wrong."""
    try:
        texts, problems = prompt_files.read(path.read_bytes(), path.suffix, selection)
    except OSError as error:
        raise UserError("no_prompts_file", path=path, reason=error.strerror or error) from None
    except NoColumn as error:
        _need_columns(path, error.columns, selection.wanted)
        columns = ", ".join(error.columns)
        raise UserError("no_csv_column", path=path, column=selection.column, columns=columns) from None
    if problems:
        lines = [
            "  - " + t("generate.bad_line", number=str(line), reason=t(f"generate.{why.text}", **why.values))
            for line, why in problems[:_MAX_LINES]
        ]
        if len(problems) > _MAX_LINES:
            lines.append(t("generate.more_lines", number=len(problems) - _MAX_LINES))
        raise UserError("bad_prompts", path=path, problems="\n".join(lines))
    return texts


def _read_dataset(
    config: Settings, name: str, selection: Selection, split: str, token: str | None, streaming: bool, most: int | None
) -> Iterator[str | None]:
    """Yield the prompts in the first `most` rows of a dataset on the Hub, None for a row without a text.

    With `streaming` only what is read is downloaded; `datasets` cannot do that for a part of a split, or for several.
    """
    import datasets  # takes a second, and only this source needs it

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    streaming = streaming and split != "all" and _SPLIT.fullmatch(split) is not None
    with _dataset_errors(config, name, token):
        config_name = config.generation.prompt_config or None
        if config_name and len(config.generation.prompts) > 1:  # one source may have no other than its own
            configs = datasets.get_dataset_config_names(name, token=token or None)
            if config_name not in configs and len(configs) == 1:
                config_name = None
        rows = datasets.load_dataset(name, config_name, split=split, streaming=streaming, token=token or None)
        head = next(iter(rows), None)
    if head is None:
        return
    selection.fit(head)
    if selection.column not in head:
        raise UserError("no_prompt_column", source=name, column=selection.column, columns=", ".join(head))
    _need_columns(name, selection.columns, selection.wanted)
    features = rows.features or {}
    labels = {key: features[key] for key in selection.wanted if isinstance(features.get(key), datasets.ClassLabel)}
    with _dataset_errors(config, name, token):
        for row in itertools.islice(rows.select_columns([*{selection.column, *selection.wanted}]), most):
            for key, label in labels.items():  # classes are stored as numbers, -1 for none
                if row[key] is not None and row[key] >= 0:
                    row[key] = label.int2str(row[key])
            try:
                text = selection.prompt_in(row)
            except Unusable:  # nobody here can correct it
                yield None
                continue
            if text is not None:
                yield text


@contextlib.contextmanager
def _dataset_errors(config: Settings, name: str, token: str | None) -> Iterator[None]:
    """Raise what `datasets` raises as a `UserError`: often there is no such configuration, or no such split."""
    import datasets

    try:
        yield
    except Exception as error:  # the library raises whatever the format's reader raises
        problem = UserError("bad_dataset", source=name, reason=" ".join(str(error).split())[:300])
        chosen, split = config.generation.prompt_config, config.generation.prompt_split
        with contextlib.suppress(Exception):  # the Hub may not answer this either
            configs = datasets.get_dataset_config_names(name, token=token or None)
            default = datasets.get_dataset_default_config_name(name, token=token or None)
            if chosen not in configs and (chosen or (default is None and len(configs) > 1)):
                problem = UserError("no_prompt_config", source=name, configs=_some(configs))
            else:
                splits = datasets.get_dataset_split_names(name, chosen or default, token=token or None)
                if not {*re.findall(r"(?:^|\+)\s*([\w.-]+)", split)} <= {*splits, "all"}:
                    problem = UserError("technical.no_prompt_split", source=name, split=split, splits=_some(splits))
        raise problem from None


def _some(names: Sequence[str]) -> str:
    return ", ".join([*names[:_MAX_NAMES], *(["…"] if len(names) > _MAX_NAMES else [])])


def look_at_dataset(config: Settings, name: str, token: str | None) -> bool:
    """Read the first rows of a dataset on the Hub as `load` would; return whether there is a prompt among them.

    Raises `UserError` if it cannot be read, or lacks what the settings name.
    """
    import datasets

    split = config.generation.prompt_split
    with _dataset_errors(config, name, token):
        datasets.ReadInstruction.from_spec(split)
    whole = _SPLIT.match(split)  # a part of it would be downloaded
    split = whole[0] if whole else split
    return any(_read_dataset(config, name, _selection(config), split, token, streaming=True, most=LOOKED_AT))


def english_prompts(config: Settings, texts: Iterable[str]) -> int:
    """Return how many of these prompts are the English ones with which a project without a catalogue is made."""
    english = _english(config)
    return sum(fingerprint(text) in english for text in texts) if english else 0


def english_notes(config: Settings, prompts: int) -> Iterator[str]:
    """Yield sentences on what is still English: this number of prompts, and perhaps the system prompt."""
    language = config.language.english_name
    if prompts:
        yield t("technical.english_prompts", language=language, number=prompts)
    if fingerprint(config.system_prompt) in _english(config):
        yield t("technical.english_system_prompt", language=language, path="prompts/system_prompt.txt")


def _english(config: Settings) -> frozenset[str]:
    """Return the fingerprints of the template's English prompts, if the project was made with these."""
    try:
        return frozenset(json.loads((config.root / "kto" / "english_prompts.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return frozenset()
