"""The table of generations: one row per prompt, one item per model in its lists."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from kto.config import public_names
from kto.pipeline import Outcome
from kto.prompts import Prompt, messages
from kto.store import Answer, Store
from kto.tables import MESSAGES, Row, read_rows

SCHEMA = pa.schema(
    [
        ("prompt_id", pa.string()),  # see kto.prompts.prompt_id
        ("input", pa.string()),  # the prompt as it was written
        ("system_prompt", pa.string()),  # "" if there is none
        # From here on lists, all in the order of the models in project.toml.
        ("generation_model", pa.list_(pa.string())),
        ("generation_prompt", pa.list_(MESSAGES)),  # the messages as they were sent
        ("raw_generation_responses", pa.list_(pa.string())),  # as they came; null is a gap
        ("generations", pa.list_(pa.string())),  # cleaned; null is a gap, or an answer without text
        ("finish_reason", pa.list_(pa.string())),  # "stop"; "length" if max_tokens cut it
        ("answer_id", pa.list_(pa.string())),  # key in the answer store
    ]
)

# Reasoning models think aloud before they answer. Some chat templates open the block themselves, then only its end is
# in the answer; where max_tokens came first, only its beginning.
_THOUGHT = re.compile(r"\s*(?:<think>.*?(?:</think>|\Z)|(?:(?!<think>).)*?</think>)", re.DOTALL)


def clean(raw: str | None) -> str | None:
    """Return an answer without a leading `<think>…</think>` block and the space around it; None if that is all."""
    if raw is None:
        return None
    thought = _THOUGHT.match(raw)
    return raw[thought.end() if thought else 0 :].strip() or None


def restore(store: Store, table: Path) -> None:
    """Give back to the store the answers of an earlier table that it lacks.

    A clone of the project has the table but not the store, and answers may have cost money.
    """
    columns = ("generation_model", "generation_prompt", "raw_generation_responses", "finish_reason", "answer_id")
    earlier = read_rows(table, columns)
    if len(store) >= sum(text is not None for row in earlier for text in row["raw_generation_responses"]):
        return
    for row in earlier:
        for model, sent, text, reason, key in zip(*(row[name] for name in columns), strict=True):
            if text is not None:
                store.put(key, model, sent, {}, Answer(text, reason or ""))


def rows(prompts: Sequence[Prompt], system_prompt: str, outcomes: Mapping[str, Sequence[Outcome]]) -> list[Row]:
    """Return the rows of the table; `outcomes` has the models in order, each with one outcome per prompt."""
    models = list(outcomes)
    names = public_names(models)
    table = []
    for number, prompt in enumerate(prompts):
        found = [outcomes[model][number] for model in models]
        table.append(
            {
                "prompt_id": prompt.id,
                "input": prompt.text,
                "system_prompt": system_prompt,
                "generation_model": names,
                "generation_prompt": [messages(system_prompt, prompt.text)] * len(models),
                "raw_generation_responses": [each.text for each in found],
                "generations": [clean(each.text) for each in found],
                "finish_reason": [each.finish_reason if each.text is not None else None for each in found],
                "answer_id": [each.answer_id for each in found],
            }
        )
    return table
