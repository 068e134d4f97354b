"""Samplers: small pure functions from logits to logits, composed; and the draw at the end.

Letters of shapes: V vocabulary.
"""

import math
from collections.abc import Callable, Collection, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.errors import UsageError

Sampler = Callable[[Float[Tensor, " V"]], Float[Tensor, " V"]]
"""From logits to logits."""
Randoms = Iterator[float]
"""Random numbers from 0 to 1, without 1: each draw takes one."""
Penalty = Callable[[Float[Tensor, " V"], Collection[int]], Float[Tensor, " V"]]
"""From logits, and the different tokens of the text so far, each once, to logits."""


def repetition_penalty(value: float) -> Penalty:
    """Make the tokens of the text so far less likely (Keskar et al., 2019, section 4.1).

    Their logits are divided by `value` where they are positive, and multiplied by it where they are negative, which the
    paper leaves open; below 1, repetition is encouraged. The end of text that opens a text is one of its tokens.
    """
    if not 0.01 <= value <= 100:
        raise UsageError(f"repetition-penalty is {value}; expected a number from 0.01 to 100 (1 changes nothing)")

    def penalise(logits_V: Tensor, tokens: Collection[int]) -> Tensor:
        seen = torch.tensor(list(tokens), dtype=torch.int64)
        theirs = logits_V[seen]
        return logits_V.index_copy(0, seen, torch.where(theirs > 0, theirs / value, theirs * value))

    return penalise


def temperature(value: float) -> Sampler:
    r"""Divide the logits by `value`: below 1 the likely tokens gain, above 1 the unlikely ones."""
    if not 0 < value < math.inf:
        raise UsageError(f"temperature is {value}; expected a number above 0 (for the most likely token, use greedy)")
    divisor = max(value, 1e-30)  # a normal float32: 0 / 0 cannot come of it
    return lambda logits_V: (logits_V - logits_V.max()) / divisor  # from the highest logit down: nothing overflows


def top_k(count: int) -> Sampler:
    """Keep the `count` most likely tokens (Fan et al., 2018), and any that tie with the last of them."""
    if count < 1:
        raise UsageError(f"top-k is {count}; expected at least 1 token")

    def keep(logits_V: Tensor) -> Tensor:
        least = logits_V.topk(min(count, logits_V.shape[-1])).values[-1]
        return logits_V.masked_fill(logits_V < least, -math.inf)

    return keep


def top_p(mass: float) -> Sampler:
    """Keep the smallest set of most likely tokens whose probabilities reach `mass` (Holtzman et al., 2020)."""
    if not 0 < mass <= 1:
        raise UsageError(f"top-p is {mass}; expected a probability above 0 and at most 1")
    if mass == 1:
        return lambda logits_V: logits_V  # rounding must not cut off the least likely

    def keep(logits_V: Tensor) -> Tensor:
        sorted_V, order_V = logits_V.double().sort(descending=True)
        probabilities = sorted_V.softmax(dim=-1)
        reached_before = probabilities.cumsum(dim=-1) - probabilities >= mass
        return logits_V.masked_fill(torch.zeros_like(reached_before).scatter(0, order_V, reached_before), -math.inf)

    return keep


def min_p(share: float) -> Sampler:
    """Keep the tokens that have at least `share` of the probability of the most likely one (Nguyen et al., 2024)."""
    if not 0 <= share <= 1:
        raise UsageError(f"min-p is {share}; expected a share of at least 0 (which keeps all) and at most 1")
    if share == 0:
        return lambda logits_V: logits_V
    return lambda logits_V: logits_V.masked_fill(
        logits_V.double() < logits_V.max().double() + math.log(share), -math.inf
    )


def compose(*samplers: Sampler) -> Sampler:
    """Apply samplers one after another, the first first."""

    def composed(logits_V: Tensor) -> Tensor:
        for sampler in samplers:
            logits_V = sampler(logits_V)
        return logits_V

    return composed


def draw(logits_V: Float[Tensor, " V"], randoms: Randoms) -> int:
    """One token, each with the probability that the softmax of its logit gives it.

    It is the first token up to which the probabilities add up to more than a random number.
    """
    up_to_V = logits_V.softmax(dim=-1).cumsum(dim=-1, dtype=torch.float64)
    number = up_to_V[-1] * next(randoms)
    return int(torch.searchsorted(up_to_V, number, right=True))


def most_likely(logits_V: Float[Tensor, " V"], randoms: Randoms | None = None) -> int:
    """The token with the highest logit: greedy decoding."""
    return int(logits_V.numpy(force=True).argmax())  # a third of the time of torch's own
