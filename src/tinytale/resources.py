"""Cores and memory of this process."""

import os
import sys
from pathlib import Path

GIBIBYTE = 2**30
"""Bytes."""


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
