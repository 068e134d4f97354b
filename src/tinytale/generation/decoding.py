"""Decoding one text, token by token, with a KV cache."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tinytale.errors import TaleError
from tinytale.generation.sampling import Sampler, compose, draw, most_likely, temperature, top_k, top_p
from tinytale.model.cache import KVCache
from tinytale.model.gpt2 import GPT2

Choice = Callable[[Tensor, torch.Generator], int]
"""From the logits of the next token to the token."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next token is chosen."""

    greedy: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def choice(self) -> Choice:
        """The chooser: the most likely token, or a draw after temperature, then top-k, then top-p.

        Raises:
            UsageError: a setting out of its range.
        """
        if self.greedy:
            return most_likely
        samplers: list[Sampler] = [temperature(self.temperature)]
        if self.top_k is not None:
            samplers.append(top_k(self.top_k))
        if self.top_p is not None:
            samplers.append(top_p(self.top_p))
        shape = compose(*samplers)
        return lambda logits_V, generator: draw(shape(logits_V), generator)


def sample_seed(seed: int, sample: int) -> torch.Generator:
    """The random numbers of one sample, on the CPU: the same whatever else is generated, on whatever device."""
    return torch.Generator().manual_seed((seed * 1_000_003 + sample) % 2**63)


@torch.inference_mode()
def generate(
    model: GPT2,
    prompt: Sequence[int],
    choose: Choice,
    generator: torch.Generator,
    max_new_tokens: int,
    end_of_text: int,
) -> Iterator[int]:
    """The tokens that follow `prompt`, one at a time, until an end-of-text token (which is not given) or the limit.

    A prompt longer than the context is read from its last tokens. When the context is full, the model goes on from the
    last half of it: the older half is forgotten.

    Raises:
        TaleError: the model's numbers are not finite.
    """
    context = model.config.context_length
    kept = list(prompt)[-context:]
    cache, unread = _empty_cache(model), kept
    for _ in range(max_new_tokens):
        if cache.length + len(unread) > context:
            kept = kept[-max(1, context // 2) :]
            cache, unread = _empty_cache(model), kept
        logits_BTV = model(torch.tensor([unread], device=model.device), cache)
        logits_V = logits_BTV[0, -1].float().cpu()
        if not logits_V.isfinite().all():
            raise TaleError(
                "the model gives logits that are not finite: its weights are damaged, or its training diverged"
            )
        token = choose(logits_V, generator)
        if token == end_of_text:
            return
        yield token
        kept.append(token)
        unread = [token]


def _empty_cache(model: GPT2) -> KVCache:
    return KVCache(model.config, dtype=model.embedding.weight_VC.dtype, device=model.device)
