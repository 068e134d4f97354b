"""Whether a model still is GPT-2: its logits beside those of GPT-2 as published, written a second time in one function.

The model's code may be changed (docs/changing-the-model.md). Files that call it GPT-2 would then tell other programs to
compute something else with its weights. Letters of shapes: B = 1 text, T positions, E = 3C, H heads, D head size.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from tinytale.config import ModelConfig
from tinytale.errors import UsageError
from tinytale.model.folder import is_gpt2
from tinytale.model.gpt2 import GPT2

SMALL: dict[str, Any] = {"vocab_size": 64, "context_length": 16, "layers": 2, "heads": 2, "width": 32}
TOKENS = 8
"""So many are read before logits are compared."""
ROUNDING = 2e-5
"""Bound for the logits of a small model in float32. Measured for another rendering of GPT-2: at most 8e-7; for a
changed one: 6e-5 and more with the other form of GELU, 1e-2 and more with an attention scale that is 10% off and with
all other changes that were tried."""


def small_model(model: GPT2) -> GPT2:
    """A small model that the same classes make from the same settings, with weights so large that every part matters.

    They are always the same, and random numbers of the process are neither used nor changed.
    """
    with torch.random.fork_rng(devices=[]):  # a model draws its first weights
        small = type(model)(replace(model.config, **SMALL), model.kernels).requires_grad_(False).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in small.parameters():
        size = 1.5 / parameter.shape[-1] ** 0.5 if parameter.dim() > 1 else 0.3
        parameter += size * torch.randn(parameter.shape, generator=generator)
    return small


def probe(model: GPT2, context_length: int) -> tuple[list[int], Tensor]:
    """A few tokens, and the model's logits after the last of them, float32."""
    tokens = [617 * n % model.config.vocab_size for n in range(min(TOKENS, context_length))]
    with torch.inference_mode():
        return tokens, model(torch.tensor([tokens]))[0, -1].float()


def difference(logits_V: Tensor, exact_V: Tensor) -> float:
    """The norm of the difference, by the norm of the exact logits without their mean."""
    return ((logits_V - exact_V).norm() / (exact_V - exact_V.mean()).norm().clamp(min=1e-30)).item()


def check_published(model: GPT2) -> None:
    """See that a model whose settings are GPT-2's computes what GPT-2 does; variants are known by their settings.

    Raises:
        UsageError: its code was changed.
    """
    if not is_gpt2(model.config):
        return
    small = small_model(model)
    tokens, exact_V = probe(small, small.config.context_length)
    try:
        found = difference(gpt2_logits(small.state_dict(), small.config, tokens), exact_V)
    except KeyError as missing:
        raise _changed(f"it has no {missing.args[0]}") from missing
    if found > ROUNDING:
        raise _changed(f"logits differ by {found:.2g} of their size, where rounding explains {ROUNDING:g}")


def _changed(how: str) -> UsageError:
    return UsageError(
        f"src/tinytale/model was changed and is not GPT-2 any more ({how}): other programs would compute something else"
        " with these weights. Export it with --to onnx, which carries the model's own operations; see"
        " docs/changing-the-model.md"
    )


def gpt2_logits(weights: Mapping[str, Tensor], config: ModelConfig, tokens: list[int]) -> Tensor:
    """The logits after the last token, as Radford et al. (2019) have them: formulas in `model/gpt2.py`."""

    def norm(name: str, x_TC: Tensor) -> Tensor:
        gain_C, bias_C = weights[name + ".gain_C"], weights[name + ".bias_C"]
        return F.layer_norm(x_TC, gain_C.shape, gain_C, bias_C, config.layer_norm_epsilon)

    def linear(name: str, x_TC: Tensor) -> Tensor:
        return F.linear(x_TC, weights[name + ".weight"], weights[name + ".bias"])

    x_TC = weights["embedding.weight_VC"][tokens] + weights["positions.weight_TC"][: len(tokens)]
    for block in (f"blocks.{layer}." for layer in range(config.layers)):
        qkv_TE = linear(block + "attention.qkv", norm(block + "norm1", x_TC))
        q_HTD, k_HTD, v_HTD = (part.unflatten(-1, (config.heads, -1)).transpose(0, 1) for part in qkv_TE.chunk(3, -1))
        y_HTD = F.scaled_dot_product_attention(q_HTD, k_HTD, v_HTD, is_causal=True)
        x_TC = x_TC + linear(block + "attention.output", y_HTD.transpose(0, 1).flatten(1))
        hidden_TF = F.gelu(linear(block + "feed_forward.expand", norm(block + "norm2", x_TC)), approximate="tanh")
        x_TC = x_TC + linear(block + "feed_forward.output", hidden_TF)
    return F.linear(norm("final_norm", x_TC[-1]), weights["embedding.weight_VC"])
