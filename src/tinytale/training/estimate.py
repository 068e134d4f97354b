"""What a training run will need, before it starts."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from tinytale.config import TrainConfig
from tinytale.model.gpt2 import GPT2

COMPILING_PAYS = {"cpu": 3e13, "cuda": 1e16}
"""FLOP of a whole run from which torch.compile saves more time than it takes, by kind of device."""


def compiling_pays(config: TrainConfig, max_steps: int, device: str) -> bool:
    """Whether to compile a run of `max_steps` in all when its settings leave that open.

    A run decides when it begins, and its `config.toml` keeps that: resumed, longer too, it goes on as it was.
    """
    flop = estimate(config, config.model.vocab_size).flop_per_token * config.tokens_per_step * max_steps
    return flop >= COMPILING_PAYS.get(device, float("inf"))


@dataclass(frozen=True)
class Estimate:
    """Sizes of a run."""

    parameters: int
    """Learned numbers."""
    flop_per_token: int
    """Floating-point operations to learn from one token."""
    memory_bytes: int
    """Memory of weights, gradients, optimiser and one micro-batch's activations."""


def estimate(config: TrainConfig, vocab_size: int) -> Estimate:
    r"""Count without computing anything.

    FLOP a token, forward and backward: $6N + 6LTC$ (Kaplan et al., 2020, section 2.1, with causal attention), N without
    the position embedding. Memory: 16 bytes a weight (itself, its gradient, AdamW's two averages, all float32); $34 C$
    bytes a token and layer for activations in half precision (Korthikanti et al., 2022, equation 2, attention scores
    not stored), twice that in float32; and the logits three times in float32.
    """
    model = replace(config.model, vocab_size=vocab_size)
    with torch.device("meta"):
        parameters = GPT2(model).parameter_count()
    tokens = (config.data.micro_batch_size or config.data.batch_size) * config.sequence_length
    activation = 34 * model.width * model.layers * (2 if config.run.precision == "float32" else 1)
    flop = (
        6 * (parameters - model.context_length * model.width) + 6 * model.layers * config.sequence_length * model.width
    )
    return Estimate(parameters, flop, 16 * parameters + tokens * (activation + 12 * vocab_size))


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
