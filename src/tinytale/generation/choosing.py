"""What tells the stories of a model and chooses their tokens: our native code on a CPU where it can be had, else torch.

Letters of shapes: B texts, V vocabulary.
"""

from collections.abc import Collection, Sequence
from functools import cache, lru_cache
from typing import TypeGuard

from jaxtyping import Float
from torch import Tensor

from tinytale.config import DecoderKind, Precision
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.generation import native_choice as native_choice
from tinytale.generation.agreement import native_decoder
from tinytale.generation.decoder import Decoder, check_slots
from tinytale.generation.decoding import Choice, Decoding
from tinytale.generation.sampling import Randoms
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2


def decoder_for(model: GPT2, slots: int, precision: Precision = "auto", kind: DecoderKind = "auto") -> Decoder:
    """The fastest decoder of this precision that computes what the model does; of the kind that is asked for.

    `auto` is int8 by the native decoder: docs/experiments.md has what that costs in bits per byte. Where there is no
    native decoder, or it disagrees with the model (`generation/agreement.py`), torch computes, and a line says why.

    Raises:
        UsageError: too many slots; the native decoder is asked for, or bfloat16 or int8, which only it has, and there
            is none.
        TaleError: there is not enough memory.
    """
    check_slots(slots)
    if kind == "torch":
        found = "decoder is torch"
    elif model.device.type != "cpu":
        found = f"it is for the CPU, and the model is on {model.device.type}"
    else:
        found = native_decoder(model, slots, "int8" if precision == "auto" else precision)
    if not isinstance(found, str):
        return found
    if precision in ("bfloat16", "int8"):
        raise UsageError(f"precision {precision} needs the native decoder: {found}; leave it out, or take float32")
    if kind == "native":
        raise UsageError(f"decoder is native, and there is none: {found}; take decoder auto or torch")
    if kind == "auto" and model.device.type == "cpu":
        _tell(found)
    return TorchDecoder(model, slots)


class NativeChoice:
    """A decoding by native code: the choice of `decoding.choice()`, up to rounding, and of many texts in one call."""

    def __init__(self, decoding: Decoding):
        self.draws = not decoding.greedy
        drawing = (decoding.temperature, decoding.top_k, decoding.top_p, decoding.min_p)
        self.settings = native_choice.Settings(False, *drawing) if self.draws else native_choice.Settings(greedy=True)

    def __call__(self, logits_V: Float[Tensor, " V"], tokens: Collection[int], randoms: Randoms) -> int:
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
    texts: Sequence[Collection[int]],
    randoms: Sequence[Randoms],
) -> list[int]:
    """What each choice takes for its text, of which it gets the different tokens: together if they can."""
    if are_native(choices):
        return choose_together(logits_BV, choices, randoms)
    rows = zip(choices, logits_BV, texts, randoms, strict=True)
    return [choose(logits_V, tokens, mine) for choose, logits_V, tokens, mine in rows]


@cache
def _tell(reason: str) -> None:
    said = f"No native decoder: {reason}. Stories come from torch, in float32 and more slowly."
    console.print(said, style="yellow", soft_wrap=True)
