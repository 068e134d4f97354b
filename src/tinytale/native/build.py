"""One C++ file, with its headers, becomes a shared library: compiled once, on first use, into the user's cache."""

import contextlib
import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tinytale.console import console
from tinytale.files import cache_folder

USUAL = ("c++", "g++", "clang++", "cl")


class UnavailableError(Exception):
    """A kernel cannot be had here; the message says why. Whoever meets it goes on without the kernel."""


def compiler() -> str | None:
    """The C++ compiler: the program that $CXX names, or the first of the usual ones; None where there is none."""
    named = os.environ.get("CXX")
    return next((found for found in map(shutil.which, [named] if named else USUAL) if found), None)


def library(source: Path, choices: Sequence[Sequence[str]], holds_interpreter: bool = False) -> ctypes.CDLL:
    """The library built from `source`, with the first of these choices of flags that the compiler takes.

    It is named by a hash of the source, the headers beside it and the flags, so that a new version never meets an old
    library. Other threads run while it computes, unless it `holds_interpreter`: for calls of a few microseconds, after
    which to get the interpreter back would take longer.

    Raises:
        UnavailableError: no compiler, or it fails; or the library cannot be written or loaded.
    """
    try:
        texts = [source.read_bytes(), *(header.read_bytes() for header in sorted(source.parent.glob("*.h")))]
        digest = hashlib.sha256(b"".join(texts) + repr(choices).encode()).hexdigest()
        path = cache_folder() / f"{source.stem}-{digest[:16]}.so"
        load = ctypes.PyDLL if holds_interpreter else ctypes.CDLL
        if path.is_file():
            with contextlib.suppress(OSError):  # cut short, as by a full disk, or from another system: made anew
                return load(str(path))
        _compile(source, choices, path)
        return load(str(path))
    except (OSError, RuntimeError) as error:  # a RuntimeError where there is no home to keep it in
        raise UnavailableError(f"{source.name} cannot be built or loaded: {str(error).rstrip('.')}") from error


def _compile(source: Path, choices: Sequence[Sequence[str]], path: Path) -> None:
    command = compiler()
    if command is None:
        raise UnavailableError("there is no C++ compiler" + " as $CXX names it" * ("CXX" in os.environ))
    path.parent.mkdir(parents=True, exist_ok=True)
    begun, said = time.monotonic(), ""
    for flags in choices:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            ended = subprocess.run([command, *flags, str(source), "-o", str(made)], capture_output=True, text=True)
            if ended.returncode == 0:
                with made.open("rb") as whole:
                    os.fsync(whole.fileno())
                made.replace(path)  # another process may do the same at this moment: each has its own file
                seconds = time.monotonic() - begun
                console.print(f"Compiled {source.name} in {seconds:.1f} s, once, into {path}", style="dim")
                return
        said = next((line for line in ended.stderr.splitlines() if "error" in line), f"exit code {ended.returncode}")
    raise UnavailableError(f"{command} cannot compile {source.name}: {said.strip()}")
