"""From votes to rows for KTO: one decision per answer, mixed, and split by prompt."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from kto.tables import MESSAGES, Row

SCHEMA = pa.schema(
    [
        ("prompt", MESSAGES),  # what the model was sent, the system prompt included
        ("completion", MESSAGES),
        ("label", pa.bool_()),
        ("generation_model", pa.string()),
        ("n_votes", pa.int32()),
        ("agreement", pa.float32()),  # share of the votes that say the same as the label
        ("prompt_id", pa.string()),
    ]
)


@dataclasses.dataclass(frozen=True)
class Splits:
    """The rows of each split, and how many answers had no majority. `test` may be empty."""

    train: list[Row]
    test: list[Row]
    ties: int


def _fraction(*parts: object) -> float:
    """Return a number in [0, 1) that looks random and is always the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6]) / 2**48


def decide(votes: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Row], int]:
    """Return one row per answer with a majority, by record id, and the number of answers without (ties)."""
    ballots: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for vote in votes:
        ballots[vote["record_id"]].append(vote)
    rows: dict[str, Row] = {}
    for record_id, ballot in ballots.items():
        up = sum(vote["vote"] for vote in ballot)
        down = len(ballot) - up
        if up == down:
            continue
        row = {name: ballot[0][name] for name in ("prompt", "completion", "generation_model", "prompt_id")}
        rows[record_id] = row | {"label": up > down, "n_votes": up + down, "agreement": max(up, down) / (up + down)}
    return rows, len(ballots) - len(rows)


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


def make_splits(votes: Iterable[Mapping[str, Any]], test_fraction: float, seed: int) -> Splits:
    """Return the rows for these votes, split so that all rows of a prompt are in one split.

    About `test_fraction` of the prompts go to the test split. Which ones depends on the prompt and the seed alone, so
    a prompt keeps its place when there are more votes later. Only if nothing were left to train on, nothing is held
    back.
    """
    rows, ties = decide(votes)
    held_back = {id: row for id, row in rows.items() if _fraction(seed, "split", row["prompt_id"]) < test_fraction}
    if len(held_back) == len(rows):
        held_back = {}
    rest = {id: row for id, row in rows.items() if id not in held_back}
    return Splits(train=mix(rest, seed), test=mix(held_back, seed), ties=ties)
