"""The table of generations: one row per prompt, one item per model in its lists."""

import contextlib
import dataclasses
import functools
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kto.ask import lookups, self_naming
from kto.ask.cleaning import clean
from kto.ask.language import UNCHECKED
from kto.ask.lookups import Lookup
from kto.ask.prompt_sources import Prompt, messages
from kto.ask.store import Answer, NewAnswer, Store
from kto.ask.targets import ModelTarget
from kto.errors import UserError
from kto.left_out import LeftOut
from kto.tables import Row, messages_type, read_batches, reading, write_lines, write_rows, writing
from kto.texts import t

if TYPE_CHECKING:
    import pyarrow as pa

    from kto.ask.plan import Plan


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
            ("names_itself", pa.list_(pa.bool_())),  # whether it says which model wrote it (kto.ask.self_naming)
            ("asked_again", pa.list_(pa.int32())),  # how often before, for its language, with a firmer instruction
            ("prompt_tokens", pa.list_(pa.int64())),  # as the server counted them; null if it did not
            ("completion_tokens", pa.list_(pa.int64())),
            ("answer_id", pa.list_(pa.string())),  # key in the answer store
            # The request as the server took it, in JSON, without the model's name; with the messages only if they were
            # not those of generation_prompt. Null is a gap, or an answer of an earlier version.
            ("sent", pa.list_(pa.string())),
        ]
    )


_RESTORED = (
    *("generation_model", "generation_prompt", "raw_generation_responses", "answer_id", "finish_reason"),
    *("prompt_tokens", "completion_tokens", "refused", "asked_again", "sent"),
)
_WHOLE = ("generation_model", "generation_prompt", "answer_id")  # lists without a part of an answer


def is_refusal(answer: Answer, text: str) -> bool:
    """Tell whether an answer is a refusal: the server says so, or its first words are one in this language."""
    return answer.refused or _plain(text[:200]).startswith(_refusals())


@functools.cache
def _refusals() -> tuple[str, ...]:
    return tuple(_plain(line) for line in t("generate.refusals").split("\n") if line.strip())


def _plain(text: str) -> str:
    # The same letters may be coded and spaced in several ways.
    return " ".join(unicodedata.normalize("NFC", text).casefold().replace("’", "'").split())


@dataclasses.dataclass
class TableCounts:
    """What the table holds of one model: numbers of prompts."""

    prompts: int = 0  # all of them, but for rows that stayed as they were
    answers: int = 0  # with an answer of any kind
    # That need another request: nothing came, or in the wrong language, or cut shorter than now allowed.
    missing: int = 0
    empty: int = 0  # of these, with an answer that has no text
    cut: int = 0  # by `max_tokens`
    refused: int = 0
    names_itself: int = 0  # says which model wrote it, or who made that
    verdicts: Counter[str] = dataclasses.field(default_factory=Counter)  # "right", "wrong", "unchecked" → answers
    reasons: Counter[str] = dataclasses.field(default_factory=Counter)  # why answers are missing


