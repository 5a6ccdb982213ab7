"""What an earlier table of generations tells: answers that the store lacks, and prompts that have left the sources."""

from collections.abc import Collection, Sequence
from pathlib import Path

from kto.ask.prompt_sources import Prompt
from kto.ask.store import Answer, Message, NewAnswer, Store
from kto.ask.targets import ModelTarget
from kto.model_names import public_names
from kto.tables import read_batches


def restore(store: Store, table: Path, targets: Sequence[ModelTarget]) -> dict[str, set[str]]:
    """Give back to the store the answers of an earlier table that it lacks; return those that were not the first try.

    A clone of the project has the table but not the store, and answers may have cost money.

    Returns
    -------
    By prompt: keys of the answers, see `kto.ask.plan.Plan.later`.
    """
    columns = (
        *("generation_model", "generation_prompt", "raw_generation_responses", "answer_id", "finish_reason"),
        *("prompt_tokens", "completion_tokens", "refused", "asked_again", "sent"),
    )
    later: dict[str, set[str]] = {}
    if not table.exists():
        return later
    known = dict(zip(public_names([target.model for target in targets]), targets, strict=True))
    for batch in read_batches(table, ("prompt_id", *columns), optional=("sent",)):
        entries = []
        for row in batch:
            for model, prompt, text, key, reason, read, written, refused, number, sent in zip(
                *(row[name] or [None] * len(row["answer_id"]) for name in columns), strict=True
            ):
                if text is None or not key:
                    continue
                if number:
                    later.setdefault(row["prompt_id"], set()).add(key)
                if not store.get(key):
                    answer = Answer(text, reason or "", read, written, refused=bool(refused), sent=sent)
                    entries.append(_as_asked(known.get(model), model, prompt, number or 0, key, answer))
        if entries:
            store.put(entries)
    return later


def _as_asked(
    target: ModelTarget | None, name: str, conversation: Sequence[Message], number: int, key: str, answer: Answer
) -> NewAnswer:
    """Return an answer of a table as the store takes it; its request is known only as far as it would be sent now."""
    if target is None:
        return NewAnswer(key, name, conversation, {}, answer)
    arguments = target.arguments if target.key(conversation, number) == key else {}
    return NewAnswer(key, target.model, target.messages(conversation, number), arguments, answer)


def other_prompts(table: Path, prompts: Collection[Prompt]) -> list[Prompt]:
    """Return the prompts that an earlier table has beside these."""
    known = {prompt.id for prompt in prompts}
    rows = (row for batch in read_batches(table, ("prompt_id", "input")) for row in batch) if table.exists() else ()
    return [Prompt(row["prompt_id"], row["input"]) for row in rows if row["prompt_id"] not in known]
