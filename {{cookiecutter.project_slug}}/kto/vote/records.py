"""The records in Argilla: one per answer, made from the table of generations and uploaded."""

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kto import left_out
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.record_ids import record_ids, text_id
from kto.rendering import argilla_answer, as_written
from kto.settings import Settings
from kto.tables import Row, read_batches, read_rows
from kto.texts import t
from kto.vote import deletions
from kto.vote.client import argilla_errors, request, request_patiently
from kto.vote.deletions import Seen
from kto.vote.taking_out import take_out_deleted

if TYPE_CHECKING:
    import argilla as rg

PAGE = 1000  # records per request; the most that Argilla gives
BATCH = 250  # records per request; Argilla takes 1000, but then a request lasts long


def list_records(dataset: "rg.Dataset", include: str = "") -> list[dict[str, Any]]:
    """Return all records of a dataset as Argilla's REST API gives them, with `include="responses"` the votes, too.

    Records that are added meanwhile shift nothing: pages follow the order of creation. Should Argilla order records of
    one moment differently from page to page, the pages are read again until nothing is missing.

    Raises
    ------
    UserError
        Records are still missing after three times.
    """
    client = dataset._client
    records: dict[str, dict[str, Any]] = {}
    for _ in range(3):
        offset, total = 0, 1
        while offset < total:
            query = {"offset": offset, "limit": PAGE} | ({"include": include} if include else {})
            page = request_patiently(client, "get", f"/api/v1/datasets/{dataset.id}/records", params=query)
            records.update((record["id"], record) for record in page["items"])
            offset, total = offset + PAGE, page["total"]
        if len(records) >= total:
            return list(records.values())
    raise UserError("argilla_failed", url=client.api_url, reason=f"{len(records)}/{total}")


def read_generations(config: Settings) -> list[Row]:
    """Return the rows of `data/generations` that `make_records` needs.

    Answers in the wrong language become None, unless `[annotation] wrong_language` wants them. The raw answers, which
    are long where models think, become a column `record_ids`; `voted` has those of the ids that have votes already.

    Raises
    ------
    UserError
        There are none, or the file cannot be read.
    """
    path = config.root / "data" / "generations" / "train.parquet"
    columns = ("prompt_id", "generation_model", "generation_prompt", "generations", "language_verdict")
    out = left_out.read(config.root)
    voted = {row["record_id"] for row in read_rows(config.root / "data" / "votes" / "train.parquet", ("record_id",))}
    rows: list[Row] = []
    for batch in read_batches(path, (*columns, "raw_generation_responses")) if path.exists() else ():
        for row in batch:
            if row["prompt_id"] in out.ids:
                continue
            texts = zip(row["generation_prompt"], row["generations"], row.pop("raw_generation_responses"), strict=True)
            row["record_ids"] = [answer and record_ids(sent[-1]["content"], answer, raw) for sent, answer, raw in texts]
            row["voted"] = voted.intersection(id for ids in row["record_ids"] for id in ids or ())
            answers = zip(row["generations"], row["record_ids"], row["language_verdict"], strict=True)
            row["generations"] = [
                answer
                if out.ids.isdisjoint(ids or ()) and (verdict != "wrong" or config.annotation.wrong_language)
                else None
                for answer, ids, verdict in answers
            ]
            rows.append(row)
    if not rows:
        raise UserError("no_generations", path=path)
    return rows


