"""What tells the stories of a model and chooses their tokens: our native code on a CPU where it can be had, else torch.

Letters of shapes: B texts, V vocabulary.
"""

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Literal, TypeGuard

from jaxtyping import Float
from torch import Tensor

from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, Decoding
from tinytale.generation.sampling import Randoms
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2
from tinytale.native import choice as native_choice
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


class NativeChoice:
    """A decoding by native code: the choice of `decoding.choice()`, up to rounding, and of many texts in one call."""

    def __init__(self, decoding: Decoding):
        self.draws = not decoding.greedy
        drawing = (decoding.temperature, decoding.top_k, decoding.top_p, decoding.min_p)
        self.settings = native_choice.Settings(False, *drawing) if self.draws else native_choice.Settings(greedy=True)

    def __call__(self, logits_V: Float[Tensor, " V"], tokens: Sequence[int], randoms: Randoms) -> int:
        """Choose for one text."""
        return choose_together(logits_V[None], [self], [randoms])[0]


def choice_for(decoding: Decoding) -> Choice:
    """`decoding.choice()`, up to rounding, but by native code where it can be had.

    Raises:
        UsageError: a setting out of its range.
    """
    return _native_choice(decoding) if native_choice.available() else decoding.choice()


@lru_cache(maxsize=64)  # a server is asked for the same few again and again
def _native_choice(decoding: Decoding) -> Choice:
    decoding.choice()  # checks the settings
    native = NativeChoice(decoding)
    if decoding.repetition_penalty == 1:
        return native
    return decoding.choice(lambda logits_V, randoms: native(logits_V, (), randoms))


def choose_together(
    logits_BV: Float[Tensor, "B V"], choices: Sequence[NativeChoice], randoms: Sequence[Randoms]
) -> list[int]:
    """What each of these choices takes, in one call of native code."""
    numbers = [next(mine) if choice.draws else 0.0 for choice, mine in zip(choices, randoms, strict=True)]
    return native_choice.choose(logits_BV, [choice.settings for choice in choices], numbers)


def log_sum_exp(logits_V: Float[Tensor, " V"]) -> float:
    """What the logits have to be lowered by to be log-probabilities: by native code where it can be had."""
    return native_choice.log_sum_exp(logits_V) if native_choice.available() else logits_V.double().logsumexp(-1).item()


def are_native(choices: Sequence[Choice]) -> TypeGuard[Sequence[NativeChoice]]:
    """Whether all of them can choose together."""
    return all(type(choice) is NativeChoice for choice in choices)


def choose_all(
    logits_BV: Float[Tensor, "B V"],
    choices: Sequence[Choice],
    texts: Sequence[Sequence[int]],
    randoms: Sequence[Randoms],
) -> list[int]:
    """What each choice takes for its text: together if they can, else one after another."""
    if are_native(choices):
        return choose_together(logits_BV, choices, randoms)
    rows = zip(choices, logits_BV, texts, randoms, strict=True)
    return [choose(logits_V, tokens, mine) for choose, logits_V, tokens, mine in rows]


@cache
def _tell(reason: str) -> None:
    console.print(f"No native decoder: {reason}. Stories come from torch, in float32 and more slowly.", style="dim")
