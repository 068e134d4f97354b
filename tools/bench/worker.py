"""The process of a contender that trains: sets itself up, then waits for its turns (`pipe.py`)."""

import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from bench.contenders import CONTENDERS, TrainingStep
from bench.peak import PEAK, matrix_products
from bench.pipe import Turn, serve
from bench.sizes import Size
from bench.turns import Request
from tinytale.data.batches import Batches
from tinytale.data.shards import Manifest
from tinytale.model.native_attention import describe

BATCHES = 8
"""Different batches that the steps take in turn."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest(Request):
    """A process that trains: the contender is a name of `CONTENDERS`, or `PEAK`."""

    worker: ClassVar[str] = "bench.worker"
    size: Size
    dataset: str
    nanogpt: str | None
    """Folder of its code."""
    warm_up: int
    """Steps before the first turn."""

    @classmethod
    def from_json(cls, line: str) -> "TrainingRequest":
        """What `to_json` wrote."""
        values = json.loads(line)
        return cls(**{**values, "size": Size(**values["size"])})


def set_up(request: TrainingRequest) -> tuple[TrainingStep, dict[str, Any]]:
    """The contender's step, and what there is to say about it.

    Raises:
        TaleError: something that it needs is missing.
    """
    if request.contender == PEAK:
        return matrix_products()
    folder = Path(request.nanogpt) if request.nanogpt else None
    return CONTENDERS[request.contender].build(request.size, folder), {}


def training_batches(request: TrainingRequest) -> list[tuple[Tensor, Tensor]]:
    """The first batches of the train split: inputs and targets (B, T)."""
    folder, size = Path(request.dataset), request.size
    batches = Batches(Manifest.load(folder), folder, size.context_length, size.batch_size, seed=0)
    pairs = (batches.batch_at(step) for step in range(BATCHES))
    return [
        (torch.from_numpy(inputs).contiguous(), torch.from_numpy(targets).contiguous()) for inputs, targets in pairs
    ]


def contest(line: str) -> tuple[dict[str, Any], Turn]:
    """What `serve` asks for: the contender after its warm-up, and its turn of some training steps.

    Raises:
        TaleError: something that it needs is missing.
    """
    request = TrainingRequest.from_json(line)
    step, facts = set_up(request)
    numbered = itertools.cycle(training_batches(request))
    loss = [step(*next(numbered)) for _ in range(request.warm_up)][-1]

    def turn(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            inputs, targets = next(numbered)
            begun = time.perf_counter()
            step(inputs, targets)
            seconds.append(time.perf_counter() - begun)
        return seconds

    return {**facts, "loss": loss, "our_attention": describe()}, turn


if __name__ == "__main__":
    serve(contest)
