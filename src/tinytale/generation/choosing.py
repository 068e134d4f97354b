"""What tells the stories of a model and draws their tokens: our native code on a CPU where it can be had, else torch.

Letters of shapes: V vocabulary.
"""

from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, Decoding
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2
from tinytale.native import draw as native_draw
from tinytale.native.decoder import NativeDecoder, why_not

Precision = Literal["auto", "float32", "bfloat16", "int8"]
"""Of the weights when stories are told; auto is int8 where our native decoder runs."""


def decoder_for(model: GPT2, slots: int, precision: Precision = "auto") -> Decoder:
    """The fastest decoder of this precision. `auto` is int8: docs/experiments.md has what that costs in bits per byte.

    On a CPU without the native decoder torch computes in float32, and a line says so.

    Raises:
        UsageError: bfloat16 or int8 on another device than the CPU, or where there is no native decoder.
    """
    if model.device.type != "cpu":
        if precision in ("bfloat16", "int8"):
            raise UsageError(f"precision {precision} is for the CPU, and the model is on {model.device.type}")
        return TorchDecoder(model, slots)
    if reason := why_not(model.config):
        if precision in ("bfloat16", "int8"):
            raise UsageError(f"precision {precision} needs the native decoder: {reason}; leave it out, or take float32")
        _tell(reason)
        return TorchDecoder(model, slots)
    return NativeDecoder(model, slots, "int8" if precision == "auto" else precision)


def choice_for(decoding: Decoding) -> Choice:
    """`decoding.choice()`, up to rounding, but one that draws in one call of native code where it can be had.

    Raises:
        UsageError: a setting out of its range.
    """
    if decoding.greedy or not native_draw.available():
        return decoding.choice()

    def drawn(logits_V: Float[Tensor, " V"], generator: torch.Generator) -> int:
        return native_draw.draw(
            logits_V, generator, decoding.temperature, decoding.top_k, decoding.top_p, decoding.min_p
        )

    return decoding.choice(drawn)


@cache
def _tell(reason: str) -> None:
    console.print(f"No native decoder: {reason}. Stories come from torch, in float32 and more slowly.", style="dim")
