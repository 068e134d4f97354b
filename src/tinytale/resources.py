"""Cores and memory of this process."""

import os
import sys
from pathlib import Path

from tinytale.errors import UsageError

GIBIBYTE = 2**30
"""Bytes."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def place_among_processes() -> tuple[int, int, int]:
    """What torchrun says in environment variables: the rank of this process, how many there are, its number here.

    Raises:
        UsageError: the variables say that there are several, but not all that is needed to find the others.
    """
    told = {name: os.environ.get(name, "") for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_PORT")}
    if told["WORLD_SIZE"] in ("", "1"):
        return 0, 1, 0
    numbers = {name: int(value) for name, value in told.items() if value.isascii() and value.isdecimal()}
    wrong = [f"{name}={value!r}" for name, value in told.items() if name not in numbers and (value or name == "RANK")]
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name)]
    if wrong or missing or not 0 <= numbers["RANK"] < numbers["WORLD_SIZE"]:
        found = wrong + [f"no {name}" for name in missing] or [f"RANK={numbers['RANK']}"]
        raise UsageError(
            f"the environment variable WORLD_SIZE={told['WORLD_SIZE']} says that several processes train together, but"
            f" beside it there is {', '.join(found)}; start them with torchrun --standalone --nproc_per_node=N -m"
            " tinytale train ..., or take WORLD_SIZE away to train alone"
        )
    return numbers["RANK"], numbers["WORLD_SIZE"], numbers.get("LOCAL_RANK", 0)


def machine_memory() -> int:
    """All memory of this machine, in bytes."""
    if sys.platform == "win32":
        import psutil

        return psutil.virtual_memory().total
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def process_peak_memory() -> int:
    """The most memory, in bytes, that this process has had at once."""
    status = Path("/proc/self/status")
    if status.is_file():  # getrusage would count what the parent had before the child became another program
        line = next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
