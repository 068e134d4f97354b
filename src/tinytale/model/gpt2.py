"""GPT-2: the residual block, the stack of them, the output layer and the initialisation.

Letters of shapes: B batch, T positions, C width, V vocabulary, L layers.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tinytale.config import ModelConfig
from tinytale.errors import UsageError
from tinytale.model.attention import CausalSelfAttention, Kernels
from tinytale.model.cache import KVCache, LayerCache
from tinytale.model.layers import POSITIONS, FeedForward, LayerNorm, TokenEmbedding


class Block(nn.Module):
    r"""One decoder block: attention, then feed-forward, each inside a residual connection (He et al., 2016).

    GPT-2 normalises before each sub-layer (Radford et al., 2019, section 2.3), the original Transformer after the sum
    (Vaswani et al., 2017, section 3.1):

    $$\text{pre: } x \leftarrow x + f(\mathrm{LN}(x)), \qquad \text{post: } x \leftarrow \mathrm{LN}(x + f(x))$$
    """

    def __init__(self, config: ModelConfig, kernels: Kernels = "textbook"):
        super().__init__()
        self.pre = config.norm == "pre"
        self.norm1 = LayerNorm(config, kernels)
        self.attention = CausalSelfAttention(config, kernels)
        self.norm2 = LayerNorm(config, kernels)
        self.feed_forward = FeedForward(config, kernels)

    def forward(self, x_BTC: Float[Tensor, "B T C"], cache: LayerCache | None = None) -> Float[Tensor, "B T C"]:
        """Add what the two sub-layers have to say to the residual stream."""
        if self.pre:
            x_BTC = x_BTC + self.attention(self.norm1(x_BTC), cache)
            return x_BTC + self.feed_forward(self.norm2(x_BTC))
        x_BTC = self.norm1(x_BTC + self.attention(x_BTC, cache))
        return self.norm2(x_BTC + self.feed_forward(x_BTC))


class GPT2(nn.Module):
    r"""The decoder-only language model of Radford et al. (2019).

    $$h^0 = \mathrm{dropout}(W_e[x] + W_p), \qquad h^{l} = \mathrm{Block}_l(h^{l-1}), \qquad
    z = \mathrm{LN}(h^L)\,W_e^\top, \qquad P(x_{t+1} \mid x_{\le t}) = \mathrm{softmax}(z_t)$$

    With post-norm blocks the last LayerNorm is the last block's own. Weights begin as `initialise` leaves them.
    """

    def __init__(self, config: ModelConfig, kernels: Kernels = "textbook"):
        super().__init__()
        self.config = config
        self.kernels: Kernels = kernels
        self.embedding = TokenEmbedding(config)
        self.positions = POSITIONS[config.positions](config)
        self.blocks = nn.ModuleList(Block(config, kernels) for _ in range(config.layers))
        self.final_norm = LayerNorm(config, kernels) if config.norm == "pre" else nn.Identity()
        self.initialise()

    def forward(self, tokens_BT: Int[Tensor, "B T"], cache: KVCache | None = None) -> Float[Tensor, "B T V"]:
        """The logits of the token that follows each position.

        With a cache, `tokens_BT` continue the positions stored there, which the cache then holds too.

        Raises:
            UsageError: the text is longer than the context.
        """
        x_BTC = self.hidden(tokens_BT, cache)
        return self.embedding.logits(x_BTC)

    def hidden(self, tokens_BT: Int[Tensor, "B T"], cache: KVCache | None = None) -> Float[Tensor, "B T C"]:
        """The residual stream after the last LayerNorm: what the output layer reads."""
        start = cache.length if cache else 0
        end = (cache.longest if cache else 0) + tokens_BT.shape[1]
        if end > self.config.context_length:
            raise UsageError(f"the text has {end} tokens, but the model's context is {self.config.context_length}")
        x_BTC = self.positions(self.embedding(tokens_BT), start)
        x_BTC = F.dropout(x_BTC, self.config.dropout, self.training)
        for layer, block in enumerate(self.blocks):
            x_BTC = block(x_BTC, cache.layers[layer] if cache else None)
        return self.final_norm(x_BTC)

    @torch.no_grad()
    def initialise(self) -> None:
        r"""GPT-2's initialisation (Radford et al., 2019, section 2.3, and its released code).

        Weights are drawn from $N(0, 0.02^2)$; those that write into the residual stream from
        $N(0, (0.02/\sqrt{2L})^2)$, since 2L of them add up; biases are 0 and gains 1.
        """
        residual_std = 0.02 / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("output.weight"):
                nn.init.normal_(parameter, std=residual_std)
            elif name.endswith((".weight", ".weight_VC", ".weight_TC")):
                nn.init.normal_(parameter, std=0.02)
            elif name.endswith(".gain_C"):
                nn.init.ones_(parameter)
            else:
                nn.init.zeros_(parameter)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight_VC.device

    def parameter_count(self) -> int:
        """Learned numbers; the tied output layer counts once."""
        return sum(parameter.numel() for parameter in self.parameters())
