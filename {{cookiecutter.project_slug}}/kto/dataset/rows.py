"""From votes to rows for KTO: one decision per answer, mixed, and split by prompt."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kto.dataset.splits import KnownPrompts
from kto.tables import Row, messages_type

if TYPE_CHECKING:
    import pyarrow as pa


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
            ("agreement", pa.float32()),  # share of the votes that say the same as the label
            ("prompt_id", pa.string()),
        ]
    )


@dataclasses.dataclass(frozen=True)
class Splits:
    """The rows of each split, and what became of other answers. `test` may be empty.

    Attributes
    ----------
    ties
        How many answers had no majority.
    few
        How many had fewer votes than are wanted.
    left_out
        Rows of test prompts that say nearly the same as one in train: they are in no split.
    """

    train: list[Row]
    test: list[Row]
    ties: int
    few: int = 0
    left_out: list[Row] = dataclasses.field(default_factory=list)

    @property
    def by_prompt(self) -> dict[str, str]:
        """The split that each prompt belongs to."""
        parts = {"train": self.train, "test": [*self.test, *self.left_out]}
        return {row["prompt_id"]: name for name, part in parts.items() for row in part}


def _fraction(*parts: object) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def decide(votes: Iterable[Mapping[str, Any]], min_votes: int = 1) -> tuple[dict[str, Row], int, int]:
    """Return one row per answer with a majority, by record id.

    Returns
    -------
    The rows, and how many answers have none: without a majority (ties), and with fewer than `min_votes` votes.
    """
    ballots: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        ballots[vote["record_id"]].append(vote)
    enough = {record_id: ballot for record_id, ballot in ballots.items() if len(ballot) >= min_votes}
    rows: dict[str, Row] = {}
    for record_id, ballot in enough.items():
        up = sum(vote["vote"] for vote in ballot)
        down = len(ballot) - up
        if up == down:
            continue
        row = {name: ballot[0][name] for name in ("prompt", "completion", "generation_model", "prompt_id")}
        rows[record_id] = row | {"label": up > down, "n_votes": up + down, "agreement": max(up, down) / (up + down)}
    return rows, len(enough) - len(rows), len(ballots) - len(enough)


def mix(rows: Mapping[str, Row], seed: int) -> list[Row]:
    """Return rows (given by record id) in an order that looks random, the rows of each prompt spread over all of it.

    KTO's trainer reads in order and pairs each prompt with its neighbour's completion, so neighbours should be about
    different things.
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


def make_splits(
    votes: Iterable[Mapping[str, Any]],
    test_fraction: float,
    seed: int,
    min_votes: int = 1,
    known: KnownPrompts | None = None,
) -> Splits:
    """Return the rows for these votes, split so that all rows of a prompt are in one split.

    About `test_fraction` of the prompts go to the test split. Which ones depends on the prompt and the seed alone, so
    a prompt keeps its place when there are more votes later; what is `known` of them comes first. Only if nothing were
    left to train on, nothing is held back.

    Parameters
    ----------
    min_votes
        How many votes an answer needs to become a row.
    known
        Of all prompts that have votes, and others.
    """
    rows, ties, few = decide(votes, min_votes)

    def draw(prompt_id: str) -> str:
        return "test" if _fraction(seed, "split", prompt_id) < test_fraction else "train"

    prompts = {row["prompt_id"] for row in rows.values()}
    split = known.assign(draw) if known else {prompt_id: draw(prompt_id) for prompt_id in prompts}
    train = {id: row for id, row in rows.items() if split[row["prompt_id"]] == "train"}
    test = {id: row for id, row in rows.items() if id not in train}
    if not train:
        train, test = test, {}
    trained = dict.fromkeys(row["prompt_id"] for row in train.values())
    leaking = known.near(prompts - trained.keys(), trained) if known else set()
    left_out = [row for row in test.values() if row["prompt_id"] in leaking]
    test = {id: row for id, row in test.items() if row["prompt_id"] not in leaking}
    return Splits(mix(train, seed), mix(test, seed), ties, few, left_out)
