"""The table of generations: one row per prompt, one item per model in its lists."""

import dataclasses
import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from kto import tries
from kto.config import public_names
from kto.language_gate import UNCHECKED
from kto.plan import Plan
from kto.prompts import messages
from kto.store import Answer, Entry, Kept, Store
from kto.tables import MESSAGES, Row, read_batches
from kto.texts import t

SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),  # see kto.prompts.prompt_id
        ("input", pa.string()),  # the prompt as it was written
        ("system_prompt", pa.string()),  # "" if there is none
        # From here on lists, all in the order of the models in project.toml.
        ("generation_model", pa.list_(pa.string())),
        ("generation_prompt", pa.list_(MESSAGES)),  # the conversation before the answer
        ("raw_generation_responses", pa.list_(pa.string())),  # as they came; null is a gap
        ("generations", pa.list_(pa.string())),  # cleaned; null is a gap, or an answer without text
        ("finish_reason", pa.list_(pa.string())),  # "stop"; "length" if max_tokens cut it
        ("refused", pa.list_(pa.bool_())),  # whether the model, or a filter, refused to answer
        ("language", pa.list_(pa.string())),  # what the gate saw, "" if it did not look
        ("language_score", pa.list_(pa.float32())),  # how surely, 0 to 1
        ("language_verdict", pa.list_(pa.string())),  # "right", "wrong" or "unchecked"
        ("asked_again", pa.list_(pa.int32())),  # how often before, because of the language, with a firmer instruction
        ("prompt_tokens", pa.list_(pa.int64())),  # as the server counted them; null if it did not
        ("completion_tokens", pa.list_(pa.int64())),
        ("answer_id", pa.list_(pa.string())),  # key in the answer store
        # The request as the server took it, in JSON, without the model's name; with the messages only if they were not
        # those of generation_prompt. Null is a gap, or an answer of an earlier version.
        ("sent", pa.list_(pa.string())),
    ]
)

# Reasoning models think aloud before they answer. Some chat templates open the block themselves, then only its end is
# in the answer; where max_tokens came first, only its beginning.
_THOUGHT = re.compile(r"\s*(?:<think>.*?(?:</think>|\Z)|(?:(?!<think>).)*?</think>)", re.DOTALL)


def clean(raw: str | None) -> str | None:
    """Return an answer without a leading `<think>…</think>` block and the space around it; None if that is all."""
    if raw is None:
        return None
    thought = _THOUGHT.match(raw) if "think>" in raw else None  # or else it reads every answer to its end
    return raw[thought.end() if thought else 0 :].strip() or None


def is_refusal(answer: Answer, text: str) -> bool:
    """Tell whether an answer is a refusal: the server says so, or its first words are one in this language."""
    if answer.refused:
        return True
    start = _plain(text[:200])
    return any(start.startswith(phrase) for phrase in _refusals())


@functools.cache
def _refusals() -> tuple[str, ...]:
    return tuple(_plain(line) for line in t("generate.refusals").split("\n") if line.strip())


def _plain(text: str) -> str:
    """Return a text as it is compared: the same letters may be coded and spaced in several ways."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().replace("’", "'").split())


def restore(store: Store, table: Path) -> None:
    """Give back to the store the answers of an earlier table that it lacks.

    A clone of the project has the table but not the store, and answers may have cost money.
    """
    columns = (
        *("generation_model", "generation_prompt", "raw_generation_responses", "answer_id", "finish_reason"),
        *("prompt_tokens", "completion_tokens", "refused", "sent"),
    )
    if not table.exists():
        return
    for batch in read_batches(table, columns, optional=("sent",)):
        entries = [
            Entry(key, model, prompt, {}, Answer(text, reason or "", read, written, refused=bool(refused), sent=sent))
            for row in batch
            for model, prompt, text, key, reason, read, written, refused, sent in zip(
                *(row[name] or [None] * len(row["answer_id"]) for name in columns), strict=True
            )
            if text is not None and key
        ]
        if not all(store.get(entry.key) for entry in entries):
            store.put(entries)


@dataclasses.dataclass
class Found:
    """What the table holds of one model: numbers of prompts.

    Attributes
    ----------
    answers
        With an answer, of whatever kind.
    missing
        That need another request: without an answer, or with one in the wrong language that could not be asked again.
    empty, cut, refused
        Without a text, cut by `max_tokens`, refused.
    verdicts
        How many answers are "right", "wrong" and "unchecked".
    """

    answers: int = 0
    missing: int = 0
    empty: int = 0
    cut: int = 0
    refused: int = 0
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)


def rows(
    plan: Plan, found: Mapping[str, Found], gaps: list[Row], failures: Mapping[str, str], unusable: Mapping[str, str]
) -> Iterator[Row]:
    """Yield the rows of the table, and note on the way what they hold.

    Parameters
    ----------
    found
        By model; its numbers are counted up.
    gaps
        Gets a row for each answer that is missing: `model`, `prompt_id`, `input` and the `reason`.
    failures
        Why a prompt has no answer, by key of the first try.
    unusable
        Why a model could not be asked at all, by model.
    """
    routes = plan.routes
    names = public_names([route.model for route in routes])
    for prompt in plan.prompts:
        conversation = messages(plan.system_prompt, prompt.text)
        columns: dict[str, list] = {name: [] for name in SCHEMA.names[5:]}
        for route in routes:
            keys, kept = plan.kept(route, prompt)
            number = tries.chosen(kept)
            chosen = None if number is None else kept[number]
            record = found[route.model]
            if not tries.is_complete(kept):
                record.missing += 1
                gap = {"model": route.model, "prompt_id": prompt.id, "input": prompt.text}
                gaps.append(gap | {"reason": failures.get(keys[0]) or unusable.get(route.model, "")})
            _fill(columns, chosen, number or 0, keys[number or 0], record)
        yield {
            "prompt_id": prompt.id,
            "input": prompt.text,
            "system_prompt": plan.system_prompt,
            "generation_model": names,
            "generation_prompt": [conversation] * len(routes),
            **columns,
        }


def _fill(columns: Mapping[str, list], kept: Kept | None, number: int, key: str, found: Found) -> None:
    """Add one model's item to each column of a row, and count it."""
    if kept is None:
        item: dict[str, object] = {"answer_id": key}
    else:
        answer, judgement = kept.answer, kept.judgement or UNCHECKED
        text = clean(answer.text)
        refused = is_refusal(answer, text or "")
        found.answers += 1
        found.empty += text is None
        found.cut += answer.finish_reason == "length"
        found.refused += refused
        found.verdicts[judgement.verdict] += 1
        item = {
            "raw_generation_responses": answer.text,
            "generations": text,
            "finish_reason": answer.finish_reason,
            "refused": refused,
            "language": judgement.language,
            "language_score": judgement.score,
            "language_verdict": judgement.verdict,
            "asked_again": number,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
            "answer_id": key,
            "sent": answer.sent,
        }
    for name, column in columns.items():
        column.append(item.get(name))
