"""glibc's memory allocator, told to keep what it has: a training step then meets no fresh page."""

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

TUNABLES = ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_threshold": 2**34, "trim_threshold": 2**34, "top_pad": 2**28}.items()
)
"""Huge pages where the system offers them; no allocation is mapped by itself; freed memory stays with the process."""


def tuned(environment: Mapping[str, str], platform: str) -> dict[str, str] | None:
    """The environment of a process with these settings; None where they say nothing: elsewhere than on Linux, or where
    the person has set GLIBC_TUNABLES already."""
    if platform != "linux" or "GLIBC_TUNABLES" in environment:
        return None
    return {**environment, "GLIBC_TUNABLES": TUNABLES}


def restart_tuned() -> None:
    """Start this program again, in the same process, with the tuned allocator: glibc reads its settings only at the
    start. Nothing happens in a program that only calls tinytale, or once torch is loaded: it is too late then."""
    environment = tuned(os.environ, sys.platform)
    main = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    ours = main.name == "tinytale" or main.parts[-2:] == ("tinytale", "__main__.py")
    if environment and ours and "torch" not in sys.modules:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # nobody reads it any more
                stream.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