class GenerationsTable:
    """Makes the rows of the table from the store; `counts` and `gaps` are complete when it is written.

    `failures` has why a prompt has no answer, by key of its first request. `added` has further columns by prompt id,
    from steps that somebody has added to the pipeline; prompts that are not asked now keep those of an earlier table.
    """

    def __init__(self, plan: "Plan", failures: Mapping[str, UserError], added: Mapping[str, Row]) -> None:
        self._plan, self._failures, self._added = plan, failures, added
        self.counts = {target.model: TableCounts() for target in plan.targets}
        # A row for each answer that is missing: `model`, `prompt_id`, `input`, the `reason` for people, its `kind` (the
        # name of the class in `kto.errors`, or "unusable") and the HTTP `status`, 0 without one.
        self.gaps: list[Row] = []
        self._names_itself = self_naming.for_models(plan.config.generation.models)

    def write(self, folder: Path) -> int:
        """Replace `train.parquet` and `gaps.jsonl`; return the number of rows, 0 (and both stay) without any answer."""
        path, gaps = folder / "train.parquet", folder / "gaps.jsonl"
        columns, earlier = self._columns(path)
        try:
            number = write_rows(path, self._rows(path, earlier), columns)
        except _NoAnswers:
            return 0
        if self.gaps:
            write_lines(gaps, self.gaps)
        else:
            with writing(gaps):
                gaps.unlink(missing_ok=True)
        return number

    def _columns(self, path: Path) -> "tuple[pa.Schema, list[str]]":
        """Return all columns, and the names of the added ones that the table at `path` has values for."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        # Their types are known only from all values: the first ones may be None.
        columns = {field.name: field for field in pa.Table.from_pylist(list(self._added.values())).schema}
        earlier = []
        if self._plan.limit is not None and path.exists():
            with reading(path):
                fields = [field for field in pq.read_schema(path) if field.name not in schema().names]
            for field in fields:
                both = [pa.schema([columns.get(field.name, field)]), pa.schema([field])]
                with contextlib.suppress(pa.ArrowException):  # other types: the step is another one by now
                    columns[field.name] = pa.unify_schemas(both, promote_options="permissive").field(0)
                    earlier.append(field.name)
        whole = schema()
        for field in columns.values():
            whole = whole.append(field.with_type(pa.string()) if pa.types.is_null(field.type) else field)
        return whole, earlier

    def _rows(self, path: Path, earlier: Sequence[str]) -> Iterator[Row]:
        """Yield the rows; those of prompts that are not asked keep the columns `earlier` of the table at `path`."""
        plan = self._plan
        unasked: set[str] = set()  # prompts that are not asked, and have no answer to what would be asked now
        added = dict(self._added)
        if earlier:
            asked = {prompt.id for prompt in plan.prompts[: plan.limit]}
            for old in self._earlier_rows(path, earlier):
                if old["prompt_id"] not in asked:
                    added[old["prompt_id"]] = {name: old[name] for name in earlier}
        for position, prompt in enumerate(plan.prompts):
            if prompt.id in plan.left_out.ids:
                continue
            row = self._row(prompt, is_asked=plan.limit is None or position < plan.limit)
            if row is None:
                unasked.add(prompt.id)
            else:
                yield row | added.get(prompt.id, {})
        if unasked:
            yield from (row for row in self._earlier_rows(path, earlier) if row["prompt_id"] in unasked)
        if not any(count.answers for count in self.counts.values()):
            raise _NoAnswers

    def _earlier_rows(self, path: Path, further: Sequence[str]) -> Iterator[Row]:
        for batch in read_batches(path, [*schema().names, *further], optional=("sent", "names_itself")):
            for row in batch:
                # Tables before 0.2.0 have no such marks.
                row["names_itself"] = row["names_itself"] or [*map(self._names_itself, row["generations"])]
                yield cleared(row, self._plan.left_out)

    def _row(self, prompt: Prompt, is_asked: bool) -> Row | None:
        """Return a prompt's row; None if it is not asked, and has no answer."""
        plan = self._plan
        lookups_by_model = [plan.look_up(target, prompt) for target in plan.targets]
        chosen = [plan.chosen(prompt, found) for found in lookups_by_model]
        if not is_asked and chosen.count(None) == len(chosen):
            return None
        conversation = messages(plan.system_prompt, prompt.text)
        items = []
        for target, found, number in zip(plan.targets, lookups_by_model, chosen, strict=True):
            count = self.counts[target.model]
            count.prompts += 1
            if lookups.is_missing(found) and not plan.is_left_out(target, prompt):
                count.missing += 1
                if is_asked:  # a prompt that is not asked is no gap
                    failure = self._failures.get(target.key(conversation)) or plan.unusable.get(target.model)
                    why = {"kind": getattr(failure, "kind", ""), "status": getattr(failure, "status", 0)}
                    count.reasons.update([str(failure)] if failure else [])
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
            "generation_model": [target.public_name for target in plan.targets],
            "generation_prompt": [conversation] * len(items),
        }

    def _answer(self, prompt: Prompt, found: Lookup, number: int, count: TableCounts) -> Row:
        assert found.stored is not None
        answer, check = found.stored.answer, found.stored.check or UNCHECKED
        text = clean(answer.text)
        if self._plan.left_out.has_answer(prompt.text, text, answer.text):
            return {"answer_id": found.key}
        refused = is_refusal(answer, text or "")
        count.answers += 1
        count.cut += answer.finish_reason == "length"
        count.refused += refused
        names_itself = self._names_itself(text)
        count.names_itself += names_itself
        count.verdicts[check.verdict] += 1
        return {
            **_as_it_came(answer, found.key),
            "generations": text,
            "refused": refused,
            "language": check.language,
            "language_score": check.score,
            "language_verdict": check.verdict,
            "names_itself": names_itself,
            "asked_again": number,
        }


class _NoAnswers(Exception):
    pass


def _as_it_came(answer: Answer, key: str) -> Row:
    same = {name: getattr(answer, name) for name in ("finish_reason", "prompt_tokens", "completion_tokens", "sent")}
    return {"raw_generation_responses": answer.text, "answer_id": key, **same}


def cleared(row: Row, out: LeftOut) -> Row:
    """Return a row of the table with None, in all lists that hold a part of it, for each answer that is left out."""
    answers = row["generations"]
    lists = [values for name, values in row.items() if isinstance(values, list) and name not in _WHOLE]
    for number, (conversation, raw) in enumerate(
        zip(row["generation_prompt"], row["raw_generation_responses"], strict=True)
    ):
        if out.has_answer(conversation[-1]["content"], answers[number], raw):
            for values in lists:
                if len(values) == len(answers):
                    values[number] = None
    return row


def restore(store: Store, table: Path, targets: Sequence[ModelTarget]) -> dict[str, set[str]]:
    """Give back to the store the answers of an earlier table that it lacks; return `Plan.later`.

    A clone of the project has the table but not the store, and answers may have cost money.
    """
    later: dict[str, set[str]] = {}
    by_name = {target.public_name: target for target in targets}
    for batch in read_batches(table, ("prompt_id", *_RESTORED), optional=("sent",)) if table.exists() else ():
        lacking = []
        for row in batch:
            lists = (row[name] or [None] * len(row["answer_id"]) for name in _RESTORED)
            for model, conversation, text, key, reason, read, written, refused, number, sent in zip(
                *lists, strict=True
            ):
                if text is None or not key:
                    continue
                if number:
                    later.setdefault(row["prompt_id"], set()).add(key)
                if store.get(key):
                    continue
                arguments: Mapping[str, object] = {}
                if target := by_name.get(model):  # its request is known only as far as it would be sent now
                    if target.key(conversation, number or 0) == key:
                        arguments = target.arguments
                    model, conversation = target.model, target.messages(conversation, number or 0)
                answer = Answer(text, reason or "", read, written, refused=bool(refused), sent=sent)
                lacking.append(NewAnswer(key, model, conversation, arguments, answer))
        if lacking:
            store.put(lacking)
    return later
