"""Answers to wordings that are no longer among the prompts: nobody is asked about them, and their votes stay.

Somebody has corrected a prompt or taken it out; the answers to what it said before are still in Argilla. On the server
of this project they leave the queue, with all responses; so do answers that are left out (`kto/left_out.py`). Argilla
elsewhere (a Space) knows no such thing. There,

    uv run vote.py outdated

deletes them in Argilla, but only where `export.py` has all votes on them.
"""

import contextlib
import datetime
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from kto import left_out
from kto.ask.prompt_sources import load as load_prompts
from kto.command_line import Parser, run
from kto.dataset.privacy import VoteFiles
from kto.errors import UserError
from kto.secrets import secret
from kto.settings import Settings, load
from kto.tables import read_rows
from kto.texts import t
from kto.vote import deletions
from kto.vote.client import argilla_errors, connect, request
from kto.vote.records import BATCH, list_records
from kto.vote.task import find_task

if TYPE_CHECKING:
    import argilla as rg

OUTDATED = "outdated"
"""Metadata of such a record, and of one that is left out; kto/vote/argilla_server/search.py reads it."""
_DELETED = 100  # records per request; the most that Argilla takes


class PromptsInUse(NamedTuple):
    """The texts of the prompts by id, in the order of their file; `complete` if that file could be read."""

    texts: dict[str, str]
    complete: bool


def prompts_in_use(config: Settings) -> PromptsInUse:
    """Return the prompts of the project, then those that only `data/generations` has: it may be older than the file.

    Raises
    ------
    UserError
        `data/generations` cannot be read.
    """
    texts: dict[str, str] = {}
    with contextlib.suppress(UserError):  # perhaps they are on the Hub, and there is no network
        texts = {prompt.id: prompt.text for prompt in load_prompts(config, token=secret(config, "HF_TOKEN")).prompts}
    complete = bool(texts)
    for row in read_rows(config.root / "data" / "generations" / "train.parquet", ("prompt_id", "input")):
        texts.setdefault(row["prompt_id"], row["input"])
    return PromptsInUse(texts, complete)


def is_outdated(prompt_id: str, in_use: PromptsInUse) -> bool:
    """Tell whether a prompt is no longer in use; one of which that cannot be known is."""
    return in_use.complete and prompt_id not in in_use.texts


def _asks_outdated(record: Mapping[str, Any], in_use: PromptsInUse) -> bool:
    id = (record["metadata"] or {}).get("prompt_id")  # a record of somebody else has none
    return id is not None and is_outdated(id, in_use)


def leave_queue(dataset: "rg.Dataset", config: Settings) -> None:
    """Let answers whose prompt is no longer in use, and those that are left out, leave the queue; bring back others.

    Raises
    ------
    UserError
        Argilla refuses, or is gone; or `data/generations` cannot be read.
    """
    in_use, out = prompts_in_use(config), left_out.read(config.root)
    if not in_use.complete and not out.ids:
        return
    client = dataset._client
    changed: list[dict[str, Any]] = []
    waiting: list[str] = []
    unwanted: list[str] = []  # pending ones that are left out
    with argilla_errors(client.api_url):
        for record in list_records(dataset):
            taken_out = out.has_record(record)
            if not in_use.complete and not taken_out:
                continue
            metadata = {name: value for name, value in (record["metadata"] or {}).items() if name != OUTDATED}
            if taken_out or _asks_outdated(record, in_use):
                metadata[OUTDATED] = True
                if record["status"] == "pending":
                    (unwanted if taken_out else waiting).append(record["id"])
            if metadata != (record["metadata"] or {}):
                changed.append({"id": record["id"], "metadata": metadata})
        for start in range(0, len(changed), BATCH):
            items = {"items": changed[start : start + BATCH]}
            request(client, "put", f"/api/v1/datasets/{dataset.id}/records/bulk", json=items)
        asked = _is_asked(dataset, [*unwanted, *waiting][:_DELETED])
    if unwanted:
        print(t("technical.left_out_waiting", count=len(unwanted)))
    if waiting:
        print(t("notebook.outdated", count=len(waiting)))
    if asked:
        print(t("technical.outdated_stay", url=client.api_url), file=sys.stderr)


def _is_asked(dataset: "rg.Dataset", ids: list[str]) -> bool:
    """Tell whether this Argilla still asks for votes on one of these records."""
    if not ids:
        return False
    scopes = [("response", "status", ["pending"]), ("record", "id", ids)]
    terms = [
        {"type": "terms", "scope": {"entity": entity, "property": name}, "values": values}
        for entity, name, values in scopes
    ]
    url = f"/api/v1/me/datasets/{dataset.id}/records/search"
    body = {"filters": {"type": "and", "and": terms}}
    return bool(request(dataset._client, "post", url, params={"limit": 1}, json=body)["total"])


def _is_exported(responses: Iterable[Mapping[str, Any]], exported: set[tuple[str, Any]]) -> bool:
    return all(
        (response["id"], datetime.datetime.fromisoformat(response["updated_at"]).replace(tzinfo=datetime.UTC))
        in exported
        for response in responses
        if response["status"] == "submitted"
    )


def main(argv: list[str] | None = None) -> int:
    Parser(t("technical.help_outdated")).parse_args(argv)
    config = load()
    dataset = find_task(connect(config), config)
    if dataset is None:
        raise UserError("no_task", name=config.annotation.dataset)
    in_use, out = prompts_in_use(config), left_out.read(config.root)
    private = config.root / "data" / "private"
    stored = VoteFiles(config.root / "data" / "votes", private).read()
    exported = {(vote["vote_id"], vote["updated_at"]) for vote in stored.votes}
    client = dataset._client
    with argilla_errors(client.api_url):
        every = list_records(dataset, include="responses")
        found = [each for each in every if out.has_record(each) or _asks_outdated(each, in_use)]
        ready = [record for record in found if _is_exported(record["responses"], exported)]
        deletions.forget(private, {record["external_id"] for record in ready})  # it is not the lead who deletes these
        ids = [record["id"] for record in ready]
        for start in range(0, len(ids), _DELETED):
            query = {"ids": ",".join(ids[start : start + _DELETED])}
            request(client, "delete", f"/api/v1/datasets/{dataset.id}/records", params=query)
    print(t("technical.outdated_deleted", count=len(ids)))
    if len(ids) < len(found):
        raise UserError("technical.outdated_not_exported", count=len(found) - len(ids))
    return 0


if __name__ == "__main__":
    run(main)
