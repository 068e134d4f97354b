"""The process of a contender that generates: sets itself up, then waits for its turns (`pipe.py`)."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from bench.generators import GENERATORS, Forms
from bench.pipe import Turn, serve
from bench.turns import Request

MEMORY = "memory"
"""The yardstick that is timed in turn with the contenders: how fast this machine reads memory."""
READ_BYTES = 2**28


@dataclass(frozen=True, kw_only=True)
class GenerationRequest(Request):
    """A process that generates: the contender is a name of `GENERATORS`, or `MEMORY`."""

    worker: ClassVar[str] = "bench.generation_worker"
    forms: Forms
    prompts: list[list[int]]
    new_tokens: int
    """Of each prompt."""
    threads: int

    @classmethod
    def from_json(cls, line: str) -> "GenerationRequest":
        """What `to_json` wrote."""
        values = json.loads(line)
        return cls(**{**values, "forms": Forms(**values["forms"])})


def contest(line: str) -> tuple[dict[str, Any], Turn]:
    """What `serve` asks for: the contender, warm, what it generates, and its turn.

    A step of a turn is two generations: of one new token for each prompt, then of all. Both their seconds are given.

    Raises:
        TaleError: something that it needs is missing.
    """
    request = GenerationRequest.from_json(line)
    if request.contender == MEMORY:
        return {"bytes": READ_BYTES}, reading()
    go_on = GENERATORS[request.contender].build(request.forms, len(request.prompts), request.threads)
    told = go_on(request.prompts, request.new_tokens)
    assert [len(tokens) for tokens in told] == [request.new_tokens] * len(request.prompts)

    def turn(steps: int) -> list[float]:
        lengths = (1, request.new_tokens) * steps
        return [seconds(lambda new=new: go_on(request.prompts, new)) for new in lengths]

    return {"tokens": told[0]}, turn


def reading() -> Turn:
    """The sum of numbers that no cache holds; the best of a few."""
    numbers = torch.ones(READ_BYTES // 8, dtype=torch.int64)
    return lambda steps: [min(seconds(numbers.sum) for _ in range(4)) for _ in range(steps)]


def seconds(work: Callable[[], Any]) -> float:
    """How long it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


if __name__ == "__main__":
    serve(contest)
