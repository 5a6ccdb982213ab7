"""Taking an answer or a prompt out for good: its id goes into `prompts/left_out.jsonl`, its text leaves the table."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from kto import left_out
from kto.ask import answers_page, table, targets
from kto.ask.store import AlreadyRunning, locked_store
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.record_ids import record_ids
from kto.settings import Settings
from kto.tables import Row, read_batches, read_lines, read_rows, split_models, write_lines, write_rows
from kto.texts import t
from kto.vote import deletions


def take_out(config: Settings, ids: Iterable[str], who: str, reason: str) -> LeftOut:
    """Leave out records and prompts from now on, and return everything that is left out."""
    before = left_out.read(config.root)
    wanted = [id for id in dict.fromkeys(ids) if id not in before.ids]
    if not wanted:
        return before
    also: dict[str, set[str]] = {id: set() for id in wanted}
    asked: dict[str, set[str]] = {id: set() for id in wanted}
    for _, model, conversation, possible_ids in known_answers(config):
        for id in also.keys() & {*possible_ids}:
            also[id].update(possible_ids)
            asked[id].add(left_out.asked_id(model, conversation))
    for vote in known_votes(config):
        if vote["record_id"] in asked:
            models = split_models(vote["generation_model"])
            asked[vote["record_id"]].update(left_out.asked_id(model, vote["prompt"]) for model in models)
    lines = [left_out.line_for(id, who, reason, also[id], asked[id]) for id in wanted]
    return left_out.add(config.root, lines)


def take_out_deleted(config: Settings, now: deletions.Seen) -> LeftOut:
    """Leave out what the lead has deleted in Argilla, say so, and return everything that is left out."""
    deleted = deletions.records(deletions.read(config.root / "data" / "private"), now)
    if not deleted:
        return left_out.read(config.root)
    out = take_out(config, deleted, left_out.LEAD, left_out.DELETED)
    clear_table(config, out)
    print(t("export.deleted", count=len(deleted), path=left_out.FILE))
    return out


def known_votes(config: Settings) -> list[Row]:
    """Return what the tables of votes say about their records, which may be in no table of generations any more."""
    columns = ("record_id", "prompt_id", "prompt", "generation_model")
    folders = (config.root / "data" / "private" / "votes", config.root / "data" / "votes")
    return [row for folder in folders for row in read_rows(folder / "train.parquet", columns)]


def _table(config: Settings) -> Path:
    return config.root / "data" / "generations" / "train.parquet"


def known_answers(config: Settings) -> Iterator[tuple[str, str, list[dict[str, str]], list[str]]]:
    """Yield prompt id, model, conversation and record ids of each answer in the table of generations."""
    columns = ("generation_model", "generation_prompt", "generations", "raw_generation_responses")
    for batch in read_batches(_table(config), ("prompt_id", *columns)) if _table(config).exists() else ():
        for row in batch:
            for model, conversation, answer, raw in zip(*map(row.get, columns), strict=True):
                ids = record_ids(conversation[-1]["content"], answer, raw) if answer else []
                yield row["prompt_id"], model, conversation, ids


def clear_table(config: Settings, out: LeftOut) -> None:
    """Remove what is left out from `data/generations`, once the answer store has it.

    While generate.py runs nothing happens here: it reads the same file when it writes the table.
    """
    import pyarrow.parquet as pq

    path = _table(config)
    gaps = path.with_name("gaps.jsonl")
    if not out.ids:
        return
    if not any(id in out.ids for prompt_id, *_, ids in known_answers(config) for id in (prompt_id, *ids)):
        return
    schema = pq.read_schema(path)

    def rows() -> Iterator[Row]:
        for batch in read_batches(path, schema.names):
            yield from (table.cleared(row, out) for row in batch if row["prompt_id"] not in out.ids)

    with contextlib.suppress(AlreadyRunning), locked_store(config.root / "data" / "answers.sqlite") as store:
        table.restore(store, path, _targets(config))
        prompts = write_rows(path, rows(), schema)
        if path.with_name(answers_page.NAME).exists():
            answers_page.write(config, path, prompts)
        lines = read_lines(gaps)
        if any(gap["prompt_id"] in out.ids for gap in lines):
            write_lines(gaps, [gap for gap in lines if gap["prompt_id"] not in out.ids])


def _targets(config: Settings) -> list[targets.ModelTarget]:
    """Return all models, for the keys of their answers; [] where a model in a folder is not here."""
    with contextlib.suppress(UserError):
        return targets.find(config, targets.gate_for(config), "http://127.0.0.1/v1")  # nothing is asked there
    return []
