"""Rows for KTO, of the answers that have a label: in mixed order, with a split for each prompt.

Once exported, a prompt stays in its split: somebody may have trained on it. A new near-duplicate joins the split of the
prompt that it resembles, so that the test split never contains trained prompts. All others are drawn at random.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kto.dataset.labels import VotedAnswer, VotedAnswers
from kto.near_duplicates import NearDuplicates, size_for
from kto.settings import Settings
from kto.tables import Row, messages_type, read_csv, read_rows, write_csv

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "test")
_SPLIT_COLUMNS = ("prompt_id", "split")


def schema() -> "pa.Schema":
    """Return the columns of the rows for KTO."""
    import pyarrow as pa

    conversation = messages_type()
    return pa.schema(
        [
            ("prompt", conversation),  # what the model was sent, the system prompt included
            ("completion", conversation),
            ("label", pa.bool_()),
            ("generation_model", pa.list_(pa.string())),  # several, if they gave the same answer
            ("n_votes", pa.int32()),
            ("agreement", pa.float32()),  # share of the votes that say the same as the label (perhaps the lead's)
            ("confidence", pa.float32()),  # that the label is right; null if too few votes overlap
            ("label_from", pa.string()),  # majority, third_vote or lead
            ("prompt_id", pa.string()),
        ]
    )


@dataclass(frozen=True)
class Splits:
    """The rows of each split, and what has no row."""

    train: list[Row]
    test: list[Row]  # may be empty
    without: Counter[str] = field(default_factory=Counter)  # answers without a row, by the reason in `labels.Decision`
    left_out: list[Row] = field(default_factory=list)  # of test prompts that are nearly the same as one in train

    @property
    def by_prompt(self) -> dict[str, str]:
        """The split that each prompt belongs to."""
        parts = {"train": self.train, "test": [*self.test, *self.left_out]}
        return {row["prompt_id"]: name for name, rows in parts.items() for row in rows}


@dataclass(frozen=True)
class KnownPrompts:
    """What decides about splits, besides chance; `similarity` and `size` are those of `NearDuplicates`."""

    texts: Mapping[str, str]  # by id, in the order of the file with the prompts
    exported: Mapping[str, str]  # splits by id, of the prompts that were exported before
    similarity: float
    size: int

    def assign(self, draw: Callable[[str], str]) -> dict[str, str]:
        """Return the split of each prompt; `draw` picks that of a prompt without an earlier near-duplicate."""
        splits = {id: self.exported[id] for id in self.texts if id in self.exported}
        if new := [id for id in self.texts if id not in splits]:
            order = [*splits, *new]
            index = NearDuplicates((self.texts[id] for id in order), self.similarity, self.size)
            first = {self.texts[id]: id for id in reversed(order)}
            for id in new:
                twin = first[index.find(self.texts[id]) or self.texts[id]]  # it finds itself, if nothing before it
                splits[id] = splits[twin] if twin in splits else draw(id)
        return splits

    def near(self, some: Collection[str], others: Collection[str]) -> set[str]:
        """Return those of `some` that are nearly the same as one of `others`."""
        if not some or not others:
            return set()
        index = NearDuplicates((self.texts[id] for id in others), self.similarity, self.size)
        return {id for id in some if index.find(self.texts[id]) is not None}


def read_known(
    config: Settings, folder: Path, splits: Path, in_use: Iterable[str], votes: Iterable[Row]
) -> KnownPrompts:
    """Return the prompts that were exported or have votes, those `in_use` first, in their order.

    `folder` has the rows of the last export; without any, chance decides about all prompts again. `splits` is the file
    of `write_splits`: it also has prompts without a row.
    """
    exported: dict[str, str] = {}
    texts: dict[str, str] = {}
    for name in reversed(SPLITS):
        for row in read_rows(folder / f"{name}.parquet", ("prompt_id", "prompt")):
            exported[row["prompt_id"]] = name
            texts.setdefault(row["prompt_id"], row["prompt"][-1]["content"])
    if exported:
        rows = read_csv(splits, _SPLIT_COLUMNS)
        exported = {row["prompt_id"]: row["split"] for row in rows if row["split"] in SPLITS} | exported
    for vote in votes:
        texts.setdefault(vote["prompt_id"], vote["prompt"][-1]["content"])
    texts = {id: texts[id] for id in dict.fromkeys([*in_use, *texts]) if id in texts}
    return KnownPrompts(texts, exported, config.new_prompts.similarity, size_for(config.language.script))


def write_splits(path: Path, splits: Mapping[str, str]) -> None:
    """Write the split of each prompt that was ever exported."""
    write_csv(path, _SPLIT_COLUMNS, sorted(splits.items()))


def make_splits(answers: VotedAnswers, test_fraction: float, seed: int, known: KnownPrompts) -> Splits:
    """Return a row for each of these answers that has a label, split so that all rows of a prompt are in one split.

    About `test_fraction` of the prompts go to the test split. Which ones depends on the prompt and the seed alone, so
    a prompt keeps its split when there are more votes later; what is `known` of it comes first, and that has the texts
    of all prompts here. Only if nothing were left to train on, nothing is held back.
    """
    rows = {id: _row(answer) for id, answer in answers.by_id.items() if answer.label is not None}
    without = Counter[str](answer.origin for answer in answers.by_id.values() if answer.label is None)

    def draw(prompt_id: str) -> str:
        return "test" if _fraction(seed, "split", prompt_id) < test_fraction else "train"

    prompts = {row["prompt_id"] for row in rows.values()}
    split = known.assign(draw)
    train = {id: row for id, row in rows.items() if split[row["prompt_id"]] == "train"}
    test = {id: row for id, row in rows.items() if id not in train}
    if not train:
        train, test = test, {}
    trained = dict.fromkeys(row["prompt_id"] for row in train.values())
    leaking = known.near(prompts - trained.keys(), trained)
    left_out = [row for row in test.values() if row["prompt_id"] in leaking]
    test = {id: row for id, row in test.items() if row["prompt_id"] not in leaking}
    return Splits(_mix(train, seed), _mix(test, seed), without, left_out)


def _row(answer: VotedAnswer) -> Row:
    count = len(answer.votes)
    row = {name: answer.votes[0][name] for name in ("prompt", "completion", "generation_model", "prompt_id")}
    return row | {
        "label": answer.label,
        "n_votes": count,
        "agreement": (answer.up if answer.label else count - answer.up) / count,
        "confidence": answer.confidence,
        "label_from": answer.origin,
    }


def _mix(rows: Mapping[str, Row], seed: int) -> list[Row]:
    """Return rows (given by record id) in an order that looks random, the rows of each prompt spread over all of it.

    KTO's trainer reads in order and pairs each prompt with its neighbour's completion; the two should not be related.
    """
    by_prompt: defaultdict[str, list[str]] = defaultdict(list)
    for record_id in sorted(rows, key=lambda record_id: _fraction(seed, "row", record_id)):
        by_prompt[rows[record_id]["prompt_id"]].append(record_id)
    place = {
        record_id: ((index + _fraction(seed, "place", prompt_id)) / len(record_ids), record_id)
        for prompt_id, record_ids in by_prompt.items()
        for index, record_id in enumerate(record_ids)
    }
    return [rows[record_id] for record_id in sorted(rows, key=place.__getitem__)]


def _fraction(*parts: object) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48
