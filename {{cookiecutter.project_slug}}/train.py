"""Step 4: train a model with the votes, by KTO. data/kto → data/model

    uv run train.py [--model ID_OR_PATH] [--max-steps N] [--resume]

Read it from top to bottom; change what you like. The environment that it runs in is described at its end. KTO is
K. Ethayarajh et al., "KTO: Model Alignment as Prospect Theoretic Optimization", 2024; the trainer is TRL's.
"""

import argparse
import contextlib
import copy
import functools
import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kto.command_line import Parser, run
from kto.errors import UserError
from kto.secrets import secret
from kto.settings import load
from kto.tables import Row, read_rows
from kto.texts import ROOT, number, t
from kto.train import device
from kto.train.chat_tokens import ChatTokens, Tokens, examples

LIMITS = (1, 4 / 3)
"""Where weight × rows of thumbs up, divided by weight × rows of thumbs down, should lie (KTO paper, equation 8)."""
LEARNING_RATES = {"full": 5e-5, "LoRA": 5e-4}
"""Where settings.toml has none. Measured: see benchmarks/README.md of the template."""
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


@contextlib.contextmanager
def loading(model: str) -> Iterator[None]:
    """Turn what goes wrong with a model on the Hub or in a folder into a `UserError`."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise UserError("no_such_model", model=model, reason=str(error).strip().split("\n")[0]) from None


def fetch(model: str, token: str | None) -> str:
    """Return the folder of a model; one on the Hub is downloaded.

    So the token is used here and nowhere else: not all that transformers and peft ask the Hub goes with the token that
    they are given, and what the trainer is given is written beside the model.
    """
    from huggingface_hub import snapshot_download

    if Path(model).is_dir():
        return model
    small = ["*.json", "*.jinja", "*.model", "*.txt"]
    other = ["*/*.safetensors", "*/*.bin", "consolidated*"]  # the same weights in other forms
    with loading(model):
        folder = snapshot_download(model, token=token, allow_patterns=[*small, "*.safetensors"], ignore_patterns=other)
        if not list(Path(folder).glob("*.safetensors")):
            folder = snapshot_download(model, token=token, allow_patterns=[*small, "*.bin"], ignore_patterns=other)
    return folder


def load_tokenizer(folder: str, model: str = "") -> Any:
    """Return the tokenizer of the model in a folder; raise `UserError` if it cannot chat."""
    from transformers import AutoTokenizer

    model = model or folder
    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        raise UserError("no_chat_template", model=model)
    return tokenizer


def find_weights(folder: str, model: str) -> tuple[Callable[..., Any], int]:
    """Return what loads the weights of the model in a folder, and how many there are."""
    import torch
    import transformers

    with loading(model):
        config = transformers.AutoConfig.from_pretrained(folder)
        kind = getattr(transformers, (config.architectures or [""])[0], transformers.AutoModelForCausalLM)
        with torch.device("meta"):  # takes no memory
            empty: Any = getattr(kind, "from_config", kind)(config)
    return functools.partial(kind.from_pretrained, folder), empty.num_parameters()


def whole(tokens: Sequence[Tokens], max_length: int) -> list[int]:
    """Return which rows fit into `max_length`, and say how many do not: an answer without its end teaches to go on."""
    long_prompts = sum(len(row.prompt) >= max_length for row in tokens)
    if long_prompts:
        print(t("train.too_long", max_length=max_length, count=long_prompts))
    fits = [index for index, row in enumerate(tokens) if len(row) <= max_length]
    if cut := len(tokens) - long_prompts - len(fits):
        longest = max(len(row) for row in tokens if len(row.prompt) < max_length)
        print(t("train.left_out", max_length=max_length, count=cut, longest=longest))
    return fits


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    config = load()
    settings = config.training
    model = options.model or settings.model
    rows = read_examples(options.data, settings.batch_size)
    token = secret(config, "HF_TOKEN") or None

    # Before torch and TRL are imported: they read these then.
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    if "LOCAL_RANK" not in os.environ:  # started by hand, not by torchrun or accelerate: use one GPU
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")
    warnings.filterwarnings("ignore", category=FutureWarning)  # the versions are pinned

    # The weights must be for the rows that are left.
    source = fetch(model, token)
    tokenizer = load_tokenizer(source, model)
    to_tokens = ChatTokens(tokenizer, model, rows)
    if to_tokens.merges_system:
        print(t("technical.system_merged", model=model))
    if to_tokens.closes_thought:
        print(t("technical.thought_closed", model=model))
    tokens = [to_tokens(row) for row in rows]
    fits = whole(tokens, settings.max_length)
    if len(fits) < settings.batch_size:
        raise UserError("too_few_rows", count=len(fits), batch_size=settings.batch_size)
    if len(fits) % settings.batch_size == 1:  # in a batch of one, a prompt has no neighbour to be paired with
        fits.pop()
    train = examples([tokens[i] for i in fits], [rows[i]["label"] for i in fits], settings.batch_size)
    desirable = sum(example["label"] for example in train)
    undesirable = len(train) - desirable
    if not desirable or not undesirable:
        raise UserError("one_class")
    desirable_weight, undesirable_weight = balance(desirable, undesirable)
    print(t("train.rows", count=len(train), desirable=desirable, undesirable=undesirable))
    weights = {"desirable": number(desirable_weight, 2), "undesirable": number(undesirable_weight, 2)}
    print(t("train.weights", **weights), flush=True)

    import torch
    from datasets import Dataset, disable_progress_bars
    from peft import LoraConfig
    from transformers.utils import logging
    from trl import KTOConfig, KTOTrainer  # type: ignore[attr-defined]

    from kto.train import checkpoints, preference

    disable_progress_bars()
    logging.disable_progress_bar()

    # With memory for it all weights are trained, otherwise LoRA: a small addition to them (Hu et al., 2021).
    load_weights, size = find_weights(source, model)
    place = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    print(t("train.device", device=device.name(place)))
    if place.type == "cpu" and device.has_gpu():
        print(t("technical.gpu_unused", torch=torch.__version__))
    folder = options.output / "checkpoints"
    begun = checkpoints.begun(folder)
    lora = settings.lora
    if lora == "auto":
        lora = begun.get("lora", size * device.FULL_BYTES > device.free_memory(place))
        if lora:
            print(t("technical.lora", free=number(device.free_memory(place) / 1e9, 1)))
    default_rate = LEARNING_RATES["LoRA" if lora else "full"]
    learning_rate = settings.learning_rate or default_rate
    if learning_rate < default_rate / 10:
        print(t("technical.low_rate", rate=learning_rate, default=default_rate))
    about = settings.model_dump() | {"model": model, "learning_rate": learning_rate, "lora": lora}
    about["rows"] = hashlib.sha256(json.dumps(train).encode()).hexdigest()
    checkpoint = checkpoints.begin(folder, about, options.resume)
    checkpoints.check_disk(options.output, size, bool(lora))

    on_gpu = place.type == "cuda"
    bf16 = on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    arguments = KTOConfig(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        max_steps=int(options.max_steps or -1),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=learning_rate,
        beta=settings.beta,
        max_length=settings.max_length,
        desirable_weight=desirable_weight,
        undesirable_weight=undesirable_weight,
        # What is trained stays in 32 bits either way: small steps would vanish in the 8 of bfloat16.
        bf16=bf16,
        gradient_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        logging_steps=5,
        save_strategy="no",  # `Checkpoints` says when
        save_total_limit=1,
        report_to=[],
    )

    class Trainer(KTOTrainer):
        """TRL's trainer, given tokens: it would leave the end of a prompt out where an answer changes it."""

        def _prepare_dataset(self, dataset: Dataset, *_: object) -> Dataset:
            return dataset

    with checkpoints.training_errors(folder):
        with loading(model):
            start = load_weights(dtype=torch.bfloat16 if lora and bf16 else torch.float32)
        trainer = Trainer(
            start,
            ref_model=None if lora else copy.deepcopy(start),
            args=arguments,
            train_dataset=Dataset.from_list(train),
            processing_class=tokenizer,
            peft_config=LoraConfig(**LORA) if lora else None,
        )
        stopper = checkpoints.Checkpoints(trainer.accelerator, say=lambda: print(t("train.stopping"), flush=True))
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
            held_out = read_rows(path, ("prompt", "completion", "label"))
            pairs = [(row, held["label"]) for held in held_out if len(row := to_tokens(held)) <= settings.max_length]
            measured = examples([row for row, _ in pairs], [label for _, label in pairs], settings.batch_size)
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
#     "peft==0.21.2",
#     "psutil==7.2.2",
#     "pyarrow==26.0.1",
#     "pydantic==2.14.3",
#     "pydantic-core==2.50.4",
#     "pygments==2.21.0",
#     "python-dateutil==4.0.0",
#     "python-dotenv==1.2.4",
#     "pyyaml==6.0.3",
#     "regex==2026.11.15",
#     "rich==15.0.0",
#     "safetensors==0.8.0",
#     "sentencepiece==0.2.3",
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
