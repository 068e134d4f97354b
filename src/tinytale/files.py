"""Files that are either whole or absent: written beside their place, synced, renamed, and known by their SHA-256."""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinytale.errors import TaleError

PARTIAL = ".partial"
"""Suffix of a file or folder that is still being written; a reader never looks at one."""


LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""How the small file begins that Git LFS leaves in place of a large one."""


def cache_folder() -> Path:
    """Where this system keeps what programs can fetch again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "tinytale"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tinytale"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinytale"


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_lfs_pointer(path: Path) -> None:
    """Whether a file is itself, and not what a clone without Git LFS leaves in its place.

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
    """Make renames inside `folder` survive a power cut. Windows syncs folders by itself and refuses to open them."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """The path of a temporary file beside `path` for the caller to write; once it is, it takes the place of `path`.

    Raises:
        TaleError: the disk refuses (full, read-only); what lay at `path` before is still there.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise TaleError(f"cannot write {path}: {error.strerror}; what was there before is unchanged") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


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
    """Write `value` as readable JSON, keys in the order given, whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        TaleError: the file is missing, is not UTF-8 or is not JSON; the message names it.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TaleError(f"{path} is missing") from error
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        if path.is_file():
            refuse_lfs_pointer(path)
        raise TaleError(f"{path} cannot be read as JSON: {error}") from error
