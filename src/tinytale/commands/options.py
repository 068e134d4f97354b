"""Option types that several verbs share."""

import json
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinytale.advice import installation
from tinytale.errors import TaleError, UsageError

if TYPE_CHECKING:
    from tinytale.data.tokenizer import Tokenizer
    from tinytale.model.attention import Kernels
    from tinytale.model.gpt2 import GPT2

Device = Literal["auto", "cpu", "cuda", "mps"]


def load_weights(
    folder: Path, device: Device, kernels: "Kernels" = "fused", whole_vocabulary: bool = True
) -> "tuple[GPT2, Tokenizer]":
    """The model of a GPT-2 folder, on its device, and its tokenizer; see `load_storyteller`.

    Raises:
        TaleError: a file is missing or damaged, or the model does not know all of the tokens.
        UsageError: the device is not there.
    """
    from tinytale.storyteller import load_storyteller

    teller = load_storyteller(folder, device, kernels, whole_vocabulary=whole_vocabulary)
    return teller.model, teller.tokenizer


def need(libraries: Iterable[str], extra: str, what: str = "this") -> None:
    """See that some libraries are installed, before the long work begins.

    Raises:
        TaleError: one is not; the message says how to get it.
    """
    for library in libraries:
        if not find_spec(library):
            raise TaleError(
                f"{library} is not installed, which {what} needs; install it: {installation(extra, library)}"
            )


def check_file(path: Path | None, what: str, suffix: str = "") -> None:
    """See that a file of this kind can be written there, before the long work begins; one that is there is replaced.

    Raises:
        UsageError: a folder lies there, or its name ends like that of another kind of file.
    """
    if path and path.is_dir():
        raise UsageError(f"{path} is a folder; name a file for the {what}")
    if path and suffix and path.suffix != suffix:
        raise UsageError(f"{path} cannot be the {what}; expected a file whose name ends in {suffix}")


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")
