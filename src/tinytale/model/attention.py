"""Scaled dot-product attention, and multi-head causal self-attention on top of it.

Letters of shapes: B batch, T query positions, S key positions (S >= T), C width, E = 3C, H heads, D head size.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from tinytale.config import ModelConfig
from tinytale.model.cache import LayerCache
from tinytale.model.native_attention import packed_attention, takes

Kernels = Literal["textbook", "fused", "native"]
"""`textbook`: every operation written out as its formula. `fused`: torch's own kernel for the same formula. `native`:
our own kernel for attention where there is one (`tinytale.native`), and torch's for all else."""


def causal_mask(queries: int, keys: int, device: torch.device | None = None) -> Tensor:
    """Which keys each query may look at: a boolean (T, S) matrix, true where key position <= query position.

    The queries are the last T of the S positions.
    """
    query_positions = torch.arange(keys - queries, keys, device=device)
    key_positions = torch.arange(keys, device=device)
    return key_positions[None, :] <= query_positions[:, None]


def attention_weights(
    q_BHTD: Float[Tensor, "B H T D"],
    k_BHSD: Float[Tensor, "B H S D"],
    visible_BTS: Bool[Tensor, "B T S"] | None = None,
) -> Float[Tensor, "B H T S"]:
    r"""How much each query takes from each key: $\mathrm{softmax}(QK^\top / \sqrt{D} + M)$, each row a distribution."""
    T, S = q_BHTD.shape[-2], k_BHSD.shape[-2]
    mask = causal_mask(T, S, q_BHTD.device) if visible_BTS is None else visible_BTS[:, None]
    scores_BHTS = q_BHTD @ k_BHSD.transpose(-2, -1) / math.sqrt(q_BHTD.shape[-1])
    return torch.softmax(scores_BHTS.masked_fill(~mask, -math.inf), dim=-1)


def textbook_attention(
    q_BHTD: Float[Tensor, "B H T D"],
    k_BHSD: Float[Tensor, "B H S D"],
    v_BHSD: Float[Tensor, "B H S D"],
    dropout: float = 0.0,
    visible_BTS: Bool[Tensor, "B T S"] | None = None,
) -> Float[Tensor, "B H T D"]:
    r"""Causal scaled dot-product attention (Vaswani et al., 2017, equation 1), as it is written in the paper.

    $$\mathrm{softmax}\!\left(\frac{QK^\top}{\sqrt{D}} + M\right)V, \qquad
    M_{ts} = \begin{cases}0 & s \le t\\ -\infty & s > t\end{cases}$$

    `dropout` is the probability of dropping an attention weight. Texts of different lengths say themselves which keys
    each query may look at (`visible_BTS`); else the queries are the last T positions.
    """
    return F.dropout(attention_weights(q_BHTD, k_BHSD, visible_BTS), dropout) @ v_BHSD


def fused_attention(
    q_BHTD: Float[Tensor, "B H T D"],
    k_BHSD: Float[Tensor, "B H S D"],
    v_BHSD: Float[Tensor, "B H S D"],
    dropout: float = 0.0,
    visible_BTS: Bool[Tensor, "B T S"] | None = None,
) -> Float[Tensor, "B H T D"]:
    """The same as `textbook_attention` in one kernel that never stores the T x S weights (Dao et al., 2022).

    torch's `is_causal` aligns queries with the *first* keys, so it serves only T = S; one query sees every key; what is
    left (several queries onto a filled cache, texts of different lengths) takes an explicit mask.
    """
    T, S = q_BHTD.shape[-2], k_BHSD.shape[-2]
    if visible_BTS is None and (T == S or T == 1):
        return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, dropout_p=dropout, is_causal=T > 1)
    mask = causal_mask(T, S, q_BHTD.device) if visible_BTS is None else visible_BTS[:, None]
    return F.scaled_dot_product_attention(q_BHTD, k_BHSD, v_BHSD, attn_mask=mask, dropout_p=dropout)


ATTENTION = {"textbook": textbook_attention, "fused": fused_attention, "native": fused_attention}


class CausalSelfAttention(nn.Module):
    r"""Multi-head causal self-attention (Vaswani et al., 2017, section 3.2.2).

    $$[Q\;K\;V] = xW_{qkv} + b_{qkv}, \qquad
    \mathrm{head}_h = \mathrm{Attention}(Q_h, K_h, V_h), \qquad
    y = [\mathrm{head}_1 \dots \mathrm{head}_H]\,W_o + b_o$$

    Each head works on its own D = C / H columns. Dropout falls on the attention weights and on the output, as in GPT-2.
    """

    def __init__(self, config: ModelConfig, kernels: Kernels = "textbook"):
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.weight_dropout = config.dropout if config.attention_dropout is None else config.attention_dropout
        self.attend = ATTENTION[kernels]
        self.native = kernels == "native"
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)

    def forward(self, x_BTC: Float[Tensor, "B T C"], cache: LayerCache | None = None) -> Float[Tensor, "B T C"]:
        """Mix each position with itself and those before it; with a cache, also with the positions stored there."""
        qkv_BTE, dropout = self.qkv(x_BTC), self.weight_dropout if self.training else 0.0
        if self.native and cache is None and takes(qkv_BTE, dropout):
            y_BTC = packed_attention(qkv_BTE, self.heads)
        else:
            q_BHTD, k_BHTD, v_BHTD = (self._split_heads(part) for part in qkv_BTE.chunk(3, dim=-1))
            k_BHSD, v_BHSD, visible_BTS = cache.extend(k_BHTD, v_BHTD) if cache else (k_BHTD, v_BHTD, None)
            y_BHTD = self.attend(q_BHTD, k_BHSD, v_BHSD, dropout, visible_BTS)
            y_BTC = y_BHTD.transpose(1, 2).reshape(x_BTC.shape)
        return F.dropout(self.output(y_BTC), self.dropout, self.training)

    def _split_heads(self, x_BTC: Float[Tensor, "B T C"]) -> Float[Tensor, "B H T D"]:
        return x_BTC.unflatten(-1, (self.heads, -1)).transpose(1, 2)
