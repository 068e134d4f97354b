"""What a training run will need, before it starts."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from tinytale.config import ModelConfig, TrainConfig
from tinytale.errors import UsageError
from tinytale.hardware import total_memory
from tinytale.model.gpt2 import GPT2
from tinytale.resources import GIBIBYTE

COMPILING_PAYS = {"cpu": 3e13, "cuda": 1e16}
"""FLOP of a whole run from which torch.compile saves more time than it takes, by kind of device."""


def compiling_pays(config: TrainConfig, max_steps: int, device: str, teacher: ModelConfig | None = None) -> bool:
    """Whether to compile a run of `max_steps` in all when its settings leave that open.

    A run decides when it begins, and its `config.toml` keeps that: resumed, longer too, it goes on as it was.
    """
    flop = estimate(config, config.model.vocab_size, teacher).flop_per_token * config.tokens_per_step * max_steps
    return flop >= COMPILING_PAYS.get(device, float("inf"))


FAR_TOO_MUCH = 1.5
"""A run that is estimated to need so many times the memory that there is does not fit, however rough the estimate."""


def refuse_beyond_memory(
    config: TrainConfig, device: torch.device, processes: int = 1, teacher: ModelConfig | None = None
) -> None:
    """See that a run has a chance to fit into memory, before it takes any.

    Raises:
        UsageError: it has none.
    """
    rows = -(-config.data.batch_size // processes)
    micro = config.data.micro_batch_size or rows
    share = replace(config, data=replace(config.data, batch_size=rows, micro_batch_size=min(micro, rows)))
    tokens = 4 * 8 * rows * config.sequence_length  # inputs and targets as they are read, and put together
    need, there = estimate(share, config.model.vocab_size, teacher).memory_bytes + tokens, total_memory(device)
    if need > FAR_TOO_MUCH * there:
        raise UsageError(
            f"this run would need about {need / GIBIBYTE:,.0f} GiB of memory, and {device.type} has"
            f" {there / GIBIBYTE:,.1f} GiB: batches of {rows:,} sequences, {share.data.micro_batch_size:,} at once;"
            " lower --data.batch-size or --data.micro-batch-size, or take a smaller model"
        )


@dataclass(frozen=True)
class Estimate:
    """Sizes of a run."""

    parameters: int
    """Learned numbers."""
    flop_per_token: int
    """Floating-point operations to learn from one token."""
    memory_bytes: int
    """Memory of weights, gradients, optimiser, teacher and one micro-batch's activations."""


def estimate(config: TrainConfig, vocab_size: int, teacher: ModelConfig | None = None) -> Estimate:
    r"""Count without computing anything.

    FLOP a token, forward and backward: $6N + 6LTC$ (Kaplan et al., 2020, section 2.1, with causal attention), N without
    the position embedding. Memory: 16 bytes a weight (itself, its gradient, AdamW's two averages, all float32); $34 C$
    bytes a token and layer for activations in half precision (Korthikanti et al., 2022, equation 2, attention scores
    not stored), twice that in float32; and the logits three times in float32.

    A teacher of that shape adds its forward pass, $2N + 2LTC$, 4 bytes a weight, and its logits three times.
    """
    model = replace(config.model, vocab_size=vocab_size)
    parameters = _parameters(model)
    tokens = (config.data.micro_batch_size or config.data.batch_size) * config.sequence_length
    activation = 34 * model.width * model.layers * (2 if config.run.precision == "float32" else 1)
    flop = 3 * _forward_flop(model, config.sequence_length)
    memory = 16 * parameters + tokens * (activation + 12 * vocab_size)
    if teacher:
        flop += _forward_flop(teacher, config.sequence_length)
        memory += 4 * _parameters(teacher) + tokens * 12 * vocab_size
    return Estimate(parameters, flop, memory)


def _parameters(model: ModelConfig) -> int:
    with torch.device("meta"):
        return GPT2(model).parameter_count()


def _forward_flop(model: ModelConfig, length: int) -> int:
    """A token's, in a text of `length` tokens."""
    return 2 * (_parameters(model) - model.context_length * model.width + model.layers * length * model.width)


def evaluations(config: TrainConfig, first: int, last: int) -> int:
    """How often the dev split is scored after step `first`, up to `last`: at fixed distances, and after the last."""
    return len(_between_evaluations(config, first, last))


def checkpoints(config: TrainConfig, first: int, last: int, step_seconds: float) -> int:
    """How many checkpoints are written after step `first`, up to `last`: at every evaluation, and in between when it is
    time again.
    """
    apart = max(1, math.ceil(config.run.checkpoint_seconds / step_seconds))
    return sum(1 + (steps - 1) // apart for steps in _between_evaluations(config, first, last))


def _between_evaluations(config: TrainConfig, first: int, last: int) -> list[int]:
    """The steps up to each evaluation from the one before."""
    every = config.run.evaluate_every
    marks = [first, *range((first // every + 1) * every, last, every), last] if last > first else [first]
    return [later - earlier for earlier, later in pairwise(marks)]
