"""Whether a model got better: how often it prefers a good answer to a bad one, before and after the training."""

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Score(NamedTuple):
    """The logarithm of the probability that a model gives to an answer, and the number of its tokens."""

    log_probability: float
    tokens: int


class Result(NamedTuple):
    """The preference for good answers before and after a training, and the margin of the rewards."""

    before: float
    after: float
    margin: float


def preference(scores: Sequence[Score], labels: Sequence[bool]) -> float:
    """Return the share of all pairs of a good and a bad answer in which the good one is likelier per token.

    That is the area under the ROC curve; a pair in which both are equally likely counts half.
    """
    good, bad = _by_label([score.log_probability / score.tokens for score in scores], labels)
    bad.sort()
    return sum(bisect_left(bad, mean) + bisect_right(bad, mean) for mean in good) / (2 * len(good) * len(bad))


def margin(before: Sequence[Score], after: Sequence[Score], labels: Sequence[bool], beta: float) -> float:
    """Return the mean reward of good answers less that of bad ones (KTO paper, section 4)."""
    rewards = [beta * (new.log_probability - old.log_probability) for old, new in zip(before, after, strict=True)]
    good, bad = _by_label(rewards, labels)
    return sum(good) / len(good) - sum(bad) / len(bad)


def _by_label(values: Sequence[float], labels: Sequence[bool]) -> tuple[list[float], list[float]]:
    pairs = list(zip(values, labels, strict=True))
    return [value for value, label in pairs if label], [value for value, label in pairs if not label]


def measure(trainer: Any, examples: Sequence[Mapping[str, Any]], beta: float) -> Result:
    """Compare the model that TRL's trainer has trained with the one that it began with, on rows of both labels."""
    model = trainer.model.eval()
    after = _scores(trainer, model, examples)
    with contextlib.nullcontext() if trainer.ref_model else model.disable_adapter():
        before = _scores(trainer, trainer.ref_model or model, examples)
    labels = [bool(example["label"]) for example in examples]
    return Result(preference(before, labels), preference(after, labels), margin(before, after, labels, beta))


def _scores(trainer: Any, model: Any, examples: Sequence[Mapping[str, Any]]) -> list[Score]:
    import torch

    scores: list[Score] = []
    size = trainer.args.per_device_train_batch_size
    for start in range(0, len(examples), size):
        batch = trainer.data_collator(examples[start : start + size])
        batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}
        mask = batch["completion_mask"]
        labels = batch["input_ids"].masked_fill(mask == 0, -100)
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        with torch.no_grad(), trainer.compute_loss_context_manager():
            sums = model(**inputs, labels=labels, fused_lm_head=True).log_probs.float().sum(-1)
        scores += map(Score, sums.tolist(), mask.sum(-1).tolist())
    return scores
