"""From raw stories to a GPT-2 of your own: prepare, train, evaluate, generate."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinytale.config import DecoderKind, Precision
    from tinytale.storyteller import Storyteller

__version__ = "0.1.0"


def load(
    folder: str | Path, device: str = "auto", precision: "Precision" = "auto", decoder: "DecoderKind" = "auto"
) -> "Storyteller":
    """A model that tells, continues and scores stories: `tinytale.load("small").generate("One day,")`.

    Args:
        folder: a run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
        device: where to compute: auto, cpu, cuda or mps.
        precision: of the weights when stories are told on a CPU: auto (int8), float32, bfloat16 or int8.
        decoder: what computes when stories are told: auto takes our native decoder where it runs and agrees with the
            model, native insists on it, torch takes the reference, which is the model itself.

    Raises:
        TaleError: a file is missing or damaged, or the model does not know all of the tokens.
        UsageError: there is no such folder, or no such device.
    """
    from tinytale.storyteller import load_storyteller  # with torch, which takes a second: not for `tinytale --help`

    return load_storyteller(folder, device, precision=precision, decoder=decoder)
