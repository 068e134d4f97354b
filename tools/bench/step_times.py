"""`bench train` as one function: from a dataset and the names of contenders to a dictionary of results."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.conditions import Conditions, environment
from bench.contenders import CONTENDERS
from bench.machine import machine_facts
from bench.nanogpt import code_digest, nanogpt_folder
from bench.peak import PEAK
from bench.sizes import Size
from bench.speed import as_json, peak_figures, speeds
from bench.turns import chosen, take_turns
from bench.worker import TrainingRequest
from tinytale import __version__
from tinytale.config import DataConfig, TrainConfig
from tinytale.data.shards import Manifest
from tinytale.errors import UsageError
from tinytale.training.estimate import estimate


def chosen_contenders(listed: str | None) -> list[str]:
    """The contenders of a list with commas; all of them without one.

    Raises:
        UsageError: one is unknown or named twice.
    """
    return chosen(listed, CONTENDERS)


def time_steps(
    dataset: Path,
    size: Size,
    size_name: str,
    names: list[str],
    nanogpt: str | None,
    conditions: Conditions,
    progress: Callable[[str], None],
) -> dict[str, Any]:
    """Measure contenders in turn. `progress` is told what comes next, `turns(len(names), conditions)` times.

    Raises:
        UsageError: the dataset's vocabulary is larger than the model's, or nanoGPT's code is needed and not there.
        TaleError: a contender cannot be measured.
    """
    variables = environment(conditions)
    manifest = Manifest.load(dataset)
    if manifest.vocab_size > size.vocab_size:
        raise UsageError(
            f"{dataset} has a vocabulary of {manifest.vocab_size}, size {size_name} one of {size.vocab_size};"
            f" prepare it with --vocab-size {size.vocab_size} or less, or measure a larger size"
        )
    folder = nanogpt_folder(nanogpt) if any(CONTENDERS[name].needs_nanogpt for name in names) else None
    requests = [
        TrainingRequest(
            contender=name,
            size=size,
            dataset=str(dataset),
            nanogpt=str(folder) if folder else None,
            warm_up=conditions.warm_up,
        )
        for name in [*names, PEAK]
    ]
    machine = machine_facts()
    measured = take_turns(requests, variables, conditions.rounds, conditions.steps, progress)
    peak = measured.pop(PEAK)
    config = TrainConfig(model=size.model, data=DataConfig(batch_size=size.batch_size))
    flop = estimate(config, size.vocab_size).flop_per_token
    descriptions = {name: CONTENDERS[name].what for name in names}
    return {
        "tinytale": __version__,
        "machine": machine,
        "nanogpt_model_sha256": code_digest(folder) if folder else None,
        "dataset": manifest.digest,
        "size": {"name": size_name, **asdict(size)},
        **asdict(conditions),
        "flop_per_token": flop,
        "peak": peak_figures(peak),
        "contenders": as_json(speeds(measured, descriptions, size, flop, peak)),
    }


def turns(contenders: int, conditions: Conditions) -> int:
    """How often `time_steps` calls `progress`: for every contender and the peak, at its set-up and in each round."""
    return (contenders + 1) * (1 + conditions.rounds)
