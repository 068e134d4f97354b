"""The tensors of a GPT-2 folder: in one `model.safetensors`, or in several with an index; never in a pickle."""

import hashlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from tinytale.errors import TaleError
from tinytale.files import read_json, refuse_lfs_pointer, sha256_of, write_bytes, write_text

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PREFIX = "transformer."
"""Before every name, or before none: of the whole model, or of its blocks alone."""

PICKLES = ("pytorch_model*.bin", "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")

CONVERT = (
    "import sys, torch; from safetensors.torch import save_file; out, *files = sys.argv[1:]; w = {};"
    " [w.update(torch.load(file, 'cpu', weights_only=True)) for file in files];"
    " all(map(torch.is_tensor, w.values())) or sys.exit('This is no file of weights, but a training checkpoint with '"
    " + ', '.join(map(str, w)) + ' (nanoGPT writes such). Its layout is its own: let the program that wrote it save the"
    " model in the layout of Hugging Face transformers, and import that folder.');"
    " save_file({n: t.clone().contiguous() for n, t in w.items()}, out, {'format': 'pt'})"
)
"""What makes a safetensors file of pickles, in the torch and safetensors that tinytale needs anyway."""

DIGEST = SINGLE + ".sha256"
"""Beside the weights, their SHA-256 as `sha256sum` writes it; other programs do not read it."""

HEADER_LIMIT = 2**24
"""Bytes of a safetensors file's list of tensors; a GPT-2 of a thousand layers has a list of two million."""

FORMATS = ("F64", "F32", "F16", "BF16")
"""Number formats of weights that are read. Whole numbers, complex or packed ones are no weights of a GPT-2."""


def weight_paths(folder: Path) -> list[Path]:
    """The safetensors files of a GPT-2 folder.

    Raises:
        TaleError: there are none; or the index is damaged, or names a file that is not there.
    """
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    index = folder / INDEX
    if not index.is_file():
        raise TaleError(f"{folder / SINGLE} is missing{_about_pickles(folder)}")
    content = read_json(index)
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not places:
        raise TaleError(f"{index} has no weight_map from the names of weights to files")
    names = sorted(set(map(str, places.values())))
    for name in names:
        if not re.fullmatch(r"[\w-][\w.-]*\.safetensors", name):
            raise TaleError(f"{index} names {name[:60]!r}; expected the name of a safetensors file beside it")
        if not (folder / name).is_file():
            raise TaleError(f"{folder / name} is missing, which {INDEX} names")
    return [folder / name for name in names]


def weights_digest(folder: Path) -> str:
    """SHA-256 that names the weights of a folder: of its file, or of the hashes of its files in order.

    Raises:
        TaleError: as `weight_paths`.
    """
    hashes = [sha256_of(path) for path in weight_paths(folder)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


class StoredWeights:
    """Tensors by name, without the prefix; each is read when it is asked for."""

    def __init__(self, files: dict[Path, Any]):
        paths = list(files)
        self.source = paths[0] if len(paths) == 1 else paths[0].parent
        self._places: dict[str, tuple[Path, Any, str]] = {}
        for path, file in files.items():
            for name in file.keys():  # noqa: SIM118
                plain = name.removeprefix(PREFIX)
                if plain in self._places:
                    raise TaleError(f"{path}: {name} comes twice; it is {self.where(plain)} too")
                self._places[plain] = path, file, name

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def where(self, name: str) -> str:
        """File and name of a tensor, for a message."""
        path, _, stored = self._places[name]
        return f"{path}: {stored}"

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        path, file, stored = self._places[name]
        with _reading(path):
            return tuple(file.get_slice(stored).get_shape())

    def read(self, name: str) -> Tensor:
        """A tensor as it is stored.

        Raises:
            TaleError: it does not hold floating-point numbers, or cannot be read.
        """
        path, file, stored = self._places[name]
        with _reading(path):
            kind = file.get_slice(stored).get_dtype()
            if kind not in FORMATS:
                raise TaleError(
                    f"{self.where(name)} holds numbers of format {kind}; expected one of {', '.join(FORMATS)}"
                )
            return file.get_tensor(stored)


@contextmanager
def open_weights(folder: Path) -> Iterator[StoredWeights]:
    """The weights of a GPT-2 folder.

    Raises:
        TaleError: as `weight_paths`; or a file is not safetensors or not the one of its SHA-256, or two hold the same
            name.
    """
    with ExitStack() as stack:
        files = {}
        for path in weight_paths(folder):
            with _reading(path):
                _check_beginning(path)
                _check_digest(path)
                files[path] = stack.enter_context(safe_open(path, framework="pt"))
        yield StoredWeights(files)


def write_weights(path: Path, content: bytes) -> None:
    """Write `model.safetensors` and, beside it, its SHA-256, which whoever loads it compares.

    Between the two there is no SHA-256, so that a process that is killed or reads meanwhile finds nothing wrong.

    Raises:
        TaleError: the disk refuses.
    """
    beside = path.with_name(DIGEST)
    try:
        beside.unlink(missing_ok=True)
    except OSError as error:
        raise TaleError(f"cannot write {beside}: {error.strerror}") from error
    write_bytes(path, content)
    write_text(beside, f"{hashlib.sha256(content).hexdigest()}  {path.name}\n")


def _check_beginning(path: Path) -> None:
    """Refuse what is no file of weights, or would take memory before that is known."""
    refuse_lfs_pointer(path)
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > HEADER_LIMIT:
        raise TaleError(
            f"{path} cannot be read as safetensors: its list of tensors has {length:,} bytes; a GPT-2's has at most"
            f" {HEADER_LIMIT:,}"
        )


def _check_digest(path: Path) -> None:
    """Compare a file with the SHA-256 beside it, if there is one; a trainer may replace both meanwhile."""
    beside = path.with_name(DIGEST)
    while path.name == SINGLE and (said := _said(beside)):
        found = sha256_of(path)
        if found == said:
            return
        if said == _said(beside):
            raise TaleError(
                f"{path} is damaged: its SHA-256 is {found[:16]}..., and {DIGEST} says {said[:16]}...; fetch or export"
                f" it again, or, if other weights were put there on purpose, delete {beside}"
            )


def _said(beside: Path) -> str:
    """The SHA-256 that a file names; nothing without such a file."""
    try:
        return (beside.read_bytes()[:200].decode("utf-8", "replace").split() or ["no SHA-256"])[0]
    except FileNotFoundError:
        return ""


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError) as error:
        raise TaleError(f"{path} cannot be read as safetensors: {error}") from error


def _about_pickles(folder: Path) -> str:
    """What to do about the pickles in a folder, if there are any."""
    found = next(filter(None, (sorted(folder.glob(pattern)) for pattern in PICKLES)), [])
    return f"; {how_to_convert(found)}" if found else ""


def how_to_convert(pickles: list[Path]) -> str:
    """How a person makes weights that tinytale reads of pickles, which it never opens."""
    out, *files = map(_quoted, [pickles[0].parent / SINGLE, *pickles])
    return (
        f"{pickles[0].name} is a pickle, which is never opened, since a pickle can run any program. If you trust it,"
        f' convert it: python -c "{CONVERT}" {out} {" ".join(files)}'
    )


def _quoted(path: Path) -> str:
    """A path as a person can type it, whatever it holds."""
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))
