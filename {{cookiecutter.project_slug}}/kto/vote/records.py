"""The records: one per answer, made from the table of generations and uploaded to Argilla."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from kto import left_out, progress
from kto.ask import self_naming
from kto.errors import UserError
from kto.record_ids import record_ids, text_id
from kto.rendering import argilla_answer, as_written
from kto.settings import Settings
from kto.tables import Row, read_batches, read_rows
from kto.texts import t
from kto.vote.client import ArgillaError
from kto.vote.deletions import Seen, remember_upload
from kto.vote.taking_out import take_out_deleted
from kto.vote.task import Task

PAGE = 1000  # records per request; the most that Argilla gives
BATCH = 250  # records per request; Argilla takes 1000, but then a request lasts long


def read_generations(config: Settings) -> list[Row]:
    """Return the rows of `data/generations`, with a column `record_ids` in place of the raw answers, which are long.

    Answers that nobody is asked about become None: those that are left out, those in the wrong language and those that
    name their model, unless `[annotation] wrong_language` and `self_naming` want them. `names_itself` tells which are
    None for that last reason alone. Raises `UserError` if there is no row or the file cannot be read.
    """
    path = config.root / "data" / "generations" / "train.parquet"
    columns = ("prompt_id", "generation_model", "generation_prompt", "generations", "language_verdict", "names_itself")
    out = left_out.read(config.root)
    unwanted = () if config.annotation.wrong_language else ("wrong",)
    names_itself = self_naming.for_models(config.generation.models)
    rows: list[Row] = []
    wanted = (*columns, "raw_generation_responses")
    for batch in read_batches(path, wanted, optional=("names_itself",)) if path.exists() else ():
        for row in (row for row in batch if row["prompt_id"] not in out.ids):
            raw_answers = row.pop("raw_generation_responses")
            row["record_ids"] = []
            marks = row["names_itself"] or map(names_itself, row["generations"])  # earlier tables have no marks
            row["names_itself"] = [bool(mark) and not config.annotation.self_naming for mark in marks]
            for index, answer in enumerate(row["generations"]):
                prompt = row["generation_prompt"][index][-1]["content"]
                ids = record_ids(prompt, answer, raw_answers[index]) if answer else []
                row["record_ids"].append(ids)
                if row["language_verdict"][index] in unwanted or not out.ids.isdisjoint(ids):
                    row["generations"][index], row["names_itself"][index] = None, False
                elif row["names_itself"][index]:
                    row["generations"][index] = None
            rows.append(row)
    if not rows:
        raise UserError("no_generations", path=path)
    return rows


def make_records(generations: Iterable[Mapping[str, Any]], known: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the records for rows of `data/generations`, in an order that mixes prompts and models.

    A record names all models that gave this answer. Empty answers make no record. An answer that people have as an
    earlier version cleaned it keeps the id of that record; `known` has the ids of all records that people have.
    """
    records: dict[str, dict[str, Any]] = {}
    for row in generations:
        columns = [row[name] for name in ("generation_model", "generation_prompt", "generations")]
        possible_ids = row.get("record_ids") or [[]] * len(columns[0])
        answers = [item for item in zip(*columns, possible_ids, strict=True) if (item[2] or "").strip()]
        shared: dict[str, str] = {}  # id of a text → id of the record that people have of it
        for *_, ids in answers:
            for id in ids:
                if id in known:
                    shared.setdefault(ids[0], id)
        for model, messages, answer, ids in answers:
            prompt = messages[-1]["content"]
            new_id = text_id(prompt, answer)
            id = next((id for id in ids[1:] if id in known), shared.get(new_id, new_id))
            metadata = {"model": [], "prompt_id": row["prompt_id"]}
            if messages[0]["role"] == "system":
                metadata["system_prompt"] = messages[0]["content"]
            new = {"external_id": id, "fields": {"prompt": prompt, "answer": answer}, "metadata": metadata}
            models = records.setdefault(id, new)["metadata"]["model"]
            if model not in models:
                models.append(model)
    return [records[id] for id in sorted(records)]  # ids are hashes, so this order is a shuffle that never changes


def list_records(task: Task, include: str = "") -> list[dict[str, Any]]:
    """Return all records as Argilla's REST API gives them, with `include="responses"` the responses, too.

    Pages follow the order of creation, so records that are added meanwhile shift nothing. Records of one moment may
    change places between two pages; then all is read again, at most twice.
    """
    records: dict[str, dict[str, Any]] = {}
    query = {"limit": PAGE} | ({"include": include} if include else {})
    for _ in range(3):
        offset, total = 0, 1
        while offset < total:
            page = task.argilla.request("GET", f"/datasets/{task.id}/records", params={**query, "offset": offset})
            records.update((record["id"], record) for record in page["items"])
            offset, total = offset + PAGE, page["total"]
        if len(records) >= total:
            return list(records.values())
    raise ArgillaError(500, f"{len(records)}/{total}", task.argilla.api_url)


def upload_records(task: Task, generations: Iterable[Mapping[str, Any]], config: Settings) -> int:
    """Add the answers that Argilla lacks, and return their number; records deleted there are left out for good.

    Existing records keep ids and votes. A model that has given the same answer since is added to the metadata, and
    fields that an earlier version sent in another form are put right. Raises `UserError` if Argilla fails: what has
    been uploaded stays, and the next run adds the rest.
    """
    existing = {record["external_id"]: record for record in list_records(task)}
    seen = Seen(task.id, task.last_activity, {id: {} for id in existing if id})
    out = take_out_deleted(config, seen)
    voted = read_rows(config.root / "data" / "votes" / "train.parquet", ("record_id",))
    new, changed = [], []
    for record in make_records(generations, existing.keys() | {row["record_id"] for row in voted}):
        if out.has_record(record):
            continue
        prompt, answer = record["fields"].values()
        record["fields"] = {"prompt": as_written(prompt), "answer": argilla_answer(answer)}  # as the page shows them
        before = existing.get(record["external_id"])
        if before is None:
            new.append(record)
        elif change := _change(before, record):
            changed.append({"external_id": record["external_id"], **change})
    put_records(task, changed)
    put_records(task, new)
    remember_upload(config.root / "data" / "private", seen, [record["external_id"] for record in new])
    return len(new)


def _change(before: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    change = {} if before["fields"] == record["fields"] else {"fields": record["fields"]}
    metadata = before["metadata"] or {}
    models = list(dict.fromkeys([*metadata.get("model", []), *record["metadata"]["model"]]))
    return change if models == metadata.get("model") else {**change, "metadata": {**metadata, "model": models}}


def put_records(task: Task, records: list[dict[str, Any]]) -> None:
    """Add or change records by `id` or `external_id`, so that a batch that is sent twice adds nothing twice."""
    start, size, label = 0, BATCH, t("notebook.uploading")
    with progress.show_progress(label, {label: len(records)}, lambda: {label: start}):
        while batch := records[start : start + size]:
            try:
                task.argilla.request("PUT", f"/datasets/{task.id}/records/bulk", json={"items": batch})
                start += len(batch)
            except ArgillaError as error:
                if error.status != 413 or len(batch) == 1:
                    raise
                size = (len(batch) + 1) // 2  # a proxy before Argilla takes no more
