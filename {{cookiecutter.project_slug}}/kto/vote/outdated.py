"""Answers to prompts that were changed or removed: nobody is asked about them any more, and their votes stay.

On the server of this project they leave the queue and keep their responses; so do answers that are left out
(`kto/left_out.py`). A Space does not know the mark for that: there, `uv run vote.py outdated` deletes them, but only
those whose votes have all been exported.
"""

import contextlib
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from kto import decisions, left_out
from kto.ask.prompt_sources import load as load_prompts
from kto.command_line import Parser, run
from kto.dataset.privacy import VoteFiles
from kto.errors import UserError
from kto.keys import secret
from kto.settings import Settings, load
from kto.tables import read_rows
from kto.texts import t
from kto.vote import deletions
from kto.vote.client import connect
from kto.vote.overlap import LOOKED_AT
from kto.vote.records import list_records, put_records
from kto.vote.responses import utc
from kto.vote.task import Task, find_task

OUTDATED = "outdated"
"""Metadata of such a record, and of one that is left out; kto/vote/argilla_server/search.py reads it."""
_DELETED = 100  # records per request; the most that Argilla takes


class PromptsInUse(NamedTuple):
    """The texts of the prompts by id, in the order of their file; `complete` if that file could be read."""

    texts: dict[str, str]
    complete: bool


def prompts_in_use(config: Settings) -> PromptsInUse:
    """Return the prompts of the project, then those that only `data/generations` has: it may be older than the file."""
    texts: dict[str, str] = {}
    with contextlib.suppress(UserError):  # they may be on the Hub, and the network may be down
        texts = {prompt.id: prompt.text for prompt in load_prompts(config, token=secret(config, "HF_TOKEN")).prompts}
    complete = bool(texts)
    for row in read_rows(config.root / "data" / "generations" / "train.parquet", ("prompt_id", "input")):
        texts.setdefault(row["prompt_id"], row["input"])
    return PromptsInUse(texts, complete)


def is_outdated(prompt_id: str | None, in_use: PromptsInUse) -> bool:
    """Tell whether a prompt is known to be out of use; records that this project has not made have none."""
    return in_use.complete and prompt_id is not None and prompt_id not in in_use.texts


def leave_queue(task: Task, config: Settings) -> None:
    """Let answers whose prompt is out of use, and those that are left out, leave the queue; bring back others.

    Records about which the lead has decided are marked, too: flags do not count there, and a decided tie is asked about
    no more.
    """
    in_use, out = prompts_in_use(config), left_out.read(config.root)
    decided = decisions.read(config.root).by_id
    changed: list[dict[str, Any]] = []
    waiting: list[str] = []
    unwanted: list[str] = []  # pending ones that are left out
    for record in list_records(task):
        before = record["metadata"] or {}
        metadata = {name: value for name, value in before.items() if name != LOOKED_AT}
        if decision := decided.get(record["external_id"]):
            metadata[LOOKED_AT] = decision
        taken_out = out.has_record(record)
        if taken_out or in_use.complete:
            metadata.pop(OUTDATED, None)
        if taken_out or is_outdated(before.get("prompt_id"), in_use):
            metadata[OUTDATED] = True
            if record["status"] == "pending":
                (unwanted if taken_out else waiting).append(record["id"])
        if metadata != before:
            changed.append({"id": record["id"], "metadata": metadata})
    put_records(task, changed)
    if unwanted:
        print(t("technical.left_out_waiting", count=len(unwanted)))
    if waiting:
        print(t("notebook.outdated", count=len(waiting)))
    if _is_asked(task, [*unwanted, *waiting][:_DELETED]):
        print(t("technical.outdated_stay", url=task.argilla.api_url), file=sys.stderr)


def _is_asked(task: Task, ids: list[str]) -> bool:
    """Tell whether this Argilla still asks for votes on one of these records."""
    terms = [
        {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]},
        {"type": "terms", "scope": {"entity": "record", "property": "id"}, "values": ids},
    ]
    url, query = f"/me/datasets/{task.id}/records/search", {"filters": {"type": "and", "and": terms}}
    return bool(ids) and task.argilla.request("POST", url, params={"limit": 1}, json=query)["total"] > 0


def main(argv: list[str] | None = None) -> int:
    Parser(t("technical.help_outdated")).parse_args(argv)
    config = load()
    task = find_task(connect(config), config)
    if task is None:
        raise UserError("no_task", name=config.annotation.dataset)
    in_use, out = prompts_in_use(config), left_out.read(config.root)
    private = config.root / "data" / "private"
    stored = VoteFiles(config.root / "data" / "votes", private).read()
    exported = {(vote["vote_id"], vote["updated_at"]) for vote in stored.votes}

    def is_exported(record: Mapping[str, Any]) -> bool:
        submitted = [response for response in record["responses"] if response["status"] == "submitted"]
        return all((response["id"], utc(response["updated_at"])) in exported for response in submitted)

    outdated = [
        record
        for record in list_records(task, include="responses")
        if out.has_record(record) or is_outdated((record["metadata"] or {}).get("prompt_id"), in_use)
    ]
    ready = [record for record in outdated if is_exported(record)]
    deletions.forget(private, {record["external_id"] for record in ready})  # it is not the lead who deletes these
    for start in range(0, len(ready), _DELETED):
        ids = ",".join(record["id"] for record in ready[start : start + _DELETED])
        task.argilla.request("DELETE", f"/datasets/{task.id}/records", params={"ids": ids})
    print(t("technical.outdated_deleted", count=len(ready)))
    if len(ready) < len(outdated):
        raise UserError("technical.outdated_not_exported", count=len(outdated) - len(ready))
    return 0


if __name__ == "__main__":
    run(main)
