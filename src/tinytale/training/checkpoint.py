"""Checkpoints: weights, optimiser and counters in a folder that is whole or absent, every byte known by its hash.

Nothing else has to be kept: the data order and dropout are functions of the seed and the step.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from tinytale.config import ModelConfig, TrainConfig, override
from tinytale.errors import TaleError
from tinytale.files import PARTIAL, read_json, sha256_of, sync_folder, write_json
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.optim import Optimiser

MODEL, OPTIMISER, STATE = "model.safetensors", "optimiser.safetensors", "state.json"


@dataclass
class Progress:
    """How far a run has come: what a checkpoint remembers besides tensors."""

    step: int = 0
    """Optimiser steps done."""
    seconds: float = 0.0
    """Time spent in all, over interruptions."""
    best_step: int = 0
    """The step whose weights scored best on the dev split; 0 before the first evaluation."""
    best_loss: float | None = None
    """Their dev loss, in nats a token."""
    evaluated_step: int = 0
    """The last step whose weights have been scored on the dev split: a signal may have cut a later one short."""
    skipped: int = 0
    """Updates refused because the loss or the gradient was not finite."""
    skips_in_a_row: int = 0
    """How many of them were the last ones."""
    rollbacks: int = 0
    """Times that the weights went back to the best ones; each halves the learning rate."""


def save_checkpoint(
    run: RunFolder, model: GPT2, optimiser: Optimiser, progress: Progress, settings: TrainConfig | None = None
) -> Path:
    """Write the checkpoint of `progress.step` beside its place, sync it, rename it. It counts once `latest` names it.

    With the settings of the run, so that a `config.toml` that is edited by hand is noticed.

    Raises:
        TaleError: the disk refuses; earlier checkpoints are untouched.
    """
    final = run.checkpoint(progress.step)
    partial = final.with_name(final.name + PARTIAL)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    moments = {name: tensor.detach().cpu().contiguous() for name, tensor in optimiser.state().items()}
    contents = {MODEL: save_tensors(weights), OPTIMISER: save_tensors(moments)}
    try:
        for leftover in run.unfinished():
            shutil.rmtree(leftover)
        partial.mkdir(parents=True)
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        state = {"progress": asdict(progress), "files": hashes} | ({"settings": asdict(settings)} if settings else {})
        contents[STATE] = json.dumps(state | {"seal": _seal(state)}, indent=2).encode()
        for name, content in contents.items():
            with (partial / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(partial)
        partial.rename(final)
        sync_folder(run.checkpoints)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise TaleError(
            f"cannot write the checkpoint {final}: {error.strerror}; earlier checkpoints are intact"
        ) from error
    return final


def amend_checkpoint(run: RunFolder, progress: Progress) -> None:
    """Let the checkpoint of `progress.step` remember this progress; its tensors stay.

    Raises:
        TaleError: the disk refuses, or the state has been altered.
    """
    state = _read_state(run, progress.step) | {"progress": asdict(progress)}
    write_json(run.checkpoint(progress.step) / STATE, state | {"seal": _seal(state)})


def prune_checkpoints(run: RunFolder, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and the one that `best` names.

    Raises:
        TaleError: the disk refuses.
    """
    best = run.pointer("best")
    for step in run.steps()[:-keep]:
        if step != best:
            _delete(run.checkpoint(step))


def discard_beyond(run: RunFolder, progress: Progress) -> None:
    """Delete what killed saves left behind, and the checkpoints after `progress`; let `best` forget them.

    `latest` does not know them: they are of a save that was killed, or of a course that the person has left. Their
    steps are done again, perhaps with another number of steps in all, and must not meet them.

    Raises:
        TaleError: the disk refuses.
    """
    try:
        for leftover in run.unfinished():
            shutil.rmtree(leftover)
        if progress.best_step and run.checkpoint(progress.best_step).is_dir():
            run.point("best", progress.best_step)
        else:
            (run.path / "best").unlink(missing_ok=True)
    except OSError as error:
        raise TaleError(f"cannot clear up {run.path}: {error.strerror}") from error
    for step in run.steps():
        if step > progress.step:
            _delete(run.checkpoint(step))


def _delete(checkpoint: Path) -> None:
    """Rename, then delete: a kill on the way leaves no half checkpoint."""
    try:
        renamed = checkpoint.rename(checkpoint.with_name(checkpoint.name + PARTIAL))
        shutil.rmtree(renamed)
    except OSError as error:
        raise TaleError(f"cannot delete the checkpoint {checkpoint}: {error.strerror}") from error


