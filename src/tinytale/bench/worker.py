"""The process of one contender: sets itself up, then waits on its standard input for its turns.

It reads and answers one JSON object a line. First comes a `Request`, answered when everything is warm; then
`{"steps": K}`, answered with the seconds of each of K steps; at the end of the input it says how much memory it had.
An answer `{"refused": reason}` is its last.
"""

import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tinytale.bench.contenders import CONTENDERS, TrainingStep
from tinytale.bench.peak import PEAK, matrix_products
from tinytale.bench.sizes import Size
from tinytale.data.batches import Batches
from tinytale.data.shards import Manifest
from tinytale.errors import TaleError
from tinytale.native.attention import describe
from tinytale.resources import process_peak_memory

BATCHES = 8
"""Different batches that the steps take in turn."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a process is to become."""

    contender: str
    """A name of `CONTENDERS`, or `PEAK`."""
    size: Size
    dataset: str
    nanogpt: str | None
    """Folder of its code."""
    warm_up: int
    """Steps before the first turn."""

    def to_json(self) -> str:
        """In one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> "Request":
        """What `to_json` wrote."""
        values = json.loads(line)
        return cls(**{**values, "size": Size(**values["size"])})


def set_up(request: Request) -> tuple[TrainingStep, dict[str, Any]]:
    """The contender's step, and what there is to say about it.

    Raises:
        TaleError: something that it needs is missing.
    """
    if request.contender == PEAK:
        return matrix_products()
    folder = Path(request.nanogpt) if request.nanogpt else None
    return CONTENDERS[request.contender].build(request.size, folder), {}


def training_batches(request: Request) -> list[tuple[Tensor, Tensor]]:
    """The first batches of the train split: inputs and targets (B, T)."""
    folder, size = Path(request.dataset), request.size
    batches = Batches(Manifest.load(folder), folder, size.context_length, size.batch_size, seed=0)
    pairs = (batches.batch_at(step) for step in range(BATCHES))
    return [
        (torch.from_numpy(inputs).contiguous(), torch.from_numpy(targets).contiguous()) for inputs, targets in pairs
    ]


def main() -> None:
    """Serve one parent until it closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a contender prints is no answer

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    request = Request.from_json(sys.stdin.readline())
    begun, done, loss = time.perf_counter(), 0, 0.0
    try:
        step, facts = set_up(request)
        batches = training_batches(request)
        for done in range(request.warm_up):
            loss = step(*batches[done % BATCHES])
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or ["no reason given"]
        answer({"refused": lines[0] if isinstance(error, TaleError) else f"{type(error).__name__}: {lines[0]}"})
        return
    versions = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    if "transformers" in sys.modules:
        versions["transformers"] = sys.modules["transformers"].__version__
    facts = {**facts, "versions": versions, "threads": torch.get_num_threads(), "our_attention": describe()}
    answer({"loss": loss, "set_up_seconds": time.perf_counter() - begun, "facts": facts})
    for line in sys.stdin:
        seconds = []
        for _ in range(json.loads(line)["steps"]):
            done += 1
            begun = time.perf_counter()
            step(*batches[done % BATCHES])
            seconds.append(time.perf_counter() - begun)
        answer({"seconds": seconds})
    answer({"peak_memory": process_peak_memory()})


if __name__ == "__main__":
    main()
