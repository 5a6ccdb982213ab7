"""Taking an answer or a prompt out for good: note its id, clear the table of generations, say where it still is."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from kto import git_history, left_out
from kto.ask import answers_page, generations, routes
from kto.ask.endpoint import secret
from kto.ask.prompts import load as load_prompts
from kto.ask.prompts import prompt_id, sources, texts_in
from kto.ask.store import Store
from kto.errors import UserError
from kto.left_out import DELETED, LEAD, LeftOut
from kto.lock import alone
from kto.record_ids import record_ids
from kto.settings import Settings
from kto.tables import Row, read_batches, read_lines, read_rows, write_lines, write_rows
from kto.texts import t
from kto.vote import deletions
from kto.vote.deletions import Seen

_SHORTEST = 6  # digits that may stand for an id
_PROMPT_ID = 16  # digits of the id of a prompt


def take_out(config: Settings, ids: Iterable[str], who: str, reason: str) -> LeftOut:
    """Leave out records and prompts from now on, and return everything that is left out.

    Raises
    ------
    UserError
        A file cannot be read or written.
    """
    before = left_out.read(config.root)
    wanted = [id for id in dict.fromkeys(ids) if id not in before.ids]
    if not wanted:
        return before
    also: dict[str, set[str]] = {id: set() for id in wanted}
    asked: dict[str, set[str]] = {id: set() for id in wanted}
    for _, model, conversation, every in _answers(config):
        for id in also.keys() & {*every}:
            also[id].update(every)
            asked[id].add(left_out.asked_id(model, conversation))
    for vote in _votes(config):
        if vote["record_id"] in asked:
            models = vote["generation_model"].split(", ")
            asked[vote["record_id"]].update(left_out.asked_id(model, vote["prompt"]) for model in models)
    lines = [left_out.line_for(id, who, reason, also[id], asked[id]) for id in wanted]
    return left_out.add(config.root, lines)


def take_out_deleted(config: Settings, now: Seen) -> LeftOut:
    """Leave out what the lead has deleted in Argilla, say so, and return everything that is left out.

    Raises
    ------
    UserError
        A file cannot be read or written.
    """
    gone = deletions.records(deletions.read(config.root / "data" / "private"), now)
    if not gone:
        return left_out.read(config.root)
    out = take_out(config, gone, LEAD, DELETED)
    clear_table(config, out)
    print(t("export.deleted", count=len(gone), path=left_out.FILE))
    return out


def _votes(config: Settings) -> list[Row]:
    """Return what is known here of all votes; an answer may be in no table any more."""
    columns = ("record_id", "prompt_id", "prompt", "generation_model")
    folders = (config.root / "data" / "private" / "votes", config.root / "data" / "votes")
    return [row for folder in folders for row in read_rows(folder / "train.parquet", columns)]


def _table(config: Settings) -> Path:
    return config.root / "data" / "generations" / "train.parquet"


def _answers(config: Settings) -> Iterator[tuple[str, str, list[dict[str, str]], list[str]]]:
    """Yield prompt id, model, conversation and record ids of each answer in the table of generations."""
    columns = ("generation_model", "generation_prompt", "generations", "raw_generation_responses")
    for batch in read_batches(_table(config), ("prompt_id", *columns)) if _table(config).exists() else ():
        for row in batch:
            for model, conversation, answer, raw in zip(*map(row.get, columns), strict=True):
                ids = record_ids(conversation[-1]["content"], answer, raw) if answer else []
                yield row["prompt_id"], model, conversation, ids


def find(config: Settings, beginning: str) -> str:
    """Return the id of the record or prompt that begins like this.

    Raises
    ------
    UserError
        Nothing that is known here begins like this, or several do.
    """
    known = {id for prompt_id, *_, ids in _answers(config) for id in (prompt_id, *ids)}
    known.update(id for vote in _votes(config) for id in (vote["record_id"], vote["prompt_id"]))
    known.update(deletions.read(config.root / "data" / "private").records)
    known.update(left_out.read(config.root).ids)
    with contextlib.suppress(UserError):  # perhaps they are on the Hub, and there is no network
        known.update(prompt.id for prompt in load_prompts(config, token=secret(config, "HF_TOKEN")).prompts)
    beginning = beginning.strip().lower()
    found = {beginning} & known or {id for id in known if len(beginning) >= _SHORTEST and id.startswith(beginning)}
    if len(found) > 1:
        raise UserError("technical.several_left_out", id=beginning, count=len(found))
    if not found:
        raise UserError("unknown_answer", id=beginning)
    return found.pop()


def clear_table(config: Settings, out: LeftOut) -> None:
    """Take what is left out from `data/generations`; the answer store gets before what it lacks.

    While generate.py runs nothing happens here: it reads the same file when it writes the table.

    Raises
    ------
    UserError
        A file cannot be read or written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = _table(config)
    gaps = path.with_name("gaps.jsonl")
    if not any(id in out.ids for prompt_id, *_, ids in _answers(config) for id in (prompt_id, *ids)):
        return
    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError("cannot_read_table", path=path, reason=" ".join(str(error).split())) from None
    lists = [field.name for field in schema if pa.types.is_list(field.type) and field.name not in generations.WHOLE]

    def rows() -> Iterator[Row]:
        for batch in read_batches(path, schema.names):
            yield from (generations.cleared(row, lists, out) for row in batch if row["prompt_id"] not in out.ids)

    try:
        with alone(config.root / "data" / "answers.lock"), Store(config.root / "data" / "answers.sqlite") as store:
            generations.restore(store, path, _routes(config))
            prompts = write_rows(path, rows(), schema)
            if path.with_name(answers_page.NAME).exists():
                answers_page.write(config, path, prompts)
            if any(gap["prompt_id"] in out.ids for gap in read_lines(gaps)):
                write_lines(gaps, [gap for gap in read_lines(gaps) if gap["prompt_id"] not in out.ids])
    except UserError as error:
        if error.key != "already_running":
            raise


