"""Train a model with the votes, by KTO: data/kto → data/model.

    uv run train.py [--model ID_OR_PATH] [--max-steps N] [--resume]

Read it from top to bottom; change what you like. The environment that it runs in is described at its end. KTO is
K. Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024; the trainer is TRL's.
"""

import argparse
import copy
import hashlib
import json
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kto.command_line import Parser, positive, run
from kto.errors import UserError
from kto.keys import secret
from kto.settings import load
from kto.tables import read_rows
from kto.texts import ROOT, number, t
from kto.train import inputs
from kto.train.chat_tokens import ChatTokens, trainer_rows

LIMITS = (1, 4 / 3)
"""Range for weight × rows of thumbs up, divided by weight × rows of thumbs down (KTO paper, equation 8)."""
LEARNING_RATES = {"full": 5e-5, "LoRA": 5e-4}
"""Defaults for settings.toml, measured: see benchmarks/README.md of the template."""
LORA: Mapping[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}
NOTHING = 0.05
"""Below this margin of the rewards nothing was learned: a reward of 0.05 is a chance of 51 %."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("train.help"))
    parser.add_argument("--model", metavar="ID_OR_PATH", help=t("train.help_model"))
    parser.add_argument("--max-steps", metavar="N", help=t("train.help_max_steps"))
    parser.add_argument("--resume", action="store_true", help=t("train.help_resume"))
    default = ROOT / "data"
    parser.add_argument("--data", type=Path, default=default / "kto", metavar="DIR", help=t("train.help_data"))
    parser.add_argument("--output", type=Path, default=default / "model", metavar="DIR", help=t("train.help_output"))
    options = parser.parse_args(argv)
    options.max_steps = positive(options.max_steps, "bad_max_steps")
    return options


def balance(desirable: int, undesirable: int) -> tuple[float, float]:
    """Return the weights of thumbs up and thumbs down for these numbers of rows, at least 1 of each.

    The weight of the kind with too few rows is raised, to the middle of `LIMITS`; the other is 1.
    """
    low, high = LIMITS
    ratio, middle = desirable / undesirable, math.sqrt(low * high)
    if ratio < low:
        return middle / ratio, 1.0
    if ratio > high:
        return 1.0, ratio / middle
    return 1.0, 1.0


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    settings = config.training
    model = options.model or settings.model
    rows = inputs.read_examples(options.data, settings.batch_size)
    token = secret(config, "HF_TOKEN") or None

    # torch and TRL read these when they are imported.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if "LOCAL_RANK" not in os.environ:  # started by hand, not by torchrun or accelerate: use one GPU
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    warnings.filterwarnings("ignore", category=FutureWarning)  # the versions are pinned

    # Rows become tokens, and the rarer label weighs more.
    source = inputs.fetch(model, token)
    tokenizer = inputs.load_tokenizer(source, model)
    to_tokens = ChatTokens(tokenizer, model, rows)
    if to_tokens.merges_system:
        print(t("technical.system_merged", model=model))
    if to_tokens.closes_thought:
        print(t("technical.thought_closed", model=model))
    fits = inputs.fitting([to_tokens(row) for row in rows], settings.max_length, settings.batch_size)
    train = trainer_rows(fits, settings.batch_size)
    desirable = sum(example["label"] for example in train)
    undesirable = len(train) - desirable
    if not desirable or not undesirable:
        raise UserError("one_class")
    up, down = balance(desirable, undesirable)
    print(t("train.rows", count=len(train), desirable=desirable, undesirable=undesirable))
    print(t("train.weights", desirable=number(up, 2), undesirable=number(down, 2)), flush=True)

    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers.utils import logging
    from trl import KTOConfig, KTOTrainer  # type: ignore[attr-defined]

    from kto.train import checkpoints, preference

    disable_progress_bars()
    logging.disable_progress_bar()

    # With memory for it all weights are trained, otherwise LoRA: a small addition to them (Hu et al., 2021).
    load_weights, size = inputs.find_weights(source, model)
    device = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    on_gpu = device.type == "cuda"
    print(t("train.device", device=torch.cuda.get_device_name(device) if on_gpu else device.type.upper()))
    if device.type == "cpu" and inputs.has_gpu():
        print(t("technical.gpu_unused", torch=torch.__version__))
    folder = options.output / "checkpoints"
    lora = settings.lora
    if lora == "auto":
        free = inputs.free_memory(device)
        lora = checkpoints.begun(folder).get("lora", size * inputs.FULL_BYTES > free)
        if lora:
            print(t("technical.lora", free=number(free / 1e9, 1)))
    default_rate = LEARNING_RATES["LoRA" if lora else "full"]
    learning_rate = settings.learning_rate or default_rate
    if learning_rate < default_rate / 10:
        print(t("technical.low_rate", rate=learning_rate, default=default_rate))
    about = settings.model_dump() | {"model": model, "learning_rate": learning_rate, "lora": lora}
    about["rows"] = hashlib.sha256(json.dumps(train).encode()).hexdigest()
    checkpoint = checkpoints.begin(folder, about, options.resume)
    checkpoints.check_disk(options.output, size, bool(lora))

    bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    arguments = KTOConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=options.max_steps or -1,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=learning_rate,
        beta=settings.beta,
        max_length=settings.max_length,
        desirable_weight=up,
        undesirable_weight=down,
        # What is trained stays in 32 bits either way: small steps would vanish in the 8 of bfloat16.
        bf16=bf16,
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=5,
        save_strategy="no",  # `Checkpoints` decides
        save_total_limit=1,
        report_to=[],
    )

    class Trainer(KTOTrainer):
        """TRL's trainer, given tokens: it would cut the end of a prompt where an answer changes it."""

        def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
            return dataset

    with checkpoints.training_errors(folder):
        with inputs.loading(model):
            start = load_weights(dtype=torch.bfloat16 if lora and bf16 else torch.float32)
        trainer = Trainer(
            start,
            ref_model=None if lora else copy.deepcopy(start),
            args=arguments,
            train_dataset=Dataset.from_list(train),
            processing_class=tokenizer,
            peft_config=LoraConfig(**LORA) if lora else None,
        )
        stopper = checkpoints.Checkpoints(trainer.accelerator)
        trainer.add_callback(stopper)
        if checkpoint:
            logging.set_verbosity_error()  # it would miss weights that are tied to others
        with stopper.listening():  # to the end: what is learned is not to be lost while it is measured
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
            if stopper.stopped:
                print(t("train.stopped", step=trainer.state.global_step, total=trainer.state.max_steps))
                return 130
            if not lora:
                trainer.save_model(str(options.output))  # the tokenizer, too

            # Is it better than before, on rows that it was not trained on?
            path = options.data / "test.parquet"
            test = [to_tokens(row) for row in read_rows(path, ("prompt", "completion", "label"))]
            measured = trainer_rows([row for row in test if row.length <= settings.max_length], settings.batch_size)
            if len({example["label"] for example in measured}) < 2:
                path = options.data / "train.parquet"
                both = ([example for example in train if example["label"] is label] for label in (True, False))
                measured = [example for one in both for example in one[:100]]
            result = preference.measure(trainer, measured, settings.beta)

            if lora and trainer.is_world_process_zero():
                # The addition becomes part of the weights, in 32 bits: in 16 much of it would be rounded away.
                merged = trainer.accelerator.unwrap_model(trainer.model).to("cpu").float().merge_and_unload()
                merged.save_pretrained(options.output)
                tokenizer.save_pretrained(options.output)
            if trainer.is_world_process_zero():
                checkpoints.remove(folder)
    shares = {"before": number(100 * result.before), "after": number(100 * result.after)}
    print(t("train.result", path=path, count=len(measured), margin=number(result.margin, 2), **shares))
    if result.margin < NOTHING:
        print(t("train.nothing", rate=learning_rate, epochs=settings.epochs))
    print(t("train.saved", path=options.output))
    return 0


if __name__ == "__main__":
    run(main)

# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = [
#     "torch==2.13.0",
#     "transformers==5.23.0",
#     "trl==1.16.0",
#     "datasets==5.2.0",
#     "accelerate==1.15.0",
#     "peft==0.21.2",
#     "sentencepiece==0.2.3",
#     "psutil==7.2.2",
#     "pydantic==2.14.3",
#     "python-dotenv==1.2.4",
#     "pyyaml==6.0.3",
# ]
#
# [tool.uv]
# exclude-newer = "2026-11-19T00:00:00Z"
# ///
