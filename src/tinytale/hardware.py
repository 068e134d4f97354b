"""Where to compute and in which number format: chosen from what this machine has."""

from typing import Literal

import torch

from tinytale.errors import UsageError
from tinytale.resources import machine_memory, process_peak_memory


def pick_device(name: str = "auto") -> torch.device:
    """The named device; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UsageError: the named device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if not available.get(name, False):
        there = ", ".join(kind for kind, there in available.items() if there)
        raise UsageError(f"device {name!r} is not available here; there is {there}")
    return torch.device(name)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16 products, so that they are faster than float32 ones."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def pick_precision(name: str, device: torch.device) -> Literal["float32", "bfloat16"]:
    """The named precision of matrix products; `auto` takes bfloat16 where the hardware multiplies it."""
    if name == "auto":
        return "bfloat16" if multiplies_bfloat16(device) else "float32"
    return "bfloat16" if name == "bfloat16" else "float32"


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Run matrix products inside in `precision`, and what needs it (softmax, LayerNorm, loss) in float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")


def synchronise(device: torch.device) -> None:
    """Wait until the device has computed all that it was asked for, so that a clock may be read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def total_memory(device: torch.device) -> int:
    """All memory, in bytes, that a CUDA device has, else this machine."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return machine_memory()


def peak_memory(device: torch.device) -> int:
    """The most memory so far, in bytes: of the tensors on a CUDA device, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return process_peak_memory()
