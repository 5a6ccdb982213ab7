"""Where a model is trained, and whether there is memory for all of it."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

FULL_BYTES = 25
"""Memory per parameter when all of them are trained: in 32 bits the weights, their copy, gradients and two moments of
Adam make 20, and 24.8 were measured."""


def name(device: Any) -> str:
    """Return what people call a device of torch."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device.type).upper()


def free_memory(device: Any) -> int:
    """Return how many bytes are free where the model is going to be."""
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
