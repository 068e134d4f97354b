"""One process at a time in a folder: a lock that the operating system frees when its holder dies, however it dies."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tinytale.errors import TaleError

LOCK_FILE = "train.lock"
"""In the folder while it is held; its content says who holds it. Left behind by a killed process it locks nothing."""

FAR_BEYOND = 2**20
"""Which byte Windows locks: nobody else could read it, so it lies behind the content."""


@contextlib.contextmanager
def held(folder: Path, doing: str = "being trained") -> Iterator[None]:
    """Hold the folder, which is made if need be; afterwards the lock is gone, and the folder too if it is empty.

    Args:
        folder: which.
        doing: what is done there, for whoever comes second.

    Raises:
        TaleError: another process holds it (it is named), or the disk refuses.
    """
    path = folder / LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = _locked(path)
    except OSError as error:
        raise TaleError(f"cannot write {path}: {error.strerror}") from error
    if descriptor is None:
        raise TaleError(f"{folder} is {doing} by {_holder(path)}; wait for its end, or stop it")
    try:
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # a full disk: what is locked is locked, and whoever meets it learns less
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
            os.write(descriptor, json.dumps(holder).encode())
        yield
    finally:
        with contextlib.suppress(OSError):
            if (
                sys.platform == "win32"
            ):  # an open file cannot be deleted there; elsewhere a closed one may be another's already
                os.close(descriptor)
                path.unlink()
            else:
                path.unlink()
                os.close(descriptor)
            folder.rmdir()


def _locked(path: Path) -> int | None:
    """The open and locked file; None if another process has locked it. On a disk without locks it is just opened."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if not _lock(descriptor):
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its holder deleted it between our opening and our locking


def _lock(descriptor: int) -> bool:
    """Whether nobody else has locked the file."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, FAR_BEYOND, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(who['process'])} on {str(who['host'])[:80]} since {str(who['since'])[:20]}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process"  # which has only just begun