def make_records(generations: Iterable[Mapping[str, Any]], there: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the records for rows of `data/generations`, one per answer, in an order that mixes prompts and models.

    If several models gave the same answer to a prompt, people vote on it once: the record names all of them. None and
    empty answers make no record. An answer that people have already, as an earlier version has cleaned it, keeps the id
    of that record.

    Parameters
    ----------
    there
        Ids of records that people have.
    """
    records: dict[str, dict[str, Any]] = {}
    for row in generations:
        columns = [row[name] for name in ("generation_model", "generation_prompt", "generations")]
        possible_ids = row.get("record_ids") or [[]] * len(columns[0])
        answers = [item for item in zip(*columns, possible_ids, strict=True) if (item[2] or "").strip()]
        known = {id for *_, ids in answers for id in ids if id in there or id in row.get("voted", ())}
        shared: dict[str, str] = {}  # id of a text → id of the record that has it
        for *_, ids in answers:
            if has := [id for id in ids if id in known]:
                shared.setdefault(ids[0], has[0])
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


def shown_fields(prompt: str, answer: str) -> dict[str, str]:
    """Return what the fields of a record hold, so that Argilla's page shows prompt and answer as people should read."""
    return {"prompt": as_written(prompt), "answer": argilla_answer(answer)}


def last_activity(dataset: "rg.Dataset") -> str:
    """Return when a dataset was changed last, as ISO time; "" if Argilla does not say."""
    time = dataset._model.last_activity_at
    return time.isoformat() if time else ""


def upload_records(
    dataset: "rg.Dataset", generations: Iterable[Mapping[str, Any]], config: Settings | None = None
) -> int:
    """Add the answers that the Argilla dataset lacks, and return how many those were.

    Existing records stay, with their ids and votes. If another model has given the very same answer since, its name is
    added to the record's metadata; and where the page would not show prompt and answer as the dataset has them (an
    earlier version sent them as they are), the fields are put right.

    Parameters
    ----------
    config
        With it, records that were deleted in Argilla since the last upload or export are left out for good.

    Raises
    ------
    UserError
        Argilla refuses, or is gone. What has been uploaded stays; the next run adds the rest.
    """
    with argilla_errors(dataset._client.api_url):
        _set_markdown(dataset)
        existing = {record["external_id"]: record for record in list_records(dataset)}
        seen = Seen(str(dataset.id), last_activity(dataset), {id: {} for id in existing if id})
        out = take_out_deleted(config, seen) if config else LeftOut()
        new, changed = [], []
        for record in make_records(generations, existing):
            if out.has_record(record):
                continue
            record["fields"] = shown_fields(**record["fields"])
            before = existing.get(record["external_id"])
            if before is None:
                new.append(record)
            elif change := _change(before, record):
                changed.append({"external_id": record["external_id"], **change})
        _put(dataset, changed, show_progress=False)
        _put(dataset, new, show_progress=len(new) > BATCH)
    if config:
        deletions.remember_upload(config.root / "data" / "private", seen, [record["external_id"] for record in new])
    return len(new)


def _set_markdown(dataset: "rg.Dataset") -> None:
    """Have Argilla's page show the fields as `shown_fields` makes them, if somebody has changed that."""
    for field in dataset.settings.fields:
        if field.use_markdown != (field.name == "answer"):
            settings = {"type": "text", "use_markdown": field.name == "answer"}
            request(dataset._client, "patch", f"/api/v1/fields/{field.id}", json={"settings": settings})


def _change(before: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an existing record lacks: models that gave the same answer, fields as they are shown now."""
    change: dict[str, Any] = {}
    metadata = before["metadata"] or {}
    models = metadata.get("model", [])
    if more := [model for model in record["metadata"]["model"] if model not in models]:
        change["metadata"] = {**metadata, "model": [*models, *more]}
    if before["fields"] != record["fields"]:
        change["fields"] = record["fields"]
    return change


def _put(dataset: "rg.Dataset", records: list[dict[str, Any]], show_progress: bool) -> None:
    """Add or change records by their `external_id`, so that a batch that is sent twice adds nothing twice."""
    import httpx
    from tqdm import tqdm

    url = f"/api/v1/datasets/{dataset.id}/records/bulk"
    start, size = 0, BATCH
    with tqdm(total=len(records), desc=t("notebook.uploading"), disable=not show_progress) as bar:
        while batch := records[start : start + size]:
            try:
                request_patiently(dataset._client, "put", url, json={"items": batch})
            except httpx.HTTPStatusError as error:
                if error.response.status_code != 413 or len(batch) == 1:
                    raise
                size = (len(batch) + 1) // 2  # a proxy in front of Argilla takes no more
            else:
                start += len(batch)
                bar.update(len(batch))
