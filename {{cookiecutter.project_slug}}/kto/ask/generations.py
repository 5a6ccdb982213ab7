"""The table of generations: one row per prompt, one item per model in its lists."""

import dataclasses
import functools
import unicodedata
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto.ask import tries
from kto.ask.language_gate import UNCHECKED
from kto.ask.plan import Plan
from kto.ask.prompts import Prompt, messages
from kto.ask.routes import Route
from kto.ask.store import Answer, Entry, Message, Store
from kto.ask.tries import Tries, Try
from kto.cleaning import clean
from kto.left_out import LeftOut
from kto.model_names import public_names
from kto.tables import Row, messages_type, read_batches
from kto.texts import t

if TYPE_CHECKING:
    import pyarrow as pa


def schema() -> "pa.Schema":
    """Return the columns of the table; from `generation_model` on each holds lists with an item per model."""
    import pyarrow as pa

    conversation = messages_type()
    return pa.schema(
        [
            ("prompt_id", pa.string()),  # see kto.ask.prompts.prompt_id
            ("input", pa.string()),  # the prompt as it was written
            ("system_prompt", pa.string()),  # "" if there is none
            # From here on lists, all in the order of the models in settings.toml.
            ("generation_model", pa.list_(pa.string())),
            ("generation_prompt", pa.list_(conversation)),  # the conversation before the answer
            ("raw_generation_responses", pa.list_(pa.string())),  # as they came; null if none came
            ("generations", pa.list_(pa.string())),  # cleaned; null is a gap, or a refusal without text
            ("finish_reason", pa.list_(pa.string())),  # "stop"; "length" if max_tokens cut it
            ("refused", pa.list_(pa.bool_())),  # whether the model, or a filter, refused to answer
            ("language", pa.list_(pa.string())),  # what the gate saw, "" if it did not look
            ("language_score", pa.list_(pa.float32())),  # how surely, 0 to 1
            ("language_verdict", pa.list_(pa.string())),  # "right", "wrong" or "unchecked"
            ("asked_again", pa.list_(pa.int32())),  # how often before, for its language, with a firmer instruction
            ("prompt_tokens", pa.list_(pa.int64())),  # as the server counted them; null if it did not
            ("completion_tokens", pa.list_(pa.int64())),
            ("answer_id", pa.list_(pa.string())),  # key in the answer store
            # The request as the server took it, in JSON, without the model's name; with the messages only if they were
            # not those of generation_prompt. Null is a gap, or an answer of an earlier version.
            ("sent", pa.list_(pa.string())),
        ]
    )


WHOLE = ("generation_model", "generation_prompt", "answer_id")
"""Columns whose lists stay whole where an answer is left out: they hold nothing of it."""


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


def restore(store: Store, table: Path, routes: Sequence[Route]) -> dict[str, set[str]]:
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
    known = dict(zip(public_names([route.model for route in routes]), routes, strict=True))
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
                    entries.append(_entry(known.get(model), model, prompt, number or 0, key, answer))
        if entries:
            store.put(entries)
    return later


def _entry(
    route: Route | None, name: str, conversation: Sequence[Message], number: int, key: str, answer: Answer
) -> Entry:
    """Return an answer of a table as the store takes it; what was asked to get it is known only as far as we ask it."""
    if route is None:
        return Entry(key, name, conversation, {}, answer)
    arguments = route.tries.arguments if route.tries.key(conversation, number) == key else {}
    return Entry(key, route.model, route.tries.messages(conversation, number), arguments, answer)


@dataclasses.dataclass
class Found:
    """What the table holds of one model: numbers of prompts.

    Attributes
    ----------
    prompts
        All of them, but for rows that stayed as they were.
    answers
        With an answer, of whatever kind.
    missing
        That need another request: without an answer, or with one in the wrong language, or cut, that could not be asked
        for again.
    empty
        Of those, with an answer that has no text.
    cut, refused
        Cut by `max_tokens`, refused.
    verdicts
        How many answers are "right", "wrong" and "unchecked".
    """

    prompts: int = 0
    answers: int = 0
    missing: int = 0
    empty: int = 0
    cut: int = 0
    refused: int = 0
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)


