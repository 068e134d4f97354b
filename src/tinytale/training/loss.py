"""Cross-entropy of the next token, and the divergence from a teacher: sums first, divided once.

Letters of shapes: B batch, T positions, N all positions of a batch, V vocabulary.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


def token_nats(logits_BTV: Float[Tensor, "B T V"], targets_BT: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    r"""How surprising each token was, in nats: $-\ln \mathrm{softmax}(z_t)[x_{t+1}]$, in at least float32."""
    logits_NV = _at_least_float32(logits_BTV).flatten(0, 1)
    return F.cross_entropy(logits_NV, targets_BT.flatten(), reduction="none").view_as(targets_BT)


def summed_loss(model: torch.nn.Module, inputs_BT: Int[Tensor, "B T"], targets_BT: Int[Tensor, "B T"]) -> Tensor:
    """The loss of a batch in nats, summed over its tokens: whoever averages divides once, by all tokens of the step."""
    logits_NV = _at_least_float32(model(inputs_BT)).flatten(0, 1)
    return F.cross_entropy(logits_NV, targets_BT.flatten(), reduction="sum")


class StepLoss(NamedTuple):
    """The loss of a batch, summed over its tokens: what training minimises, and what it writes down."""

    objective: Tensor
    """What is differentiated."""
    nats: Tensor
    """The cross-entropy in nats: the same measure with a teacher and without, so that curves can be compared."""


Loss = Callable[[torch.nn.Module, Tensor, Tensor], StepLoss]
"""Of a model, inputs (B, T) and targets (B, T)."""


def plain_loss(model: torch.nn.Module, inputs_BT: Int[Tensor, "B T"], targets_BT: Int[Tensor, "B T"]) -> StepLoss:
    """Without a teacher the cross-entropy is both."""
    nats = summed_loss(model, inputs_BT, targets_BT)
    return StepLoss(nats, nats)


@dataclass(frozen=True)
class DistilledLoss:
    r"""With a teacher, whose predictions $q$ the model's own, $p$, shall follow as well as the text.

    Hinton et al., 2015 (arXiv 1503.02531), section 2, at temperature 1; summed over the tokens $n$ of a batch:

    $$(1 - w) \sum_n -\ln p_n[x_{n+1}] + w \sum_n \sum_v q_n[v] \ln \frac{q_n[v]}{p_n[v]}$$
    """

    teacher: torch.nn.Module
    """In evaluation mode; no gradient reaches it."""
    weight: float
    """$w$, the teacher's share."""

    def __call__(
        self, model: torch.nn.Module, inputs_BT: Int[Tensor, "B T"], targets_BT: Int[Tensor, "B T"]
    ) -> StepLoss:
        """The loss of a batch."""
        with torch.no_grad():
            teacher_NV = _at_least_float32(self.teacher(inputs_BT)).flatten(0, 1).log_softmax(-1)
        model_NV = _at_least_float32(model(inputs_BT)).flatten(0, 1).log_softmax(-1)
        nats = F.nll_loss(model_NV, targets_BT.flatten(), reduction="sum")
        divergence = F.kl_div(model_NV, teacher_NV, reduction="sum", log_target=True)
        return StepLoss((1 - self.weight) * nats + self.weight * divergence, nats)


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class WindowLoss(NamedTuple):
    """The loss over some windows of a token stream."""

    nats: float
    tokens: int

    @property
    def per_token(self) -> float:
        """Nats a token."""
        return self.nats / self.tokens


def windows(
    tokens_N: np.ndarray, context_length: int, batch_size: int
) -> Iterable[tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]]:
    """Inputs and targets over contiguous windows of a stream: every token but the first is a target exactly once.

    The last window may be shorter, and comes alone.
    """
    count = (len(tokens_N) - 1) // context_length
    for first in range(0, count, batch_size):
        rows = min(batch_size, count - first)
        start = first * context_length
        block = torch.from_numpy(np.asarray(tokens_N[start : start + rows * context_length + 1], dtype=np.int64))
        yield block[:-1].view(rows, context_length), block[1:].view(rows, context_length)
    rest = torch.from_numpy(np.asarray(tokens_N[count * context_length :], dtype=np.int64))
    if len(rest) > 1:
        yield rest[None, :-1], rest[None, 1:]
