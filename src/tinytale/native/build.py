"""One C++ file, with its headers, becomes a shared library: compiled once, on first use, into the user's cache."""

import contextlib
import ctypes
import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tinytale.console import console
from tinytale.files import cache_folder, sha256_of

USUAL = ("c++", "g++", "clang++", "cl")
CPP = Path(__file__).parent / "cpp"
"""Our sources."""
COMPILER_SECONDS = 180.0
"""A compiler that has not ended by then is given up: it takes some seconds on a laptop."""


class UnavailableError(Exception):
    """A kernel cannot be had here; the message says why. Whoever meets it goes on without the kernel."""


def compiler() -> str | None:
    """The C++ compiler: the program that $CXX names, or the first of the usual ones; None where there is none."""
    named = os.environ.get("CXX")
    return next((found for found in map(shutil.which, [named] if named else USUAL) if found), None)


def library(source: Path, choices: Sequence[Sequence[str]], holds_interpreter: bool = False) -> ctypes.CDLL:
    """The library built from `source`, with the first of these choices of flags that the compiler takes.

    It is named by a hash of the source, the headers beside it and the flags, so that a new version never meets an old
    library, and by its own SHA-256, so that one that was cut short or altered is made anew. Other threads run while it
    computes, unless it `holds_interpreter`: for calls of a few microseconds, after which to get the interpreter back
    would take longer.

    Raises:
        UnavailableError: no compiler, or it fails; the library cannot be written or loaded, or others may write it.
    """
    try:
        texts = [source.read_bytes(), *(header.read_bytes() for header in sorted(source.parent.glob("*.h")))]
        digest = hashlib.sha256(b"".join(texts) + repr(choices).encode()).hexdigest()
        folder, name = _folder(), f"{source.stem}-{digest[:16]}"
        kind = ctypes.PyDLL if holds_interpreter else ctypes.CDLL
        for path in folder.glob(f"{name}-*.so"):
            with contextlib.suppress(OSError):  # from another system, by the same path: made anew
                if _is_sound(path):
                    return load(path, kind)
            with contextlib.suppress(OSError):
                path.unlink()
        return load(_compile(source, choices, folder, name), kind)
    except (OSError, RuntimeError) as error:  # a RuntimeError where there is no home to keep it in
        raise UnavailableError(f"{source.name} cannot be built or loaded: {str(error).rstrip('.')}") from error


def load(path: Path, kind: type[ctypes.CDLL]) -> ctypes.CDLL:
    """Take the library into this process.

    Raises:
        OSError: it is none for this system.
    """
    return kind(str(path))


def _folder() -> Path:
    """The folder of the libraries, which nobody else can write: what lies there is run.

    Raises:
        UnavailableError: it belongs to another user.
        OSError: it cannot be made.
    """
    folder = cache_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o700)
    elif not _is_safe(folder):
        raise UnavailableError(
            f"the cache {folder} belongs to another user, who could put any code there; name a folder of your own in"
            " XDG_CACHE_HOME"
        )
    return folder


def _is_safe(path: Path) -> bool:
    """Whether only this user, or root, could have written a file or folder."""
    seen = path.stat()
    return seen.st_uid in (0, os.geteuid()) and not seen.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _is_sound(path: Path) -> bool:
    return not path.is_symlink() and _is_safe(path) and sha256_of(path) == path.stem.rpartition("-")[2]


def _compile(source: Path, choices: Sequence[Sequence[str]], folder: Path, name: str) -> Path:
    command = compiler()
    if command is None:
        raise UnavailableError("there is no C++ compiler" + " as $CXX names it" * ("CXX" in os.environ))
    begun, said = time.monotonic(), ""
    for flags in choices:
        with tempfile.TemporaryDirectory(dir=folder) as apart:
            made = Path(apart) / "made.so"
            code, lines = _run([command, *flags, str(source), "-o", str(made)])
            if code == 0:
                made.chmod(0o700)
                with made.open("rb") as whole:
                    os.fsync(whole.fileno())
                path = folder / f"{name}-{sha256_of(made)}.so"
                made.replace(path)  # another process may do the same at this moment: each has its own file
                seconds = time.monotonic() - begun
                console.print(f"Compiled {source.name} in {seconds:.1f} s, once, into {path}", style="dim")
                return path
        said = next((line for line in lines if "error" in line), f"exit code {code}")
    raise UnavailableError(f"{command} cannot compile {source.name}: {said.strip()}")


def _run(command: list[str]) -> tuple[int, list[str]]:
    """The exit code of a compiler and the lines that it said.

    Raises:
        UnavailableError: it has not ended after `COMPILER_SECONDS`; nothing of it runs on.
    """
    nothing, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=pipe, process_group=0) as process:
        try:
            _, said = process.communicate(timeout=COMPILER_SECONDS)
            return process.returncode, said.decode("utf-8", errors="replace").splitlines()
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"{command[0]} has not ended after {COMPILER_SECONDS:.0f} s") from error
        finally:
            if process.returncode is None:  # with the programs that it has started
                os.killpg(process.pid, signal.SIGKILL)