def load_checkpoint(run: RunFolder, step: int, model: GPT2, optimiser: Optimiser | None = None) -> Progress:
    """Put a checkpoint's tensors into `model` and `optimiser`, after checking every byte.

    Raises:
        TaleError: a file is missing, cut or altered (it is named), or the tensors are not this model's.
    """
    state = _read_state(run, step)
    weights = _checked(run, step, MODEL, state["files"][MODEL])
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TaleError(f"{run.checkpoint(step) / MODEL} is not a checkpoint of this model: {error}") from error
    if optimiser is not None:
        moments = _checked(run, step, OPTIMISER, state["files"][OPTIMISER])
        try:
            optimiser.load_state(moments)
        except ValueError as error:
            path = run.checkpoint(step) / OPTIMISER
            raise TaleError(f"{path} is not a checkpoint of this optimiser: {error}") from error
    return Progress(**state["progress"])


def checkpoint_progress(run: RunFolder, step: int) -> Progress:
    """How far a checkpoint has come; see `load_checkpoint`."""
    return Progress(**_read_state(run, step)["progress"])


def settings_of(run: RunFolder, step: int) -> TrainConfig | None:
    """The settings that a checkpoint was trained with; None of one that is older than this record.

    Raises:
        TaleError: the state has been altered, or cannot be read.
    """
    settings = _read_state(run, step).get("settings")
    return None if settings is None else override(TrainConfig(), settings, str(run.checkpoint(step) / STATE))


def refuse_other_architecture(run: RunFolder, step: int, config: ModelConfig) -> None:
    """Compare the shapes of a checkpoint with those of a model, before either takes memory.

    Raises:
        TaleError: it is a checkpoint of another model, or damaged.
    """
    path = run.checkpoint(step) / MODEL
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TaleError(f"{path} cannot be read as safetensors: {error}; {_way_out(run, step)}") from error
    layers = {name.split(".")[1] for name in stored if name.startswith("blocks.")}
    if len(layers) == config.layers:
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in GPT2(config).state_dict().items()}
        if stored == wanted:
            return
    raise TaleError(f"{path} is not a checkpoint of the model that {run.config} describes: its shapes are others")


def _read_state(run: RunFolder, step: int) -> dict[str, Any]:
    """Progress and hashes, without the seal that has vouched for them."""
    path = run.checkpoint(step) / STATE
    try:
        state = _sealed_state(run, step)
    except TaleError as error:
        raise TaleError(f"{error}; {_way_out(run, step)}") from error
    if state is None:
        raise TaleError(f"{path} has been altered, or is of another checkpoint; {_way_out(run, step)}")
    return state


def _sealed_state(run: RunFolder, step: int) -> dict[str, Any] | None:
    """What `_read_state` gives, or None if it has been altered."""
    state = read_json(run.checkpoint(step) / STATE)
    seal = state.pop("seal", None) if isinstance(state, dict) else None
    whole = _is_state(state) and seal == _seal(state) and state["progress"]["step"] == step
    return state if whole else None


def whole_steps(run: RunFolder) -> list[int]:
    """Steps whose checkpoints are there to the last byte, oldest first: a copy may have torn others."""
    return [step for step in run.steps() if _is_whole(run, step)]


def _is_whole(run: RunFolder, step: int) -> bool:
    try:
        state = _sealed_state(run, step)
        folder = run.checkpoint(step)
        return state is not None and all(sha256_of(folder / name) == sha for name, sha in state["files"].items())
    except (TaleError, OSError):
        return False


def _is_state(state: Any) -> bool:
    """Whether everything in it is of its kind; a checkpoint may be older than some of the counters."""
    if not isinstance(state, dict) or not all(isinstance(part, dict) for part in state.values()):
        return False
    if state.keys() - {"settings"} != {"progress", "files"} or state["files"].keys() != {MODEL, OPTIMISER}:
        return False
    if not all(isinstance(sha256, str) for sha256 in state["files"].values()):
        return False
    kinds = {item.name: item.type for item in fields(Progress)}
    return "step" in state["progress"] and all(
        name in kinds and _is_count(value, kinds[name]) for name, value in state["progress"].items()
    )


def _is_count(value: Any, kind: Any) -> bool:
    if value is None:
        return isinstance(None, kind)
    return isinstance(value, kind) and not isinstance(value, bool) and 0 <= value < 2**53


def _checked(run: RunFolder, step: int, name: str, expected: str) -> dict[str, Tensor]:
    path = run.checkpoint(step) / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TaleError(f"{path} cannot be read: {error.strerror}; {_way_out(run, step)}") from error
    if hashlib.sha256(content).hexdigest() != expected:
        raise TaleError(f"{path} has been altered or cut: its SHA-256 is not the one recorded; {_way_out(run, step)}")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise TaleError(f"{path} cannot be read as safetensors: {error}; {_way_out(run, step)}") from error


def _way_out(run: RunFolder, step: int) -> str:
    earlier = [s for s in whole_steps(run) if s < step]
    if not earlier:
        return "there is no earlier checkpoint that is whole: train again into a new folder"
    return f"to go on from {run.checkpoint(earlier[-1]).name}, write that name into {run.path / 'latest'}"


def _seal(state: dict[str, Any]) -> str:
    """SHA-256 of the state as it is written."""
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
