"""Who takes part, and how each is set up: a function that does one training step and returns its loss.

All begin from the same weights, see the same batches, clip the gradient's norm at 1 and, unless said otherwise, train
with AdamW: betas 0.9 and 0.95, rate 1e-3, weight decay 0.1 but for gains and biases. Letters of shapes: B batch, T
positions.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.nanogpt import copy_weights, nanogpt_model, nanogpt_optimiser
from bench.sizes import Size
from tinytale.advice import installation
from tinytale.config import DataConfig, OptimiserConfig, TrainConfig, override
from tinytale.errors import TaleError
from tinytale.hardware import autocast
from tinytale.model.gpt2 import GPT2
from tinytale.recipes import recipe
from tinytale.training.loop import initial_state, train_step

TrainingStep = Callable[[Tensor, Tensor], float]
"""Inputs and targets (B, T) to the loss in nats a token, before the update."""

RATE = 1e-3
CPU = torch.device("cpu")
ADAMW = OptimiserConfig(learning_rate=RATE, schedule="constant", warmup_steps=0)


@dataclass(frozen=True)
class Contender:
    """A program in one set-up."""

    what: str
    """In a few words."""
    build: Callable[[Size, Path | None], TrainingStep]
    """Makes it; the folder is nanoGPT's."""
    needs_nanogpt: bool = False


def nanogpt(size: Size, folder: Path | None, best: bool) -> TrainingStep:
    """nanoGPT's model, optimiser and the inner part of its training loop; `best` adds bfloat16 and torch.compile."""
    assert folder is not None
    model = nanogpt_model(folder, size)
    copy_weights(initial_model(size), model, transposed_too=False)
    optimiser = nanogpt_optimiser(model, RATE)
    forward = torch.compile(model) if best else model
    return peer_step(model, optimiser, lambda inputs, targets: forward(inputs, targets)[1], best)


def transformers(size: Size, _: Path | None, best: bool) -> TrainingStep:
    """GPT2LMHeadModel and its default (SDPA) attention in a plain loop; `best` adds bfloat16, compile, fused AdamW.

    Raises:
        TaleError: transformers is not installed.
    """
    if not importlib.util.find_spec("transformers"):
        raise TaleError(f"transformers is not installed; install it: {installation('peers', 'transformers')}")
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.context_length,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    copy_weights(initial_model(size), model, transposed_too=True)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=best or None)

    def loss(inputs_BT: Tensor, targets_BT: Tensor) -> Tensor:
        logits_BTV = model(input_ids=inputs_BT).logits
        return F.cross_entropy(logits_BTV.float().flatten(0, 1), targets_BT.flatten())

    return peer_step(model, optimiser, torch.compile(loss) if best else loss, best)


def peer_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, loss: Callable[[Tensor, Tensor], Tensor], low: bool
) -> TrainingStep:
    """The step that everyone writes: loss, gradient, clip, update; `low` runs matrix products in bfloat16."""
    model.train()

    def step(inputs_BT: Tensor, targets_BT: Tensor) -> float:
        with autocast(CPU, "bfloat16" if low else "float32"):
            value = loss(inputs_BT, targets_BT)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return value.item()

    return step


def tinytale(size: Size, _: Path | None, optimiser: OptimiserConfig = ADAMW, **run: Any) -> TrainingStep:
    """Our own training step with these settings of the run."""
    begin = TrainConfig(model=size.model, data=DataConfig(batch_size=size.batch_size), optimiser=optimiser)
    plain = {"device": "cpu", "precision": "float32", "kernels": "fused", "compile": False}
    config = override(begin, {"run": {**plain, **run}})
    state = initial_state(config, max_steps=10_000)
    if config.run.compile:  # where training would go on without, a measurement must fail
        state.loss = torch.compile(state.eager_loss, dynamic=False)
    state.model.train()
    return lambda inputs, targets: train_step(state, inputs, targets).loss.item()


def initial_model(size: Size) -> GPT2:
    """The weights that every contender begins from: those of our own run with seed 0."""
    torch.manual_seed(0)
    return GPT2(size.model)


def ladder(what: str, **settings: Any) -> Contender:
    """One of ours."""
    return Contender(f"tinytale, {what}", lambda size, folder: tinytale(size, folder, **settings))


CONTENDERS = {
    "nanogpt": Contender(
        "nanoGPT as it comes on a CPU: float32, eager", lambda *where: nanogpt(*where, best=False), True
    ),
    "nanogpt-best": Contender("nanoGPT + bfloat16 + compile", lambda *where: nanogpt(*where, best=True), True),
    "transformers": Contender("transformers, float32, eager", lambda *where: transformers(*where, best=False)),
    "transformers-best": Contender(
        "transformers + bfloat16 + compile + fused AdamW", lambda *where: transformers(*where, best=True)
    ),
    "tinytale-float32": ladder("float32, eager"),
    "tinytale-bfloat16": ladder("+ bfloat16", precision="bfloat16"),
    "tinytale-compile": ladder("+ compile", precision="bfloat16", compile=True),
    "tinytale-native": ladder("+ native attention", precision="bfloat16", compile=True, kernels="native"),
    "tinytale": ladder(
        "+ Muon: the default recipe",
        precision="bfloat16",
        compile=True,
        kernels="native",
        optimiser=recipe("small").optimiser,
    ),
}
"""By the names that a person types; those of ours climb a ladder, one change a rung."""
