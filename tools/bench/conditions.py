"""How a measurement is made: the same for every contender."""

import os
import platform
from dataclasses import dataclass
from typing import Literal

from tinytale.allocator import TUNABLES
from tinytale.errors import UsageError

Allocator = Literal["default", "tuned"]
Isa = Literal[
    "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX"
]
"""Instruction sets by oneDNN's names, which torch's matrix products go by."""


MOST = 10_000
"""Threads, rounds or steps: whatever is measured is kept."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """How to measure: the same for every contender."""

    threads: int
    """Of each process, one of which computes at a time."""
    rounds: int = 7
    """Turns of each contender."""
    steps: int = 5
    """Training steps in a turn."""
    warm_up: int = 5
    """Steps before the first turn."""
    allocator: Allocator = "default"
    """As the system has it, or tuned to keep its memory."""
    isa: Isa | None = None
    """The most that oneDNN may use of the processor. Default: all."""

    def __post_init__(self) -> None:
        for name, least in (("threads", 1), ("rounds", 1), ("steps", 1), ("warm_up", 3)):
            if not least <= getattr(self, name) <= MOST:
                found = getattr(self, name)
                raise UsageError(f"the number of {name} must be at least {least} and at most {MOST:,}, not {found}")


def environment(conditions: Conditions) -> dict[str, str]:
    """The variables that every contender's process begins with.

    Raises:
        UsageError: the allocator cannot be tuned on this system.
    """
    if conditions.allocator == "tuned" and platform.libc_ver()[0] != "glibc":
        raise UsageError("the allocator can be tuned with glibc only; leave out --allocator tuned")
    ours = {"GLIBC_TUNABLES", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"}
    variables = {name: value for name, value in os.environ.items() if name not in ours}
    variables |= {"OMP_NUM_THREADS": str(conditions.threads), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    variables |= {"GLIBC_TUNABLES": TUNABLES} if conditions.allocator == "tuned" else {}
    variables |= {"ONEDNN_MAX_CPU_ISA": conditions.isa} if conditions.isa else {}
    return variables
