"""Muon: momentum whose update is made orthogonal, for the matrices inside the blocks."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.hardware import multiplies_bfloat16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration (Jordan et al., 2024): steep at 0, and near 1 it stays near 1."""


def orthogonalise(matrices_NRC: Float[Tensor, "N R C"], steps: int = 5) -> Float[Tensor, "N R C"]:
    r"""For each matrix $U\Sigma V^\top$, roughly $UV^\top$: every direction gets about the same length.

    Newton-Schulz iteration (Jordan et al., 2024): $X \leftarrow aX + (bA + cA^2)X$ with $A = XX^\top$, from $X$ scaled
    to norm 1. It works in the number format that it is given; bfloat16 is enough.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices_NRC.shape[-2] > matrices_NRC.shape[-1]
    x = matrices_NRC.mT if tall else matrices_NRC
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    r"""Momentum orthogonalised by Newton-Schulz (Jordan et al., 2024), with Nesterov's look-ahead:

    $$m \leftarrow \beta m + (1 - \beta) g, \qquad u = \mathrm{orthogonalise}(\beta m + (1 - \beta) g), \qquad
    w \leftarrow (1 - \eta \lambda) w - \eta \sqrt{\max(1, R/C)}\; u$$

    A parameter group's `parts` says into how many matrices each of its parameters (R x C) falls by rows: 3 for a packed
    query-key-value matrix. Equal shapes are orthogonalised as one stack.
    """

    def __init__(
        self, groups: Iterable[dict[str, Any]], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.0
    ):
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": 1}
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Move every weight that has a gradient."""
        stacks = defaultdict(list)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
                momentum = self.state[parameter]["momentum"]
                if group["weight_decay"]:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(momentum, group["momentum"])
                for weight, update in zip(parameter.chunk(group["parts"]), ahead.chunk(group["parts"]), strict=True):
                    stacks[weight.shape, group["lr"]].append((weight, update))
        for (shape, rate), pairs in stacks.items():
            full = pairs[0][1].dtype
            low = torch.bfloat16 if multiplies_bfloat16(pairs[0][1].device) else full
            directions = orthogonalise(torch.stack([update.to(low) for _, update in pairs])).to(full)
            scale = rate * max(1, shape[0] / shape[1]) ** 0.5
            for (weight, _), direction in zip(pairs, directions, strict=True):
                weight.add_(direction, alpha=-scale)
