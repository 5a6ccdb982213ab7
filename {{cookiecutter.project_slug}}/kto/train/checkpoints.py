"""A training that is stopped can go on: what it has learned is on the disk now and then, and when it stops."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kto.errors import UserError
from kto.tables import write_text
from kto.texts import number

SECONDS = 600
"""The time between two checkpoints."""

LORA_SHARE = 0.03
"""At most this share of the weights is trained with LoRA (1.8 % of a model of 0.5 billion, less of larger ones)."""
_ABOUT = "training.json"
_WHOLE = "trainer_state.json"  # is written last


def last(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, None if there is none."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE}")]
    return max(found, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def remove_broken(folder: Path) -> None:
    """Remove checkpoints that were not written to their end."""
    for path in folder.glob("checkpoint-*"):
        if not (path / _WHOLE).exists():
            shutil.rmtree(path, ignore_errors=True)


def remove(folder: Path) -> None:
    """Remove what a training has left in `folder` that is done, and the folder unless there is something else in it."""
    for path in folder.glob("checkpoint-*"):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(OSError):
        for name in (_ABOUT, "README.md"):  # TRL writes a card with each checkpoint
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def begun(folder: Path) -> dict[str, Any]:
    """Return what was trained, and how, when the training that left a checkpoint in `folder` began; {} if none did.

    Raises
    ------
    UserError
        That cannot be read.
    """
    if last(folder) is None:
        return {}
    path = folder / _ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return about if isinstance(about, dict) else {}
    except (OSError, ValueError) as error:
        raise UserError("cannot_read_table", path=path, reason=error) from None


def begin(folder: Path, about: Mapping[str, Any], resume: bool) -> Path | None:
    """Return the checkpoint to go on from, None for a new training, which is written down.

    Parameters
    ----------
    about
        What is trained, and how.

    Raises
    ------
    UserError
        There is no checkpoint to go on from, it is one of another training, or nobody has said that it is to be lost.
    """
    checkpoint = last(folder)
    if resume and checkpoint is None:
        raise UserError("technical.no_checkpoint", path=folder)
    if checkpoint is None:
        remove_broken(folder)
        write_text(folder / _ABOUT, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
        return None
    if not resume:
        raise UserError("training_unfinished", path=folder)
    before = begun(folder)
    changed = [name for name in about if about[name] != before.get(name)]
    if changed:
        raise UserError("technical.training_changed", path=folder, what=", ".join(changed))
    remove_broken(folder)
    return checkpoint


def check_disk(output: Path, size: int, lora: bool) -> None:
    """Raise `UserError` if there is no room in `output` for a model of `size` weights and the checkpoints before it.

    A new checkpoint is written before the old one goes. Each has the weights that are trained and two moments of Adam,
    in 32 bits.
    """
    needed = 4 * size + 2 * 12 * size * (LORA_SHARE if lora else 1)
    there = [*output.glob("*.safetensors"), *(output / "checkpoints").rglob("*.*")]  # is going to be replaced
    room = sum(path.stat().st_size for path in there)
    free = shutil.disk_usage(output).free
    if free + room < needed:
        values = {"needed": number((needed - room) / 1e9, 1), "free": number(free / 1e9, 1)}
        raise UserError("technical.training_disk", path=output, **values)


class Checkpoints(TrainerCallback):
    """Saves every `SECONDS`, and once more when the training is stopped.

    Parameters
    ----------
    accelerator
        That of the trainer: all processes that train together save at the same step.
    say
        Called when somebody stops the training.
    """

    def __init__(self, accelerator: Any, say: Callable[[], None]) -> None:
        self._accelerator = accelerator
        self._say = say
        self._saved = time.monotonic()
        self._stop = False
        self.stopped = False

    def _any(self, wanted: bool) -> bool:
        """Tell whether one of the processes wants it."""
        import torch

        own = torch.tensor(int(wanted), device=self._accelerator.device)
        return bool(self._accelerator.reduce(own, reduction="sum"))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Decide whether this is the moment."""
        if state.global_step >= state.max_steps:  # done anyway
            return
        if self._any(self._stop):
            self.stopped = control.should_training_stop = control.should_save = True
        elif self._any(time.monotonic() - self._saved >= SECONDS):
            control.should_save = True

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for `SECONDS` again."""
        self._saved = time.monotonic()

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Stop after the step that is under way on Ctrl-C, or when the system ends the process; at once on a second."""
        before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}

        def stop(*_: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            self._say()

        for each in before:
            signal.signal(each, stop)
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)


@contextlib.contextmanager
def training_errors(folder: Path) -> Iterator[None]:
    """Turn a disk that takes no more, and memory that does not suffice, into a `UserError`.

    A checkpoint that was not written to its end goes; the one before it is still there.
    """
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except torch.OutOfMemoryError:
        raise UserError("technical.training_memory") from None
    except (OSError, SafetensorError, RuntimeError) as error:
        if type(error) is RuntimeError and re.search("out of memory|allocate memory", str(error)):  # not on a GPU
            raise UserError("technical.training_memory") from None
        # torch writes with C++ and safetensors with Rust: both have exceptions of their own for a full disk.
        if type(error) is RuntimeError and not re.search("PytorchStreamWriter|unexpected pos", str(error)):
            raise
        remove_broken(folder)
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).split("\n")[0]
        raise UserError("technical.training_not_written", path=folder.parent, reason=reason) from None
