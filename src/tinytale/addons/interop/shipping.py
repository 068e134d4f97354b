"""A run folder fit to ship: without checkpoints, in a chosen number format, free of the paths of whoever trained it."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PureWindowsPath

import torch

from tinytale.config import TrainConfig
from tinytale.errors import TaleError, UsageError
from tinytale.evaluation.results import read_results
from tinytale.evaluation.story_scores import story_scores_file
from tinytale.files import PARTIAL, read_json, sha256_of, sync_folder, write_bytes, write_json, write_text
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import CARD, RunFolder
from tinytale.training.history import copy_record


def ship(
    run: RunFolder,
    out: Path,
    model: GPT2,
    end_of_text: int,
    dtype: torch.dtype,
    card: Callable[[RunFolder], str],
) -> list[str]:
    """Write the run into `out`, whole or not at all; an earlier shipped run there is replaced.

    Args:
        run: a run folder with a model.
        out: the new folder.
        model: the weights of the run.
        end_of_text: id of the token that begins and ends every story.
        dtype: number format of the shipped weights.
        card: from the folder as it will be shipped to the text of its model card.

    Returns the names of results that were left out, since they are of other weights than these.

    Raises:
        UsageError: `out` holds something else.
        TaleError: a file of the run is damaged, or the disk refuses.
    """
    check_place(out)
    partial, replaced = _beside(out, PARTIAL), _beside(out, f".replaced{PARTIAL}")
    try:
        if replaced.exists() and not out.exists():
            replaced.rename(out)
        for leftover in (partial, replaced):
            if leftover.exists():
                shutil.rmtree(leftover)
        shipped = RunFolder(partial)
        save_model(shipped.model, model, end_of_text, (run.model / "tokenizer.json").read_bytes(), dtype)
        write_text(shipped.config, _without_paths(run.read_config()).to_toml())
        if run.metrics.is_file():
            write_bytes(shipped.metrics, run.metrics.read_bytes())
        if run.course_samples.is_file():
            write_bytes(shipped.course_samples, run.course_samples.read_bytes())
        copy_record(run.before, shipped.before, _without_paths)
        left_out = _copy_results(run, shipped)
        write_text(shipped.model / CARD, card(shipped))
        _move(partial, out, replaced)
    except OSError as error:
        raise TaleError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return left_out


def check_place(out: Path) -> None:
    """Whether `out` is free, or holds an earlier shipped run and nothing else.

    Raises:
        UsageError: it holds something else.
    """
    if not out.name:
        raise UsageError(f"--out is {str(out)!r}; name a new folder")
    if out.is_dir() and (not any(out.iterdir()) or _is_shipped_run(out)):
        return
    if out.exists():
        raise UsageError(f"{out} exists and is not an exported run; name another folder with --out")


def name_only(data: str) -> str:
    """The name of a dataset or file of stories, without the path where it lay; one of the Hub in full."""
    return data if data.startswith("hub:") else PureWindowsPath(data).name


def _move(partial: Path, out: Path, replaced: Path) -> None:
    """Put the finished folder in its place; what was there before stays until it is."""
    if out.exists():
        out.rename(replaced)
    try:
        partial.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise
    sync_folder(out.parent)
    if replaced.exists():
        shutil.rmtree(replaced)


def _is_shipped_run(folder: Path) -> bool:
    run = RunFolder(folder)
    known = {run.config, run.metrics, run.model, run.evaluation, run.samples, run.course_samples, run.before.path}
    return set(folder.iterdir()) <= known and (run.model / CARD).is_file()


def _beside(folder: Path, suffix: str) -> Path:
    return folder.with_name(folder.name + suffix)


def _without_paths(config: TrainConfig) -> TrainConfig:
    run = config.run
    return replace(
        config,
        data=replace(config.data, folder=name_only(config.data.folder)),
        run=replace(run, start_from=name_only(run.start_from), teacher=name_only(run.teacher)),
    )


def _copy_results(run: RunFolder, shipped: RunFolder) -> list[str]:
    """Copy what was measured on the run's present weights; name what was measured on others."""
    weights = sha256_of(run.model / "model.safetensors")
    left_out = []
    for path in sorted(run.evaluation.glob("*.json")):
        results = read_results(path)
        kept = {split: result for split, result in results.items() if result.get("weights") == weights}
        left_out += [f"{path.name} ({split})" for split in results if split not in kept]
        if kept:
            for result in kept.values():
                result["data"] = name_only(str(result.get("data", "")))
            write_json(shipped.evaluation / path.name, kept)
            for split in kept:
                if (scores := story_scores_file(path, split)).is_file():
                    write_bytes(shipped.evaluation / scores.name, scores.read_bytes())
    if run.samples.is_file():
        samples = read_json(run.samples)
        if isinstance(samples, dict) and samples.get("weights") == weights:
            write_json(shipped.samples, samples)
        else:
            left_out.append(run.samples.name)
    return left_out
