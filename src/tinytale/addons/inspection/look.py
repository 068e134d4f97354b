"""One text seen from inside: attention weights, the residual stream after every block, logits.

Letters of shapes: L layers, H heads, T positions (S the positions looked at), C width, V vocabulary, K candidates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tinytale.errors import UsageError
from tinytale.model.attention import CausalSelfAttention, attention_weights
from tinytale.model.gpt2 import GPT2, Block


@dataclass(frozen=True)
class Look:
    """What a model computed while it read a text."""

    tokens_T: Int[Tensor, " T"]
    attention_LHTS: Float[Tensor, "L H T S"]
    """How much each position takes from each one up to itself; every row sums to 1."""
    stream_LTC: Float[Tensor, "L1 T C"]
    """The residual stream before the first block and after each."""
    model: GPT2

    @torch.inference_mode()
    def lens(self, layer: int) -> Float[Tensor, "T V"]:
        """The logit lens (nostalgebraist, 2020): the output layer applied to the residual stream after `layer` blocks.

        After the last block these are the model's own logits. One layer at a time: those of all may not fit in memory.
        """
        stream_BTC = self.stream_LTC[layer, None].to(self.model.embedding.weight_VC)
        return self.model.embedding.logits(self.model.final_norm(stream_BTC))[0].float().cpu()

    @property
    def logits(self) -> Float[Tensor, "T V"]:
        """Of the token that follows each position."""
        return self.lens(-1)

    def surprise(self) -> Float[Tensor, " T1"]:
        r"""$-\log_2 P(x_t \mid x_{<t})$ in bits, of every token but the first."""
        chosen_T = self.logits[:-1].log_softmax(-1).gather(-1, self.tokens_T[1:, None])[:, 0]
        return -chosen_T / math.log(2)

    def candidates(self, count: int) -> tuple[Float[Tensor, "L1 T K"], Int[Tensor, "L1 T K"]]:
        """The likeliest next tokens at every layer and position: their probabilities, falling, and they themselves."""
        count = min(count, self.model.config.vocab_size)
        best = [self.lens(layer).softmax(-1).topk(count) for layer in range(len(self.stream_LTC))]
        return torch.stack([layer.values for layer in best]), torch.stack([layer.indices for layer in best])


@torch.inference_mode()
def look(model: GPT2, tokens: Sequence[int]) -> Look:
    """Read a text and keep what usually passes by, as the model's own kernels compute it: give it the textbook's.

    Raises:
        UsageError: the text is empty or longer than the context.
    """
    if not tokens:
        raise UsageError("there is no token to look at; give some text")
    packed_LBTE: list[Tensor] = []
    stream_LBTC: list[Tensor] = []

    def keep_packed(module: nn.Module, inputs: object, qkv_BTE: Tensor) -> None:
        packed_LBTE.append(qkv_BTE)

    def keep_stream(module: nn.Module, inputs: object, x_BTC: Tensor) -> None:
        stream_LBTC.append(x_BTC)

    hooks = [model.blocks[0].register_forward_pre_hook(lambda _, inputs: stream_LBTC.append(inputs[0]))]
    for module in model.modules():
        if isinstance(module, CausalSelfAttention):
            hooks.append(module.qkv.register_forward_hook(keep_packed))
        elif isinstance(module, Block):
            hooks.append(module.register_forward_hook(keep_stream))
    tokens_T = torch.tensor(list(tokens), device=model.device)
    try:
        model(tokens_T[None])
    finally:
        for hook in hooks:
            hook.remove()
    heads, length = model.config.heads, len(tokens)
    weights_LHTS = torch.empty(model.config.layers, heads, length, length)
    for qkv_BTE, weights_HTS in zip(packed_LBTE, weights_LHTS, strict=True):
        q_BHTD, k_BHTD, _ = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv_BTE.chunk(3, dim=-1))
        weights_HTS.copy_(attention_weights(q_BHTD, k_BHTD)[0])
    return Look(tokens_T.cpu(), weights_LHTS, torch.cat(stream_LBTC).float().cpu(), model)
