"""Step 4: train a model with the votes, by KTO. data/kto → data/model

    uv run train.py [--model ID_OR_PATH] [--max-steps N]

Read it from top to bottom; change what you like. The environment that it runs in is described at its end. KTO is
K. Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024; the trainer is TRL's.
"""

import argparse
import math
import os
import warnings
from pathlib import Path
from typing import Any

from kto.command_line import Parser
from kto.config import load
from kto.errors import UserError, run
from kto.tables import Row, read_rows
from kto.texts import ROOT, number, t

LIMITS = (1, 4 / 3)
"""Where weight × rows of thumbs up, divided by weight × rows of thumbs down, should lie (KTO paper, equation 8)."""


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = Parser(t("train.help"))
    parser.add_argument("--model", metavar="ID_OR_PATH", help=t("train.help_model"))
    parser.add_argument("--max-steps", metavar="N", help=t("train.help_max_steps"))
    default = ROOT / "data"
    parser.add_argument("--data", type=Path, default=default / "kto", metavar="DIR", help=t("train.help_data"))
    parser.add_argument("--output", type=Path, default=default / "model", metavar="DIR", help=t("train.help_output"))
    options = parser.parse_args(argv)
    steps = options.max_steps
    if steps is not None and not (steps.isascii() and steps.isdigit() and int(steps)):
        raise UserError("bad_max_steps", steps=steps)
    return options


def balance(desirable: int, undesirable: int) -> tuple[float, float]:
    """Return the weights of thumbs up and thumbs down for so many rows of each; both must be at least 1.

    If there are too few rows of one kind, the weight of that kind is raised, to the middle of `LIMITS`; the other is 1.
    """
    low, high = LIMITS
    ratio, middle = desirable / undesirable, math.sqrt(low * high)
    if ratio < low:
        return middle / ratio, 1.0
    if ratio > high:
        return 1.0, ratio / middle
    return 1.0, 1.0


def read_examples(folder: Path, batch_size: int) -> list[Row]:
    """Return the rows of the train split, in the order in which they are; raise `UserError` if they do not do."""
    path = folder / "train.parquet"
    rows = read_rows(path, ("prompt", "completion", "label"))
    if not rows:
        raise UserError("no_rows", path=path)
    if len(rows) < batch_size:
        raise UserError("too_few_rows", count=len(rows), batch_size=batch_size)
    if len({row["label"] for row in rows}) < 2:
        raise UserError("one_class")
    return rows


