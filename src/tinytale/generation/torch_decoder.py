"""The reference decoder: GPT-2 in torch, with textbook or fused kernels.

Letters of shapes: B slots, T positions, C width, V vocabulary.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.errors import NotFiniteError
from tinytale.model.cache import KVCache
from tinytale.model.gpt2 import GPT2


class TorchDecoder:
    """Texts of different lengths in one KV cache; a step reads a token more of each in one forward pass.

    A text alone in its step takes the very path of `model(tokens, cache)`. In company its logits may differ in their
    last bits, since matrix products of other shapes add up in another order.
    """

    def __init__(self, model: GPT2, slots: int):
        self.model, self.slots = model, slots
        self.context_length = model.config.context_length
        self.lengths = [0] * slots
        self.cache = KVCache(model.config, slots, model.embedding.weight_VC.dtype, model.device)

    @torch.inference_mode()
    def prefill(self, slot: int, tokens: Sequence[int]) -> Float[Tensor, " V"]:
        """Empty the slot and read 1 to `context_length` tokens; the logits after the last, float32 on the CPU."""
        self.lengths[slot] = 0
        for layer in self.cache.layers:  # what the last text left is multiplied by 0 in company: it must be finite
            layer.k_BHSD[slot].zero_()
            layer.v_BHSD[slot].zero_()
        return self._read([slot], [list(tokens)])[0]

    @torch.inference_mode()
    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Float[Tensor, "B V"]:
        """Read one token more in each named slot, never beyond `context_length`; the logits after it."""
        return self._read(slots, [[token] for token in tokens])

    @torch.inference_mode()
    def copy(self, source: int, target: int) -> None:
        """Let a slot hold what another one holds; the text that it held is forgotten."""
        self.lengths[target] = length = self.lengths[source]
        for layer in self.cache.layers:
            for stored_BHSD in (layer.k_BHSD, layer.v_BHSD):
                stored_BHSD[target, :, :length] = stored_BHSD[source, :, :length]

    def _read(self, slots: Sequence[int], tokens: Sequence[Sequence[int]]) -> Float[Tensor, "B V"]:
        cache = self.cache.rows(slots, [self.lengths[slot] for slot in slots])
        x_BTC = self.model.hidden(torch.tensor(tokens, device=self.model.device), cache)
        for slot in slots:
            self.lengths[slot] += len(tokens[0])
        logits_BV = self.model.embedding.logits(x_BTC[:, -1:])[:, 0].float().cpu()
        if not math.isfinite(logits_BV.sum()):  # 30 times as fast as to look at each
            raise NotFiniteError
        return logits_BV
