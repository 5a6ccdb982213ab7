"""What a training begins with: the rows, and the model that is trained."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kto.errors import UserError
from kto.tables import Row, read_rows
from kto.texts import t
from kto.train.chat_tokens import Tokens


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


def fitting(tokens: Sequence[Tokens], max_length: int) -> list[int]:
    """Return which rows fit into `max_length`, and say how many do not: an answer without its end teaches to go on."""
    long_prompts = sum(len(row.prompt) >= max_length for row in tokens)
    if long_prompts:
        print(t("train.too_long", max_length=max_length, count=long_prompts))
    fits = [index for index, row in enumerate(tokens) if len(row) <= max_length]
    if cut := len(tokens) - long_prompts - len(fits):
        longest = max(len(row) for row in tokens if len(row.prompt) < max_length)
        print(t("train.left_out", max_length=max_length, count=cut, longest=longest))
    return fits
