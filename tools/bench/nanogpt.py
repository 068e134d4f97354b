"""nanoGPT (Karpathy, 2022), which is no package: its code is read from a folder that a person names or has cloned."""

import contextlib
import importlib.util
import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.sizes import Size
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL, cache_folder, sha256_of
from tinytale.model.folder import hugging_face_name
from tinytale.model.gpt2 import GPT2

ADDRESS = "https://github.com/karpathy/nanoGPT"
COMMIT = "3adf61e154c3fe3fca428ad6bc3818b27a3b8291"

PADDED = {50_257: 50_304}
"""nanoGPT's own default for GPT-2's vocabulary: the next multiple of 64."""


def nanogpt_folder(asked: str | None) -> Path:
    """The folder that was named, or for `auto` a clone of the pinned commit in the user's cache.

    Raises:
        UsageError: none was named, or the folder holds no `model.py`.
        TaleError: git is missing, or cannot get the repository.
    """
    if asked is None:
        raise UsageError(
            f"nanoGPT's code is needed: clone {ADDRESS} and name the folder with --nanogpt, or say --nanogpt auto"
        )
    folder = _cloned(cache_folder() / f"nanoGPT-{COMMIT[:12]}") if asked == "auto" else Path(asked)
    if not (folder / "model.py").is_file():
        raise UsageError(f"{folder} has no model.py; expected a clone of {ADDRESS}")
    return folder


def _cloned(folder: Path) -> Path:
    if folder.is_dir():
        return folder
    if not shutil.which("git"):
        raise TaleError(f"git is not installed; install it, or get {ADDRESS} yourself and name its folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, suffix=PARTIAL, ignore_cleanup_errors=True) as partial:
        clone = Path(partial) / folder.name
        for command in (["clone", "--quiet", ADDRESS, str(clone)], ["-C", str(clone), "checkout", "--quiet", COMMIT]):
            done = subprocess.run(["git", *command], capture_output=True, encoding="utf-8", errors="replace")
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise TaleError(f"git cannot get {ADDRESS}: {reason}; get it yourself and name its folder")
        with contextlib.suppress(OSError):  # another process was faster
            clone.rename(folder)
    if not folder.is_dir():
        raise TaleError(f"cannot write {folder}; get {ADDRESS} yourself and name its folder")
    return folder


def nanogpt_model(folder: Path, size: Size) -> Any:
    """A `GPT` of nanoGPT's, with biases as GPT-2 has them and without dropout.

    Raises:
        TaleError: its `model.py` cannot be imported, or is not what it was at the pinned commit.
    """
    try:
        module = _imported(folder / "model.py")
        with contextlib.redirect_stdout(io.StringIO()):
            return module.GPT(
                module.GPTConfig(
                    block_size=size.context_length,
                    vocab_size=PADDED.get(size.vocab_size, size.vocab_size),
                    n_layer=size.layers,
                    n_head=size.heads,
                    n_embd=size.width,
                    dropout=0.0,
                    bias=True,
                )
            )
    except Exception as error:
        raise TaleError(
            f"{folder / 'model.py'} is not nanoGPT's as of commit {COMMIT[:12]}: {type(error).__name__}: {error}"
        ) from error


def nanogpt_optimiser(model: Any, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW as nanoGPT configures it on a CPU, with its train.py's decay and betas."""
    with contextlib.redirect_stdout(io.StringIO()):
        return model.configure_optimizers(0.1, learning_rate, (0.9, 0.95), "cpu")


class AllLogits(nn.Module):
    """nanoGPT as a map from tokens to the logits of every position, which it only gives along with a loss."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, tokens_BT: Tensor) -> Tensor:
        """Logits (B, T, V)."""
        return self.model(tokens_BT, tokens_BT)[0]


@torch.no_grad()
def copy_weights(ours: GPT2, theirs: nn.Module, transposed_too: bool) -> None:
    """Give another GPT-2 our weights; its matrices lie as in Hugging Face's files (`transposed_too`) or as ours do."""
    named = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        other, transposed = hugging_face_name(name)
        value = parameter.T if transposed and transposed_too else parameter
        named[f"transformer.{other}"][: len(value)].copy_(value)


def code_digest(folder: Path) -> str:
    """SHA-256 of the model's code."""
    return sha256_of(folder / "model.py")


def _imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
