"""Whether a model got better: how often it prefers a good answer to a bad one, before and after the training."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Scores(NamedTuple):
    """The logarithms of the probabilities that a model gives to answers, and the numbers of their tokens."""

    log_probabilities: np.ndarray
    tokens: np.ndarray


class Result(NamedTuple):
    """The preference for good answers before and after a training, and the margin of the rewards."""

    before: float
    after: float
    margin: float


def preference(scores: Scores, labels: np.ndarray) -> float:
    """Return the share of all pairs of a good and a bad answer in which the good one is likelier per token.

    That is the area under the ROC curve; a pair in which both are equally likely counts half.
    """
    means = scores.log_probabilities / scores.tokens
    good, bad = means[labels], np.sort(means[~labels])
    lower, not_higher = (np.searchsorted(bad, good, side) for side in ("left", "right"))
    return float((lower + not_higher).mean() / (2 * len(bad)))


def margin(before: Scores, after: Scores, labels: np.ndarray, beta: float) -> float:
    """Return the mean reward of good answers less that of bad ones (KTO paper, section 4)."""
    rewards = beta * (after.log_probabilities - before.log_probabilities)
    return float(rewards[labels].mean() - rewards[~labels].mean())


def measure(trainer: Any, examples: Sequence[Mapping[str, Any]], beta: float) -> Result:
    """Compare the model that TRL's trainer has trained with the one that it began with, on rows of both labels."""
    model = trainer.model.eval()
    after = _scores(trainer, model, examples)
    with contextlib.nullcontext() if trainer.ref_model else model.disable_adapter():
        before = _scores(trainer, trainer.ref_model or model, examples)
    labels = np.array([bool(example["label"]) for example in examples])
    return Result(preference(before, labels), preference(after, labels), margin(before, after, labels, beta))


def _scores(trainer: Any, model: Any, examples: Sequence[Mapping[str, Any]]) -> Scores:
    import torch

    sums: list[float] = []
    tokens: list[int] = []
    size = trainer.args.per_device_train_batch_size
    for start in range(0, len(examples), size):
        batch = trainer.data_collator(examples[start : start + size])
        batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}
        mask = batch["completion_mask"]
        labels = batch["input_ids"].masked_fill(mask == 0, -100)
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        with torch.no_grad(), trainer.compute_loss_context_manager():
            sums += model(**inputs, labels=labels, fused_lm_head=True).log_probs.float().sum(-1).tolist()
        tokens += mask.sum(-1).tolist()
    return Scores(np.array(sums), np.array(tokens))
