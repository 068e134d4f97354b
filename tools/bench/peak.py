"""The yardstick that is timed in turn with the contenders: the machine's fastest matrix product."""

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bench.contenders import TrainingStep

PEAK = "peak"
SIDES = (512, 1024, 2048)


def product(dtype: torch.dtype, side: int) -> Callable[[], Tensor]:
    """Multiplies two square matrices."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator).to(dtype) for _ in range(2))
    return lambda: left @ right


def flop_per_second(dtype: torch.dtype, side: int) -> float:
    """Of a product, the best of a few."""
    multiply, seconds = product(dtype, side), []
    for _ in range(4):
        begun = time.perf_counter()
        multiply()
        seconds.append(time.perf_counter() - begun)
    return 2 * side**3 / min(seconds)


def matrix_products(sides: tuple[int, ...] = SIDES) -> tuple[TrainingStep, dict[str, Any]]:
    """As a step, the fastest product some times over; and what it is: `flop_per_step`, `dtype`, `side`.

    bfloat16 or float32, whichever this machine multiplies faster at the smallest side.
    """
    dtype = max((torch.bfloat16, torch.float32), key=lambda dtype: flop_per_second(dtype, sides[0]))
    side = max(sides, key=lambda side: flop_per_second(dtype, side))
    multiply, times = product(dtype, side), 2 * (sides[-1] // side) ** 3

    def step(_inputs: Tensor, _targets: Tensor) -> float:
        for _ in range(times):
            multiply()
        return 0.0

    return step, {"flop_per_step": 2 * side**3 * times, "dtype": str(dtype).removeprefix("torch."), "side": side}
