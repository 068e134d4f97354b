"""The native decoder of a model, if it computes what the model computes.

The model is code that people change (`model/`), and the native decoder is a second rendering of it in C++. So the
logits of the two are compared whenever a decoder is made, twice:

- of a small model that the same classes make, with random weights of such sizes that every part matters. Both compute
  in float32, so that the bound is near rounding, and the slightest change of the model's code is noticed;
- of the decoder itself, with its own weights. What its number format rounds is allowed for, so that this notices what
  the small model cannot show: code that treats the fifth layer in another way, or a format that does not suit the
  weights.
"""

from tinytale.errors import NotFiniteError
from tinytale.generation.decoder import Decoder
from tinytale.generation.native_decoder import NativeDecoder, Precision, why_not
from tinytale.model.gpt2 import GPT2
from tinytale.model.published import ROUNDING, difference, probe, small_model

ALLOWED: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.1, "int8": 0.5}
"""By how much the logits may differ with the decoder's own weights. Measured for the shipped weights and for 60 random
models of all shapes and sizes of weights: at most 2e-6, 9e-3 and 8e-2."""


def native_decoder(model: GPT2, slots: int, precision: Precision, threads: int | None = None) -> NativeDecoder | str:
    """The native decoder of a model in evaluation mode on the CPU, or why there is none that computes what it does.

    A model whose numbers are not finite is not compared: to generate with it raises a NotFiniteError soon enough.

    Raises:
        TaleError: there is not enough memory.
    """
    if reason := why_not(model.config, model.state_dict()):
        return reason
    small = small_model(model)
    if (found := _difference(NativeDecoder(small, 1, "float32", threads=1), small)) > ROUNDING:
        return (
            f"it does not compute what src/tinytale/model does (logits differ by {found:.2g} of their size; rounding"
            f" explains {ROUNDING:g}). Change native/cpp/decoder.cpp too, as docs/changing-the-model.md says"
        )
    decoder = NativeDecoder(model, slots, precision, threads)
    if (found := _difference(decoder, model)) > ALLOWED[precision]:
        return (
            f"in {precision} its logits differ from the model's by {found:.2g} of their size, where"
            f" {ALLOWED[precision]:g} is allowed. Try --precision float32; docs/changing-the-model.md has the causes"
        )
    return decoder


def _difference(decoder: Decoder, model: GPT2) -> float:
    tokens, exact_V = probe(model, decoder.context_length)
    try:
        return difference(decoder.prefill(0, tokens), exact_V)
    except NotFiniteError:
        return 0.0
