"""Which optimiser moves which weights; their rates, their state as named tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tinytale.config import OptimiserConfig
from tinytale.errors import UsageError
from tinytale.model.gpt2 import GPT2
from tinytale.training.muon import Muon

KINDS: dict[type, tuple[str, ...]] = {Muon: ("momentum",), torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq")}
"""What each keeps of every parameter: averages of its shape, and a count of steps."""

AVERAGE = "average"
"""What the moving average of a weight is called among the optimiser's state."""


SHORTEST_DECAY = 10
"""Steps: weights that forget faster learn nothing."""


def decay_of(rate: float, fixed: float, config: OptimiserConfig, steps_per_epoch: int) -> float:
    r"""The decoupled weight decay of weights that have a peak rate: `fixed`, or what `decay_epochs` makes of the rate.

    With rate $\eta$ and decay $\lambda$ the weights are a moving average of their updates over $1/(\eta\lambda)$ steps.
    That time, in epochs $\tau$, fits texts and models of many sizes (Wang & Aitchison, 2025, arXiv 2405.13698), so
    $\lambda = 1/(\eta \tau S)$ with $S$ steps an epoch.

    Raises:
        UsageError: the time is shorter than `SHORTEST_DECAY` steps.
    """
    if config.decay_epochs is None:
        return fixed
    steps = config.decay_epochs * steps_per_epoch
    if steps < SHORTEST_DECAY:
        raise UsageError(
            f"OptimiserConfig.decay_epochs is {config.decay_epochs}, which is {steps:.3g} steps of this dataset, and"
            f" weights that forget in fewer than {SHORTEST_DECAY} steps learn nothing; raise it to at least"
            f" {SHORTEST_DECAY / steps_per_epoch:.2g}, or make the batches smaller"
        )
    return 1 / (rate * steps)


def average_decay_of(config: OptimiserConfig, steps_per_epoch: int) -> float:
    r"""The decay rate of the weights' moving average: as given, or $1 - 1/(\tau S)$, and at least 0."""
    if config.average_epochs is None:
        return config.average_decay
    return max(0.0, 1 - 1 / (config.average_epochs * steps_per_epoch))


def adamw_groups(
    parameters: dict[str, nn.Parameter], config: OptimiserConfig, steps_per_epoch: int = 1
) -> list[dict[str, Any]]:
    """Matrices and embeddings decay; gains and biases, which have one dimension, do not. Embeddings have their rate."""
    embeddings = {name: p for name, p in parameters.items() if name.startswith(("embedding.", "positions."))}
    matrices = [p for name, p in parameters.items() if p.dim() >= 2 and name not in embeddings]
    vectors = [p for p in parameters.values() if p.dim() < 2]
    rate = config.learning_rate
    embedding_rate = config.embedding_learning_rate or rate

    def decay(rate: float) -> float:
        return decay_of(rate, config.weight_decay, config, steps_per_epoch)

    groups = [
        {"params": list(embeddings.values()), "lr": embedding_rate, "weight_decay": decay(embedding_rate)},
        {"params": matrices, "lr": rate, "weight_decay": decay(rate)},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Optimiser:
    """AdamW (Loshchilov & Hutter, 2019) for all weights; or Muon for the blocks' matrices and AdamW for the rest.

    One object whatever the algorithm: set the rate, step, and give or take the state as a flat dictionary of tensors.

    With `average_decay` it also keeps a moving average of the weights from the first step on (Polyak & Juditsky, 1992).
    Times that the config gives in epochs become steps by `steps_per_epoch`.

    Raises:
        UsageError: see `decay_of`.
    """

    def __init__(self, model: GPT2, config: OptimiserConfig, steps_per_epoch: int = 1):
        rest = dict(model.named_parameters())
        self.names: dict[Tensor, str] = {parameter: name for name, parameter in rest.items()}
        self.parts: list[torch.optim.Optimizer] = []
        if config.algorithm == "muon":
            matrices = {name: p for name, p in rest.items() if name.startswith("blocks.") and p.dim() == 2}
            rest = {name: p for name, p in rest.items() if name not in matrices}
            packed = [p for name, p in matrices.items() if "qkv" in name]
            single = [p for name, p in matrices.items() if "qkv" not in name]
            groups = [{"params": packed, "parts": 3}, {"params": single, "parts": 1}]
            rate = config.matrix_learning_rate
            decay = decay_of(rate, config.matrix_weight_decay, config, steps_per_epoch)
            self.parts.append(Muon(groups, rate, config.matrix_momentum, decay))
        self.parts.append(
            torch.optim.AdamW(
                adamw_groups(rest, config, steps_per_epoch),
                betas=config.betas,
                eps=config.epsilon,
                fused=True,
            )
        )
        self.average_decay = average_decay_of(config, steps_per_epoch)
        self.average: dict[str, Tensor] = {}
        self.peaks = [[group["lr"] for group in part.param_groups] for part in self.parts]

    def set_rate(self, fraction: float) -> None:
        """Set every learning rate to a fraction of its peak."""
        for part, peaks in zip(self.parts, self.peaks, strict=True):
            for group, peak in zip(part.param_groups, peaks, strict=True):
                group["lr"] = fraction * peak

    def step(self) -> None:
        """Move the weights by their gradients."""
        for part in self.parts:
            part.step()
        if self.average_decay:
            self._follow()

    @torch.no_grad()
    def _follow(self) -> None:
        if not self.average:
            self.average = {name: parameter.detach().clone() for parameter, name in self.names.items()}
        for parameter, name in self.names.items():
            self.average[name].lerp_(parameter, 1 - self.average_decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model has the averaged weights, if an average is kept; afterwards its own again, to the bit."""
        if not self.average:
            yield
            return
        own = {parameter: parameter.detach().clone() for parameter in self.names}
        with torch.no_grad():
            for parameter, name in self.names.items():
                parameter.copy_(self.average[name])
            try:
                yield
            finally:
                for parameter, values in own.items():
                    parameter.copy_(values)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def state(self) -> dict[str, Tensor]:
        """The moving averages and counters, by `PARAMETER/KIND`."""
        moments = {
            f"{self.names[parameter]}/{kind}": value
            for part in self.parts
            for parameter, values in part.state.items()
            for kind, value in values.items()
        }
        return moments | {f"{name}/{AVERAGE}": value for name, value in self.average.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave, and nothing else; an empty dictionary is the state before the first step.

        Raises:
            ValueError: it is not the state of such an optimiser of this model.
        """
        places = {
            f"{self.names[parameter]}/{kind}": (part, parameter, kind)
            for part in self.parts
            for group in part.param_groups
            for parameter in group["params"]
            for kind in KINDS[type(part)]
        }
        averages = {f"{name}/{AVERAGE}": p for p, name in self.names.items()} if self.average_decay else {}
        expected = places.keys() | averages.keys()
        if tensors and tensors.keys() != expected:
            raise ValueError(f"{min(tensors.keys() ^ expected)} is missing, or one too many")
        for key, value in tensors.items():
            _, parameter, kind = places.get(key) or (None, averages[key], AVERAGE)
            if value.shape != (() if kind == "step" else parameter.shape) or value.dtype != torch.float32:
                raise ValueError(f"{key} has shape {tuple(value.shape)} and type {value.dtype}")
        for part in self.parts:
            part.state.clear()
        self.average = {self.names[p]: tensors[key].to(p.device) for key, p in averages.items() if key in tensors}
        for key, (part, parameter, kind) in places.items():
            if key in tensors:
                part.state[parameter][kind] = tensors[key].to(parameter.device)
