"""Files that are either whole or absent: written beside their place, synced, renamed, and known by their SHA-256."""

import contextlib
import errno
import glob
import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinytale.errors import TaleError

PARTIAL = ".partial"
"""Suffix of a file or folder that is still being written; a reader never looks at one."""

ABANDONED_SECONDS = 3600.0
"""A partial file that nobody has written to for so long is of a process that was killed: the next write deletes it."""


LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the small file begins that Git LFS leaves in place of a large one."""


def cache_folder() -> Path:
    """Where this system keeps what programs can fetch again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tinytale"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tinytale"
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    base = named if named.is_absolute() else Path.home() / ".cache"  # the XDG rules ignore a relative one
    return base / "tinytale"


def at_home(path: str) -> str:
    """A path with the home folder in place of a leading `~`; as it is where nobody knows one."""
    return os.path.expanduser(path)  # noqa: PTH111, since Path.expanduser raises there


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_lfs_pointer(path: Path) -> None:
    """Refuse the small file that a clone without Git LFS leaves in the place of a large one.

    Raises:
        TaleError: it is a pointer.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(LFS_POINTER)) == LFS_POINTER:
            raise TaleError(
                f"{path} is a Git LFS pointer, which only names the file that belongs there; fetch that one in the"
                " cloned folder: git lfs install, then git lfs pull"
            )


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut, where the system and the disk can do that.

    Windows syncs folders by itself and refuses to open them; some network and FUSE disks refuse to sync them.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The path of a temporary file beside `path` for the caller to write; once it is, it takes the place of `path`.

    Its name is drawn anew each time, so that two processes never write into one, and no link that lies there is
    followed.

    Raises:
        TaleError: the disk refuses (full, read-only); what lay at `path` before is still there, or the message says
            that it has been replaced.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    state = "what was there before is unchanged"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _delete_abandoned(path)
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        state = "it has been replaced, but a power cut could still undo that"
        sync_folder(path.parent)
    except OSError as error:
        raise TaleError(f"cannot write {path}: {error.strerror}; {state}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _delete_abandoned(path: Path) -> None:
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{PARTIAL}"):
        with contextlib.suppress(OSError):
            if time.time() - left.lstat().st_mtime > ABANDONED_SECONDS:
                left.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Write `path` whole or not at all: a temporary file beside it, fsync, rename, fsync of the folder.

    Raises:
        TaleError: the disk refuses (full, read-only); what lay at `path` before is still there.
    """
    with written_whole(path) as partial, partial.open("wb") as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with `\\n` line ends, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, keys in the order given, whole or not at all.

    What has no UTF-8 (a lone surrogate: a file name that was none, half an emoji) is written as JSON's own escape.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        TaleError: the file is missing, is not UTF-8 or is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a mark before the text
    except FileNotFoundError as error:
        raise TaleError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if path.is_file():
            refuse_lfs_pointer(path)
        raise TaleError(f"{path} cannot be read as JSON: {error}") from error
