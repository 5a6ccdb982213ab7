"""The prompts: from the starter file, a JSONL file or a dataset on the Hub."""

import dataclasses
import hashlib
import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from kto.config import Config, as_path
from kto.errors import UserError
from kto.store import Message
from kto.texts import t

STARTER = Path("prompts") / "starter.jsonl"
_SHOWN = 5  # bad lines that a message lists
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


class _Unusable(ValueError):
    """Why a line or row holds no prompt."""


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

    It is a path if there is such a file or the name ends in `.jsonl`. Relative paths start at the project folder.

    Raises
    ------
    UserError
        It is neither.
    """
    name = config.generation.prompts
    path = config.root / STARTER if name == "starter" else as_path(config.root, name)
    if path is None:
        raise UserError("no_such_prompts", name=name)
    if name == "starter" or path.suffix.lower() == ".jsonl" or path.is_file():
        return path
    if not _DATASET_ID.fullmatch(name):
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
    column = config.generation.prompt_column
    texts: Iterable[str | None]
    if isinstance(origin, Path):
        texts = _read_jsonl(origin, column)
    else:
        texts = _read_dataset(origin, config.generation.prompt_split, column, limit is not None, token)
    found = _distinct(texts, limit)
    if not found.prompts:
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


def _text(row: object, column: str) -> str:
    """Return the prompt in a row; raise `_Unusable` with the reason if there is none."""
    if not isinstance(row, Mapping):
        raise _Unusable(t("generate.line_no_object"))
    if column not in row:
        raise _Unusable(t("generate.line_no_column", column=column))
    text = row[column]
    if not isinstance(text, str):
        raise _Unusable(t("generate.line_no_text", column=column))
    if not text.strip():
        raise _Unusable(t("generate.line_empty", column=column))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        raise _Unusable(t("generate.line_no_unicode", column=column)) from None
    return text


def _read_jsonl(path: Path, column: str) -> list[str]:
    """Return the prompts in a file with one JSON object per line; empty lines are passed over."""
    try:
        # Lines end with \n only: other characters that Python takes for line ends may stand inside a JSON string.
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError("no_prompts_file", path=path, reason=error.strerror or error) from None
    texts: list[str] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            texts.append(_text(json.loads(line.decode("utf-8")), column))
        except UnicodeDecodeError:
            problems.append(t("generate.bad_line", number=str(number), reason=t("generate.line_no_utf8")))
        except _Unusable as error:
            problems.append(t("generate.bad_line", number=str(number), reason=error))
        except (ValueError, RecursionError) as error:
            reason = t("generate.line_no_json", reason=getattr(error, "msg", error))
            problems.append(t("generate.bad_line", number=str(number), reason=reason))
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems[:_SHOWN])
        if len(problems) > _SHOWN:
            listed += "\n" + t("generate.more_lines", number=len(problems) - _SHOWN)
        raise UserError("bad_prompts", path=path, problems=listed)
    return texts


def _read_dataset(name: str, split: str, column: str, streaming: bool, token: str | None) -> Iterator[str | None]:
    """Yield the prompts of a dataset on the Hub, None for a row without text: nobody here can correct that row."""
    import datasets  # takes a second, and only this source needs it

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        rows = datasets.load_dataset(name, split=split, streaming=streaming, token=token or None)
        head = list(itertools.islice(rows, 1))
        if head and column not in head[0]:
            raise UserError("no_prompt_column", source=name, column=column, columns=", ".join(head[0]))
        for row in rows:
            try:
                yield _text(row, column)
            except _Unusable:
                yield None
    except UserError:
        raise
    except Exception as error:  # the library raises whatever the format's reader raises
        raise UserError("bad_dataset", source=name, reason=" ".join(str(error).split())[:300]) from None
