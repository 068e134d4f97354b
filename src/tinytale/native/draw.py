"""One token drawn from logits by our own code (`cpp/draw.cpp`): every sampler and the draw in one call.

Letters of shapes: V vocabulary.
"""

import ctypes
import math
import sys
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.native.build import UnavailableError, library
from tinytale.native.instructions import BASE, choices

SOURCE = Path(__file__).parent / "cpp/draw.cpp"


@lru_cache(maxsize=1)
def _load() -> ctypes.CDLL | str:
    """The library, or why it cannot be had."""
    if sys.platform == "win32":
        return "it is not written for Windows"
    try:
        built = library(SOURCE, choices(BASE), holds_interpreter=True)
    except UnavailableError as reason:
        return str(reason)
    whole, double = ctypes.c_long, ctypes.c_double
    built.tinytale_draw.argtypes = [ctypes.c_void_p, whole, ctypes.c_float, whole, double, double, double]
    built.tinytale_draw.restype = ctypes.c_long
    return built


def available() -> bool:
    """Whether it can be had here. The first call builds it."""
    return not isinstance(_load(), str)


def draw(
    logits_V: Float[Tensor, " V"],
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
) -> int:
    """What `generation/sampling.py` draws after the same samplers with the same generator, up to rounding.

    The logits are finite float32 numbers on the CPU; the settings have been checked. None leaves a sampler out.
    """
    assert logits_V.dtype == torch.float32 and logits_V.is_cpu and len(logits_V)
    built = _load()
    assert not isinstance(built, str)
    logits_V = logits_V.contiguous()  # held by a name while it is read
    return built.tinytale_draw(
        logits_V.data_ptr(),
        len(logits_V),
        max(temperature, 1e-30),  # as there: a normal float32
        min(top_k or 0, len(logits_V)),
        1.0 if top_p is None else top_p,
        -math.inf if min_p is None else math.log(min_p),
        torch.rand((), generator=generator, dtype=torch.float64).item(),
    )
