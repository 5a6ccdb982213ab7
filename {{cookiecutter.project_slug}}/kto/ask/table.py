"""The table of generations: one row per prompt, one item per model in its lists."""

import dataclasses
import functools
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from kto.ask import lookups
from kto.ask.language import UNCHECKED
from kto.ask.lookups import Lookup
from kto.ask.plan import Plan
from kto.ask.prompt_sources import Prompt, messages
from kto.ask.store import Answer
from kto.cleaning import clean
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.tables import Row, messages_type, read_batches, write_rows
from kto.texts import t

if TYPE_CHECKING:
    import pyarrow as pa


@functools.cache
def schema() -> "pa.Schema":
    """Return the columns of the table; from `generation_model` on each holds lists with an item per model."""
    import pyarrow as pa

    conversation = messages_type()
    return pa.schema(
        [
            ("prompt_id", pa.string()),  # see kto.ask.prompt_sources.prompt_id
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


@dataclasses.dataclass
class TableCounts:
    """What the table holds of one model: numbers of prompts.

    Attributes
    ----------
    prompts
        All of them, but for rows that stayed as they were.
    answers
        With an answer of any kind.
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


class GenerationsTable:
    """Makes the rows of the table from the store; the counts are whole when the table is written.

    Parameters
    ----------
    failures
        Why a prompt has no answer, by key of its first request.
    added
        Further columns by prompt id, from steps that somebody has added to the pipeline.

    Attributes
    ----------
    counts
        By model.
    gaps
        A row for each answer that is missing: `model`, `prompt_id`, `input`, the `reason` for people, its `kind` (the
        name of the class in `kto.errors`, or "unusable") and the HTTP `status`, 0 without one.
    """

    def __init__(
        self,
        plan: Plan,
        failures: Mapping[str, UserError] = MappingProxyType({}),
        added: Mapping[str, Row] = MappingProxyType({}),
    ) -> None:
        self._plan, self._failures, self._added = plan, failures, added
        self.counts = {target.model: TableCounts() for target in plan.targets}
        self.gaps: list[Row] = []

    def write(self, path: Path) -> int:
        """Replace the table; return its number of rows, 0 (and an earlier table stays) if there is no answer at all.

        Raises
        ------
        UserError
            It cannot be written, or an earlier table cannot be read.
        """
        import pyarrow as pa

        columns = schema()
        if self._added:
            # Their types are known only from all values: the first ones may be None.
            added = pa.Table.from_pylist(list(self._added.values())).schema
            for field in added:
                columns = columns.append(pa.field(field.name, pa.string()) if pa.types.is_null(field.type) else field)

        def rows() -> Iterator[Row]:
            without: set[str] = set()  # prompts that are not asked, and have no answer to what would be asked now
            for position, prompt in enumerate(self._plan.prompts):
                if prompt.id in self._plan.left_out.ids:
                    continue
                row = self._row(prompt, is_asked=self._plan.limit is None or position < self._plan.limit)
                if row is None:
                    without.add(prompt.id)
                else:
                    yield row | self._added.get(prompt.id, {})
            yield from earlier_rows(path, without, self._plan.left_out)
            if not any(count.answers for count in self.counts.values()):
                raise _NoAnswers

        try:
            return write_rows(path, rows(), columns)
        except _NoAnswers:
            return 0

    def _row(self, prompt: Prompt, is_asked: bool) -> Row | None:
        """Return a prompt's row; None if it is not asked, and has no answer."""
        plan = self._plan
        every = [plan.look_up(target, prompt) for target in plan.targets]
        numbers = [plan.chosen(prompt, found) for found in every]
        if not is_asked and not any(number is not None for number in numbers):
            return None
        conversation = messages(plan.system_prompt, prompt.text)
        items = []
        for target, found, number in zip(plan.targets, every, numbers, strict=True):
            count = self.counts[target.model]
            count.prompts += 1
            key = target.key(conversation)
            if lookups.is_missing(found) and not plan.is_left_out(target, prompt):
                count.missing += 1
                if is_asked:  # a prompt that is not asked is no gap
                    failure = self._failures.get(key) or plan.unusable.get(target.model)
                    why = {"kind": getattr(failure, "kind", ""), "status": getattr(failure, "status", 0)}
                    gap = {"model": target.model, "prompt_id": prompt.id, "input": prompt.text}
                    self.gaps.append(gap | {"reason": str(failure or "")} | why)
            if number is not None:
                items.append(self._answer(prompt, found[number], number, count))
                continue
            # What came without a text is still to be seen.
            number = next((number for number, lookup in enumerate(found) if lookup.empty), 0)
            empty = found[number].empty
            count.empty += bool(empty)
            key = target.key(conversation, number, max(len(empty) - 1, 0))
            items.append(_as_it_came(empty[-1], key) if empty else {"answer_id": key})
        return {
            "prompt_id": prompt.id,
            "input": prompt.text,
            "system_prompt": plan.system_prompt,
            **{name: [item.get(name) for item in items] for name in schema().names[5:]},
            "generation_model": list(plan.names.values()),
            "generation_prompt": [conversation] * len(items),
        }

    def _answer(self, prompt: Prompt, found: Lookup, number: int, count: TableCounts) -> Row:
        """Return one model's item for each column of a row, and count it."""
        assert found.stored is not None
        answer, check = found.stored.answer, found.stored.check or UNCHECKED
        text = clean(answer.text)
        if self._plan.left_out.has_answer(prompt.text, text, answer.text):
            return {"answer_id": found.key}
        refused = is_refusal(answer, text or "")
        count.answers += 1
        count.cut += answer.finish_reason == "length"
        count.refused += refused
        count.verdicts[check.verdict] += 1
        return {
            **_as_it_came(answer, found.key),
            "generations": text,
            "refused": refused,
            "language": check.language,
            "language_score": check.score,
            "language_verdict": check.verdict,
            "asked_again": number,
        }


class _NoAnswers(Exception):
    """The table would hold no answer."""


def _as_it_came(answer: Answer, key: str) -> Row:
    return {
        "raw_generation_responses": answer.text,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "answer_id": key,
        "sent": answer.sent,
    }


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
                if row[name] and len(row[name]) == len(row["generations"]):
                    row[name][number] = None
    return row
