"""What tells stories needs of a model: next-token logits for some texts, each in a slot of its own.

Letters of shapes: B slots, V vocabulary.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from tinytale.errors import UsageError

MOST_SLOTS = 4096
"""Of a decoder. Each takes memory for keys and values: 1.5 MiB with the shipped weights, 36 MiB with GPT-2 small."""


def check_slots(slots: int) -> None:
    """Refuse more slots than any memory holds, before it is taken.

    Raises:
        UsageError: there are more than `MOST_SLOTS`.
    """
    if slots > MOST_SLOTS:
        raise UsageError(
            f"that needs room for {slots:,} texts at a time; expected at most {MOST_SLOTS:,}: take fewer beams, a"
            " smaller batch size or fewer slots"
        )


@runtime_checkable
class Decoder(Protocol):
    """Computes next-token logits for some slots, each holding a text of its own length (its keys and values).

    Logits that are not finite raise a NotFiniteError, after all rows have been read; other texts are none the worse.
    """

    context_length: int
    """The longest text that a slot can hold."""
    slots: int
    """How many texts it can hold at once."""

    def prefill(self, slot: int, tokens: Sequence[int]) -> Float[Tensor, " V"]:
        """Empty the slot and read 1 to `context_length` tokens; the logits after the last, float32 on the CPU."""
        ...

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Float[Tensor, "B V"]:
        """Read one token more in each named slot, never beyond `context_length`; the logits after it."""
        ...

    def copy(self, source: int, target: int) -> None:
        """Let a slot hold what another one holds; the text that it held is forgotten."""
        ...