def _routes(config: Settings) -> list[routes.Route]:
    """Return the routes of all models, for the keys of their answers; [] where a model in a folder is not here."""
    try:
        return routes.find(config, routes.gate_for(config), "http://127.0.0.1/v1")  # nothing is asked there
    except UserError:
        return []


# --- where it still is ------------------------------------------------------------------------------------------------


def say_where(config: Settings, id: str) -> None:
    """Say which committed files, and which datasets on the Hub, have had what is left out."""
    paths = ["data", ":(exclude)data/private"]
    if len(id) == _PROMPT_ID:
        for path in _prompt_files(config):
            if _has_prompt(config, path, id):
                print(t("technical.prompt_stays", path=path), file=sys.stderr)
            paths.append(str(path))
    _say_copies(config, paths, {"export.py": "", "generate.py": "-generations"})


def say_where_votes(config: Settings, name: str) -> None:
    """Say where the votes of a person who was forgotten still are; `name` is the one in Argilla."""
    print(t("technical.forgotten_in_argilla", name=name))
    _say_copies(config, ["data/votes"], {"export.py": ""})


def _say_copies(config: Settings, paths: Sequence[str], datasets: Mapping[str, str]) -> None:
    if files := git_history.committed_files(config.root, *paths):
        print(t("technical.left_out_in_git", files=", ".join(files)), file=sys.stderr)
    from kto.hub_dataset import PUSHED

    for repo_id, command in _published(config, datasets):
        print(t("technical.left_out_on_hub", repo_id=repo_id, command=command, title=PUSHED), file=sys.stderr)


def _prompt_files(config: Settings) -> list[Path]:
    """Return the files with the prompts; there may be none, if they are elsewhere."""
    with contextlib.suppress(UserError):
        return [path for path in sources(config) if isinstance(path, Path) and path.exists()]
    return []


def _has_prompt(config: Settings, path: Path, id: str) -> bool:
    """Tell whether a file has a prompt; true also if it cannot be read."""
    with contextlib.suppress(UserError):
        return any(prompt_id(text) == id for text in texts_in(config, path))
    return True


def _published(config: Settings, datasets: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the datasets of this project on the Hub, also those of which that cannot be known; and what pushes them.

    Parameters
    ----------
    datasets
        By the command that pushes it, what stands behind the project's name in a dataset's.
    """
    try:
        repo_id, token = config.project.repo_id, secret(config, "HF_TOKEN")
    except UserError:  # nobody has named an owner, so nothing was pushed
        return
    from kto.hub_lookup import Hub

    hub = Hub(token)
    for command, ending in datasets.items():
        each = f"{repo_id}{ending}"
        if hub.has_dataset(each) is not False or hub.token_refused:
            yield each, command
