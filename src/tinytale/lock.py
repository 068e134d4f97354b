"""One process at a time in a folder: a lock that the operating system frees when its holder dies, however it dies."""

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tinytale.console import console
from tinytale.errors import TaleError

LOCK_FILE = "train.lock"
"""In the folder while it is held; its content says who holds it. Left behind by a killed process it locks nothing."""

FAR_BEYOND = 2**20
"""Which byte Windows locks: nobody else could read it, so it lies behind the content."""


@contextlib.contextmanager
def held(folder: Path, name: str = LOCK_FILE, doing: str = "being trained", wait: float = 0.0) -> Iterator[None]:
    """Hold the folder, which is made if need be; afterwards the lock is gone, and the folder too if it is empty.

    Args:
        folder: which.
        name: of the lock file; two locks of different names do not exclude each other.
        doing: what is done there, for whoever comes second.
        wait: seconds to wait for the end of another holder.

    Raises:
        TaleError: another process holds it (it is named), or the disk refuses.
    """
    path, until = folder / name, time.monotonic() + wait
    try:
        while (descriptor := _locked(path)) is None and time.monotonic() < until:
            time.sleep(0.02)
    except OSError as error:
        reason = "it is a link; delete it" if path.is_symlink() else error.strerror
        raise TaleError(f"cannot write {path}: {reason}") from error
    if descriptor is None:
        raise TaleError(
            f"{folder} is {doing} by {_holder(path)}; wait for its end, or stop it (should it be gone, delete {path})"
        )
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
    """The open and locked file; None if another process has locked it.

    On a disk without locks, whoever makes the file has it.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)  # an earlier holder may have taken it away
        made = True
        try:
            descriptor = os.open(path, flags | os.O_EXCL, 0o644)
        except FileExistsError:
            made, descriptor = False, os.open(path, flags, 0o644)
        except FileNotFoundError:
            continue
        locked = _lock(descriptor)
        if locked is None:
            locked = made or _is_ours(path)
            if locked:
                console.print(
                    f"{path.parent} lies on a disk without locks: {path.name} keeps others out by being there"
                )
        if not locked:
            os.close(descriptor)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.lstat()):
                return descriptor
        os.close(descriptor)  # its holder deleted it between our opening and our locking


def _lock(descriptor: int) -> bool | None:
    """Whether nobody else has locked the file; None where files cannot be locked."""
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
        return None
    return True


def _is_ours(path: Path) -> bool:
    """Whether this process made the file, before it started itself anew (`allocator.py`)."""
    return _holder(path).startswith(f"process {os.getpid()} on {socket.gethostname()[:80]} ")


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(who['process'])} on {str(who['host'])[:80]} since {str(who['since'])[:20]}"
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return "another process"  # which has only just begun
