"""What a training needs: the rows, the model, and a machine with enough memory for it."""

import contextlib
import functools
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kto.errors import UserError
from kto.tables import Row, read_rows
from kto.texts import t
from kto.train.chat_tokens import Tokens

FULL_BYTES = 25
"""Memory per parameter when all of them are trained: in 32 bits the weights, their copy, gradients and two moments of
Adam make 20, and 24.8 were measured."""


def read_examples(folder: Path, batch_size: int) -> list[Row]:
    """Return the rows of the train split in their order; raise `UserError` if they are too few or all alike."""
    path = folder / "train.parquet"
    rows = read_rows(path, ("prompt", "completion", "label"))
    if not rows:
        raise UserError("no_rows", path=path)
    if len(rows) < batch_size:
        raise UserError("too_few_rows", count=len(rows), batch_size=batch_size)
    if len({row["label"] for row in rows}) < 2:
        raise UserError("one_class")
    return rows


def fitting(rows: Sequence[Tokens], max_length: int, batch_size: int) -> list[Tokens]:
    """Return the rows that fit into `max_length`, and print how many do not.

    They are left out, not cut: an answer without its end would teach the model to go on. Raises `UserError` if the
    others are fewer than a batch.
    """
    long_prompts = sum(len(row.prompt) >= max_length for row in rows)
    if long_prompts:
        print(t("train.too_long", max_length=max_length, count=long_prompts))
    fits = [row for row in rows if row.length <= max_length]
    if cut := len(rows) - long_prompts - len(fits):
        longest = max(row.length for row in rows if len(row.prompt) < max_length)
        print(t("train.left_out", max_length=max_length, count=cut, longest=longest))
    if len(fits) < batch_size:
        raise UserError("too_few_rows", count=len(fits), batch_size=batch_size)
    if len(fits) % batch_size == 1:  # in a batch of one, a prompt has no neighbour to be paired with
        fits.pop()
    return fits


# --- the model --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def loading(model: str) -> Iterator[None]:
    """Raise `UserError` for a model on the Hub or in a folder that cannot be loaded."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        raise UserError("no_such_model", model=model, reason=str(error).strip().split("\n")[0]) from None


def fetch(model: str, token: str | None) -> str:
    """Return the folder of a model; one on the Hub is downloaded.

    Only this uses the token: not all requests of transformers and peft carry the one they are given, and the trainer
    writes its arguments beside the model.
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


def load_tokenizer(folder: str, model: str) -> Any:
    """Return the tokenizer of the model in a folder; raise `UserError` if it cannot chat."""
    from transformers import AutoTokenizer

    with loading(model):
        tokenizer = AutoTokenizer.from_pretrained(folder)
    if tokenizer.chat_template is None:
        raise UserError("no_chat_template", model=model)
    return tokenizer


def find_weights(folder: str, model: str) -> tuple[Callable[..., Any], int]:
    """Return a function that loads the weights of the model in a folder, and their number."""
    import torch
    import transformers

    with loading(model):
        config = transformers.AutoConfig.from_pretrained(folder)
        kind = getattr(transformers, (config.architectures or [""])[0], transformers.AutoModelForCausalLM)
        with torch.device("meta"):  # takes no memory
            empty: Any = getattr(kind, "from_config", kind)(config)
    return functools.partial(kind.from_pretrained, folder), empty.num_parameters()


# --- the machine ------------------------------------------------------------------------------------------------------


def free_memory(device: Any) -> int:
    """Return the free bytes of a device of torch."""
    import psutil
    import torch

    if device.type == "cuda":
        return torch.cuda.mem_get_info()[0]
    free: int = psutil.virtual_memory().available
    return min(free, torch.mps.recommended_max_memory()) if device.type == "mps" else free


def has_gpu() -> bool:
    """Tell whether this machine has a GPU by NVIDIA or AMD that torch should see, whatever this torch is built for."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):  # somebody does not want it
        return False
    if sys.platform == "win32":
        return (Path(os.environ.get("SYSTEMROOT", r"C:\Windows")) / "System32" / "nvcuda.dll").exists()
    return shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists()