def load_tokenizer(model: str) -> Any:
    """Return the tokenizer of a model on the Hub or in a folder; raise `UserError` if it cannot chat."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError, KeyError) as error:
        raise UserError("no_such_model", model=model, reason=str(error).strip().split("\n")[0]) from None
    if tokenizer.chat_template is None:
        raise UserError("no_chat_template", model=model)
    return tokenizer


def prompt_length(tokenizer: Any, row: Row, model: str) -> int:
    """Return the number of tokens of a row's prompt, up to where the answer begins."""
    from jinja2 import TemplateError

    try:
        ids = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True)["input_ids"]
    except TemplateError as error:  # some models take no system prompt
        raise UserError("chat_template", model=model, reason=error) from None
    return len(ids)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    settings = config.training
    model = options.model or settings.model
    rows = read_examples(options.data, settings.batch_size)

    # Before torch and TRL are imported: they read these then.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if "LOCAL_RANK" not in os.environ:  # started by hand, not by torchrun or accelerate: use one GPU
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    warnings.filterwarnings("ignore", category=FutureWarning)  # the versions are pinned

    # TRL drops rows whose prompt alone fills max_length, without a word; the weights must be for what is left.
    tokenizer = load_tokenizer(model)
    short = [row for row in rows if prompt_length(tokenizer, row, model) < settings.max_length]
    if len(short) < len(rows):
        print(t("train.too_long", max_length=settings.max_length, count=len(rows) - len(short)))
    if len(short) < settings.batch_size:
        raise UserError("too_few_rows", count=len(short), batch_size=settings.batch_size)
    if len(short) % settings.batch_size == 1:  # in a batch of one, a prompt has no neighbour to be paired with
        short.pop()
    desirable = sum(row["label"] for row in short)
    undesirable = len(short) - desirable
    if not desirable or not undesirable:
        raise UserError("one_class")
    desirable_weight, undesirable_weight = balance(desirable, undesirable)
    print(t("train.rows", count=len(short), desirable=desirable, undesirable=undesirable))
    weights = {"desirable": number(desirable_weight, 2), "undesirable": number(undesirable_weight, 2)}
    print(t("train.weights", **weights), flush=True)

    import torch
    from datasets import Dataset, disable_progress_bars
    from transformers.utils import logging
    from trl import KTOConfig, KTOTrainer  # type: ignore[attr-defined]

    disable_progress_bars()
    logging.disable_progress_bar()
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError("cannot_write", path=options.output, reason=error) from None

    on_gpu = torch.cuda.is_available()
    arguments = KTOConfig(
        output_dir=str(options.output),
        num_train_epochs=settings.epochs,
        max_steps=int(options.max_steps or -1),
        per_device_train_batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        beta=settings.beta,
        max_length=settings.max_length,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        # The weights stay in 32 bits either way: steps of this learning rate would vanish in the 8 of bfloat16.
        bf16=on_gpu and torch.cuda.is_bf16_supported(including_emulation=False),
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=5,
        save_strategy="no",
        report_to=[],
    )
    try:
        trainer = KTOTrainer(model, args=arguments, train_dataset=Dataset.from_list(short), processing_class=tokenizer)
    except OSError as error:
        raise UserError("no_such_model", model=model, reason=str(error).strip().split("\n")[0]) from None
    trainer.train()
    trainer.save_model()  # the tokenizer, too
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
#     "pyyaml==6.0.3",
# ]
#
# [tool.uv]
# constraint-dependencies = [
#     "accelerate==1.15.0",
#     "annotated-doc==0.0.7",
#     "annotated-types==0.8.0",
#     "anyio==4.16.0 ; sys_platform != 'emscripten'",
#     "click==8.5.1",
#     "colorama==0.4.6 ; sys_platform == 'win32'",
#     "cuda-bindings==13.5.0 ; python_full_version < '3.15' and sys_platform == 'linux'",
#     "cuda-pathfinder==1.9.0 ; python_full_version < '3.15' and sys_platform == 'linux'",
#     "cuda-toolkit==13.0.3.0 ; sys_platform == 'linux'",
#     "datasets==5.2.0",
#     "dill==0.4.1",
#     "filelock==4.2.11",
#     "fsspec==2026.9.0",
#     "h11==0.16.0 ; sys_platform != 'emscripten'",
#     "hf-xet==1.8.0 ; platform_machine == 'AMD64' or platform_machine == 'ARM64' or platform_machine == 'aarch64' or platform_machine == 'amd64' or platform_machine == 'arm64' or platform_machine == 'x86_64'",
#     "httpcore2==2.16.2 ; sys_platform != 'emscripten'",
#     "httpx2==2.16.2",
#     "httpx2-jsfetch==1.0 ; python_full_version >= '3.12' and sys_platform == 'emscripten'",
#     "huggingface-hub==2.4.0",
#     "idna==3.20",
#     "jinja2==3.1.6",
#     "markdown-it-py==4.3.0",
#     "markupsafe==3.0.4",
#     "mdurl==0.1.2",
#     "mpmath==1.3.0",
#     "multiprocess==0.70.19",
#     "networkx==3.6.1 ; python_full_version < '3.12'",
#     "networkx==3.7 ; python_full_version >= '3.12'",
#     "numpy==2.4.6 ; python_full_version < '3.12'",
#     "numpy==2.5.5 ; python_full_version >= '3.12'",
#     "nvidia-cublas==13.1.1.3 ; sys_platform == 'linux'",
#     "nvidia-cuda-cupti==13.0.85 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cuda-nvrtc==13.0.88 ; sys_platform == 'linux'",
#     "nvidia-cuda-runtime==13.0.96 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cudnn-cu13==9.20.0.48 ; sys_platform == 'linux'",
#     "nvidia-cufft==12.0.0.61 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cufile==1.15.1.6 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-curand==10.4.0.35 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cusolver==12.0.4.66 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cusparse==12.6.3.3 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-cusparselt-cu13==0.8.1 ; sys_platform == 'linux'",
#     "nvidia-nccl-cu13==2.29.7 ; sys_platform == 'linux'",
#     "nvidia-nvjitlink==13.5.37 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "nvidia-nvshmem-cu13==3.4.5 ; sys_platform == 'linux'",
#     "nvidia-nvtx==13.0.85 ; (platform_machine == 'aarch64' and sys_platform == 'linux') or (platform_machine == 'x86_64' and sys_platform == 'linux')",
#     "packaging==26.3",
#     "pandas==3.1.1",
#     "psutil==7.2.2",
#     "pyarrow==26.0.1",
#     "pydantic==2.14.3",
#     "pydantic-core==2.50.4",
#     "pygments==2.21.0",
#     "python-dateutil==4.0.0",
#     "pyyaml==6.0.3",
#     "regex==2026.11.15",
#     "rich==15.0.0",
#     "safetensors==0.8.0",
#     "setuptools==84.2.1",
#     "shellingham==1.5.4",
#     "sympy==1.14.0",
#     "tokenizers==0.23.3",
#     "torch==2.13.0",
#     "tqdm==4.70.1",
#     "transformers==5.23.0",
#     "triton==3.7.1 ; python_full_version < '3.15' and sys_platform == 'linux'",
#     "trl==1.16.0",
#     "truststore==0.10.5 ; sys_platform != 'emscripten'",
#     "typer==0.29.2",
#     "typing-extensions==4.16.0",
#     "typing-inspection==0.4.5",
#     "tzdata==2026.6",
#     "xxhash==4.1.0",
# ]
# ///
