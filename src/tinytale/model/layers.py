"""The parts of a block that are not attention: embedding, positions, LayerNorm, feed-forward.

Letters of shapes: B batch, T positions, C width, V vocabulary, F = 4C feed-forward width.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from tinytale.config import ModelConfig
from tinytale.model.attention import Kernels
from tinytale.model.cache import positions_from


class TokenEmbedding(nn.Module):
    r"""A learned vector for every token (Radford et al., 2018, section 3.1): $e_t = W_e[x_t]$.

    The output layer uses the same matrix the other way round (`logits`), as in GPT-2: Press & Wolf, 2017.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.weight_VC = nn.Parameter(torch.empty(config.vocab_size, config.width))

    def forward(self, tokens_BT: Int[Tensor, "B T"]) -> Float[Tensor, "B T C"]:
        """Look the vectors up."""
        return F.embedding(tokens_BT, self.weight_VC)

    def logits(self, x_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        r"""The tied output layer: $z = x W_e^\top$, how well each token's vector fits."""
        return F.linear(x_BTC, self.weight_VC)


class LearnedPositions(nn.Module):
    r"""A learned vector for every position (GPT-2): $h_t = e_t + W_p[t]$."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.weight_TC = nn.Parameter(torch.empty(config.context_length, config.width))

    def forward(self, x_BTC: Float[Tensor, "B T C"], start: int | Int[Tensor, " B"]) -> Float[Tensor, "B T C"]:
        """Add the vectors of positions `start`, `start` + 1, ..., of every text or of each."""
        T = x_BTC.shape[1]
        here = positions_from(start, T, x_BTC.device) if isinstance(start, Tensor) else slice(start, start + T)
        return x_BTC + self.weight_TC[here]


class SinusoidalPositions(nn.Module):
    r"""Fixed sinusoids (Vaswani et al., 2017, sections 3.4 and 3.5): $h_t = \sqrt{C}\,e_t + p_t$ with

    $$p_{t,2i} = \sin\!\left(t / 10000^{2i/C}\right), \qquad p_{t,2i+1} = \cos\!\left(t / 10000^{2i/C}\right)$$
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.width = config.width

    def forward(self, x_BTC: Float[Tensor, "B T C"], start: int | Int[Tensor, " B"]) -> Float[Tensor, "B T C"]:
        """Scale the embedding and add the waves of positions `start`, `start` + 1, ..., of every text or of each."""
        positions = positions_from(start, x_BTC.shape[1], x_BTC.device).to(x_BTC.dtype)
        channels = torch.arange(0, self.width, 2, device=x_BTC.device, dtype=x_BTC.dtype)
        angles = positions[..., None] * torch.exp(-math.log(10_000) / self.width * channels)
        waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)
        return math.sqrt(self.width) * x_BTC + waves


POSITIONS = {"learned": LearnedPositions, "sinusoidal": SinusoidalPositions}


class LayerNorm(nn.Module):
    r"""Layer normalisation (Ba et al., 2016) over the width, with a learned gain and bias:

    $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \odot g + b, \qquad
    \mu = \tfrac1C\textstyle\sum_c x_c, \quad \sigma^2 = \tfrac1C\textstyle\sum_c (x_c - \mu)^2$$
    """

    def __init__(self, config: ModelConfig, kernels: Kernels = "textbook"):
        super().__init__()
        self.epsilon = config.layer_norm_epsilon
        self.fused = kernels != "textbook"
        self.gain_C = nn.Parameter(torch.ones(config.width))
        self.bias_C = nn.Parameter(torch.zeros(config.width))

    def forward(self, x_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Normalise each position by itself."""
        if self.fused:
            return F.layer_norm(x_BTC, self.gain_C.shape, self.gain_C, self.bias_C, self.epsilon)
        mean_BT1 = x_BTC.mean(dim=-1, keepdim=True)
        variance_BT1 = (x_BTC - mean_BT1).square().mean(dim=-1, keepdim=True)
        return (x_BTC - mean_BT1) / torch.sqrt(variance_BT1 + self.epsilon) * self.gain_C + self.bias_C


def gelu(x: Tensor) -> Tensor:
    r"""The Gaussian error linear unit in its tanh form (Hendrycks & Gimpel, 2016), which GPT-2 uses:

    $$\tfrac12 x\left(1 + \tanh\!\left(\sqrt{2/\pi}\,(x + 0.044715\,x^3)\right)\right)$$
    """
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def fused_gelu(x: Tensor) -> Tensor:
    r"""The same as `gelu`: torch's kernel for it, or, inside torch.compile, what fuses into the cheapest one there.

    By $\tfrac12(1 + \tanh u) = 1 / (1 + e^{-2u})$ the compiled form needs an exponential instead of a tanh, and so does
    its gradient.
    """
    if not torch.compiler.is_compiling():
        return F.gelu(x, approximate="tanh")
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide * torch.sigmoid(math.sqrt(8 / math.pi) * (wide + 0.044715 * wide**3))).to(x.dtype)


class FeedForward(nn.Module):
    r"""The position-wise feed-forward network (Vaswani et al., 2017, equation 2, with GELU and F = 4C):

    $$y = \mathrm{GELU}(x W_1 + b_1)\,W_2 + b_2$$
    """

    def __init__(self, config: ModelConfig, kernels: Kernels = "textbook"):
        super().__init__()
        self.dropout = config.dropout
        self.fused = kernels != "textbook"
        self.expand = nn.Linear(config.width, 4 * config.width)
        self.output = nn.Linear(4 * config.width, config.width)

    def forward(self, x_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        """Transform each position by itself."""
        hidden_BTF = self.expand(x_BTC)
        hidden_BTF = fused_gelu(hidden_BTF) if self.fused else gelu(hidden_BTF)
        return F.dropout(self.output(hidden_BTF), self.dropout, self.training)