def rows(
    plan: Plan, found: Mapping[str, Found], gaps: list[Row], failures: Mapping[str, str], unusable: Mapping[str, str]
) -> Generator[Row, None, set[str]]:
    """Yield the rows of the table, and note on the way what they hold.

    A prompt that is not asked has a row if it has an answer, and is no gap.

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

    Returns
    -------
    Ids of prompts without a row: they are not asked, and have no answer to what would be asked now.
    """
    lists = schema().names[5:]
    routes = plan.routes
    names = public_names([route.model for route in routes])
    without: set[str] = set()
    for position, prompt in enumerate(plan.prompts):
        if prompt.id in plan.left_out.ids:
            continue
        is_asked = plan.asked is None or position < plan.asked
        conversation = messages(plan.system_prompt, prompt.text)
        columns: dict[str, list] = {name: [] for name in lists}
        every = [plan.found(route, prompt) for route in routes]
        numbers = [plan.chosen(prompt, asked) for asked in every]
        if not is_asked and not any(number is not None for number in numbers):
            without.add(prompt.id)
            continue
        for route, asked, number in zip(routes, every, numbers, strict=True):
            record = found[route.model]
            record.prompts += 1
            if tries.is_missing(asked) and not plan.is_left_out(route, prompt):
                key = route.tries.key(conversation, 0)
                record.missing += 1
                gap = {"model": route.model, "prompt_id": prompt.id, "input": prompt.text}
                if is_asked:
                    gaps.append(gap | {"reason": failures.get(key) or unusable.get(route.model, "")})
            if number is None:
                _fill_gap(columns, route.tries, conversation, asked, record)
            elif _is_left_out(asked[number], prompt, plan):
                _add(columns, {"answer_id": asked[number].key})
            else:
                _fill(columns, asked[number], number, record)
        yield {
            "prompt_id": prompt.id,
            "input": prompt.text,
            "system_prompt": plan.system_prompt,
            "generation_model": names,
            "generation_prompt": [conversation] * len(routes),
            **columns,
        }
    return without


def others(table: Path, prompts: Collection[Prompt]) -> list[Prompt]:
    """Return the prompts that an earlier table has beside these."""
    known = {prompt.id for prompt in prompts}
    rows = (row for batch in read_batches(table, ("prompt_id", "input")) for row in batch) if table.exists() else ()
    return [Prompt(row["prompt_id"], row["input"]) for row in rows if row["prompt_id"] not in known]


def earlier_rows(table: Path, ids: Collection[str], out: LeftOut) -> Iterator[Row]:
    """Yield the rows that an earlier table has for the prompts with these ids, without answers that are left out."""
    names = schema().names
    lists = [name for name in names[5:] if name not in WHOLE]
    for batch in read_batches(table, names, optional=("sent",)) if ids else ():
        yield from (cleared(row, lists, out) for row in batch if row["prompt_id"] in ids)


def cleared(row: Row, lists: Collection[str], out: LeftOut) -> Row:
    """Return a row whose `lists` have None where its answer is left out."""
    columns = ("generation_prompt", "generations", "raw_generation_responses")
    for number, (conversation, answer, raw) in enumerate(zip(*map(row.get, columns), strict=True)):
        if out.has_answer(conversation[-1]["content"], answer, raw):
            for name in lists:
                if row[name]:
                    row[name][number] = None
    return row


def _is_left_out(chosen: Try, prompt: Prompt, plan: Plan) -> bool:
    if not plan.left_out.ids or chosen.kept is None:
        return False
    raw = chosen.kept.answer.text
    return plan.left_out.has_answer(prompt.text, clean(raw), raw)


def _fill(columns: Mapping[str, list], chosen: Try, number: int, found: Found) -> None:
    """Add one model's item to each column of a row, and count it."""
    assert chosen.kept is not None
    answer, judgement = chosen.kept.answer, chosen.kept.judgement or UNCHECKED
    text = clean(answer.text)
    refused = is_refusal(answer, text or "")
    found.answers += 1
    found.cut += answer.finish_reason == "length"
    found.refused += refused
    found.verdicts[judgement.verdict] += 1
    _add(
        columns,
        {
            **_as_it_came(answer, chosen.key),
            "generations": text,
            "refused": refused,
            "language": judgement.language,
            "language_score": judgement.score,
            "language_verdict": judgement.verdict,
            "asked_again": number,
        },
    )


def _fill_gap(
    columns: Mapping[str, list], asked: Tries, conversation: Sequence[Message], tried: Sequence[Try], found: Found
) -> None:
    """The same where there is no answer; what came without a text is still to be seen."""
    number = next((number for number, each in enumerate(tried) if each.empty), 0)
    empty = tried[number].empty
    found.empty += bool(empty)
    key = asked.key(conversation, number, max(len(empty) - 1, 0))
    _add(columns, _as_it_came(empty[-1], key) if empty else {"answer_id": key})


def _as_it_came(answer: Answer, key: str) -> dict[str, object]:
    return {
        "raw_generation_responses": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "answer_id": key,
        "sent": answer.sent,
    }


def _add(columns: Mapping[str, list], item: Mapping[str, object]) -> None:
    for name, column in columns.items():
        column.append(item.get(name))
