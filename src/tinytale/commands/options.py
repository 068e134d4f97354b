"""Option types that several verbs share."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinytale.errors import TaleError

if TYPE_CHECKING:
    from tinytale.data.tokenizer import Tokenizer
    from tinytale.model.attention import Kernels
    from tinytale.model.gpt2 import GPT2

Device = Literal["auto", "cpu", "cuda", "mps"]


def load_weights(folder: Path, device: Device, kernels: "Kernels" = "fused") -> "tuple[GPT2, Tokenizer]":
    """The model of a GPT-2 folder, on its device, and its tokenizer.

    Raises:
        TaleError: a file is missing or damaged, or the model does not know all of the tokens.
        UsageError: the device is not there.
    """
    from tinytale.data.tokenizer import load_tokenizer
    from tinytale.hardware import pick_device
    from tinytale.model.folder import load_model

    tokenizer = load_tokenizer(str(folder))
    model = load_model(folder, kernels)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise TaleError(
            f"the tokenizer of {folder} has {tokenizer.vocab_size} tokens, its model knows {model.config.vocab_size};"
            " one of them belongs to another model"
        )
    return model.to(pick_device(device)), tokenizer


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    json.dump(value, sys.stdout, ensure_ascii=False, indent=2, allow_nan=False)
    sys.stdout.write("\n")
