"""What an earlier table of generations tells: answers that the store lacks, and prompts that have left the sources."""

from collections.abc import Collection, Sequence
from pathlib import Path

from kto.ask.prompt_sources import Prompt
from kto.ask.store import Answer, NewAnswer, Store
from kto.ask.targets import ModelTarget
from kto.model_names import public_names
from kto.tables import read_batches

_COLUMNS = (
    *("generation_model", "generation_prompt", "raw_generation_responses", "answer_id", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "refused", "asked_again", "sent"),
)


def restore(store: Store, table: Path, targets: Sequence[ModelTarget]) -> dict[str, set[str]]:
    """Give back to the store the answers of an earlier table that it lacks; return `kto.ask.plan.Plan.later`.

    A clone of the project has the table but not the store, and answers may have cost money.
    """
    later: dict[str, set[str]] = {}
    known = dict(zip(public_names([target.model for target in targets]), targets, strict=True))
    for batch in read_batches(table, ("prompt_id", *_COLUMNS), optional=("sent",)) if table.exists() else ():
        lacking = []
        for row in batch:
            lists = (row[name] or [None] * len(row["answer_id"]) for name in _COLUMNS)
            for model, conversation, text, key, reason, read, written, refused, number, sent in zip(
                *lists, strict=True
            ):
                if text is None or not key:
                    continue
                if number:
                    later.setdefault(row["prompt_id"], set()).add(key)
                if store.get(key):
                    continue
                answer = Answer(text, reason or "", read, written, refused=bool(refused), sent=sent)
                if target := known.get(model):  # its request is known only as far as it would be sent now
                    arguments = target.arguments if target.key(conversation, number or 0) == key else {}
                    sent_messages = target.messages(conversation, number or 0)
                    lacking.append(NewAnswer(key, target.model, sent_messages, arguments, answer))
                else:
                    lacking.append(NewAnswer(key, model, conversation, {}, answer))
        if lacking:
            store.put(lacking)
    return later


def other_prompts(table: Path, prompts: Collection[Prompt]) -> list[Prompt]:
    """Return the prompts that an earlier table has beside these."""
    known = {prompt.id for prompt in prompts}
    rows = (row for batch in read_batches(table, ("prompt_id", "input")) for row in batch) if table.exists() else ()
    return [Prompt(row["prompt_id"], row["input"]) for row in rows if row["prompt_id"] not in known]
