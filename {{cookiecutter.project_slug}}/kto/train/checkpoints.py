"""Checkpoints: a training that is stopped can go on. One is written now and then, and when somebody stops it."""

import contextlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from kto.errors import UserError
from kto.tables import reading, write_text
from kto.texts import number, t

SECONDS = 600
"""The time between two checkpoints."""
LORA_SHARE = 0.03
"""LoRA trains at most this share of the weights (1.8 % of a model of 0.5 billion, less of larger ones)."""
_ABOUT = "training.json"
_WHOLE = "trainer_state.json"  # is written last


def last(folder: Path) -> Path | None:
    """Return the newest whole checkpoint in `folder`, None if there is none."""
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_WHOLE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def remove(folder: Path, *, only_broken: bool = False) -> None:
    """Remove the checkpoints in `folder`, and the folder, unless there is something else in it.

    With `only_broken`, remove those that were not written to their end.
    """
    for path in folder.glob("checkpoint-*"):
        if not (only_broken and (path / _WHOLE).exists()):
            shutil.rmtree(path, ignore_errors=True)
    if not only_broken:
        with contextlib.suppress(OSError):
            for name in (_ABOUT, "README.md"):  # TRL writes a card with each checkpoint
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def begun(folder: Path) -> dict[str, Any]:
    """Return what `begin` wrote about the training that left a checkpoint in `folder`, {} if none did."""
    if last(folder) is None:
        return {}
    path = folder / _ABOUT
    with reading(path):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def begin(folder: Path, about: Mapping[str, Any], resume: bool) -> Path | None:
    """Return the checkpoint to go on from, None for a new training, whose settings are written to a file.

    Raises `UserError` if there is no checkpoint to go on from, if it is one of another training than the one that
    `about` describes, or if a new training would lose it.
    """
    checkpoint = last(folder)
    if resume and checkpoint is None:
        raise UserError("technical.no_checkpoint", path=folder)
    if checkpoint and not resume:
        raise UserError("training_unfinished", path=folder)
    before = begun(folder)
    changed = [name for name in about if checkpoint and about[name] != before.get(name)]
    if changed:
        raise UserError("technical.training_changed", path=folder, what=", ".join(changed))
    remove(folder, only_broken=True)
    if checkpoint is None:
        write_text(folder / _ABOUT, json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    return checkpoint


def check_disk(output: Path, size: int, lora: bool) -> None:
    """Raise `UserError` if there is no room in `output` for a model of `size` weights and two checkpoints.

    A new checkpoint is written before the old one goes. Each has the weights that are trained and two moments of Adam,
    in 32 bits.
    """
    needed = 4 * size + 2 * 12 * size * (LORA_SHARE if lora else 1)
    replaced = [*output.glob("*.safetensors"), *(output / "checkpoints").rglob("*.*")]
    room = sum(path.stat().st_size for path in replaced)
    free = shutil.disk_usage(output).free
    if free + room < needed:
        values = {"needed": number((needed - room) / 1e9, 1), "free": number(free / 1e9, 1)}
        raise UserError("technical.training_disk", path=output, **values)


class Checkpoints(TrainerCallback):
    """Saves every `SECONDS`, and once more when the training is stopped.

    All processes that train together, as the trainer's `accelerator` knows them, save at the same step.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._saved = time.monotonic()
        self._stop = False
        self.stopped = False

    def _any(self, wanted: bool) -> bool:
        """Tell whether one of the processes wants it."""
        import torch

        own = torch.tensor(int(wanted), device=self._accelerator.device)
        return bool(self._accelerator.reduce(own, reduction="sum"))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save if it is time, or if the training is to stop."""
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
        """Stop after the current step on Ctrl-C, or when the system ends the process; at once on a second Ctrl-C."""

        def stop(*_: object) -> None:
            if self._stop:
                raise KeyboardInterrupt
            self._stop = True
            print(t("train.stopping"), flush=True)

        before = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for name, handler in before.items():
                signal.signal(name, handler)


@contextlib.contextmanager
def training_errors(folder: Path) -> Iterator[None]:
    """Raise `UserError` for a disk or a memory that is full.

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
        remove(folder, only_broken=True)
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error).split("\n")[0]
        raise UserError("technical.training_not_written", path=folder.parent, reason=reason) from None
