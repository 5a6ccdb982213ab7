"""Whether a model got better: does it find good answers likelier than bad ones, and by how much more than before?"""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Score:
    """What a model makes of one answer: the logarithm of its probability, and of how many tokens that is the sum."""

    log_probability: float
    tokens: int


def preference(scores: Sequence[Score], labels: Sequence[bool]) -> float:
    """Return the share of all pairs of a good and a bad answer in which the good one is likelier per token.

    That is the area under the ROC curve; where both are equally likely, the pair counts half.
    """
    means = [score.log_probability / score.tokens for score in scores]
    order = sorted(range(len(means)), key=means.__getitem__)
    good = sum(labels)
    better, bad_below, index = 0.0, 0, 0
    while index < len(order):
        tied = [labels[order[index]]]
        while index + len(tied) < len(order) and means[order[index + len(tied)]] == means[order[index]]:
            tied.append(labels[order[index + len(tied)]])
        bad = len(tied) - sum(tied)
        better += sum(tied) * (bad_below + bad / 2)
        bad_below += bad
        index += len(tied)
    return better / (good * (len(labels) - good))


def margin(before: Sequence[Score], after: Sequence[Score], labels: Sequence[bool], beta: float) -> float:
    """Return the mean reward of good answers less that of bad ones (KTO paper, section 4)."""
    rewards = [beta * (new.log_probability - old.log_probability) for old, new in zip(before, after, strict=True)]
    good = [reward for reward, label in zip(rewards, labels, strict=True) if label]
    bad = [reward for reward, label in zip(rewards, labels, strict=True) if not label]
    return sum(good) / len(good) - sum(bad) / len(bad)


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a training: the preference for good answers before and after it, and the margin of the rewards."""

    before: float
    after: float
    margin: float


def _scores(trainer: Any, model: Any, examples: Sequence[Mapping[str, Any]]) -> list[Score]:
    import torch

    found: list[Score] = []
    size = trainer.args.per_device_train_batch_size
    for start in range(0, len(examples), size):
        batch = trainer.data_collator(examples[start : start + size])
        batch = {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}
        mask = batch["completion_mask"]
        labels = batch["input_ids"].masked_fill(mask == 0, -100)
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        with torch.no_grad(), trainer.compute_loss_context_manager():
            sums = model(**inputs, labels=labels, fused_lm_head=True).log_probs.float().sum(-1)
        found += map(Score, sums.tolist(), mask.sum(-1).tolist())
    return found


def measure(trainer: Any, examples: Sequence[Mapping[str, Any]], beta: float) -> Result:
    """Compare the model that TRL's trainer has trained with the one that it began with, on rows of both labels."""
    model = trainer.model.eval()
    after = _scores(trainer, model, examples)
    with contextlib.nullcontext() if trainer.ref_model else model.disable_adapter():
        before = _scores(trainer, trainer.ref_model or model, examples)
    labels = [bool(example["label"]) for example in examples]
    return Result(preference(before, labels), preference(after, labels), margin(before, after, labels, beta))
