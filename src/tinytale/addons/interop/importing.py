"""Any GPT-2 folder as one of ours: one file of weights, one vocabulary for model and tokenizer, one tokenizer file."""

from dataclasses import dataclass
from pathlib import Path

import torch

from tinytale.addons.interop.model_folder import card_and_settings, check_new, largest_difference, write_model_folder
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import TaleError
from tinytale.model.derive import cut_vocabulary
from tinytale.model.folder import load_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder

PADDING = 1024
"""Rows of the embedding that a model may have beyond its tokenizer; with more, the two do not belong together."""


@dataclass(frozen=True)
class Imported:
    """What was made of a folder."""

    model: GPT2
    tokenizer: Tokenizer
    rows_cut: int
    """Rows of the embedding for which the tokenizer has no token."""
    difference: float
    """The largest between the logits before and after, of the tokens that the tokenizer has."""


def import_model(folder: Path, tokenizer_from: str | Path, out: Path, dtype: torch.dtype) -> Imported:
    """Read a GPT-2 folder and write it as one of ours, whole or not at all; its README.md goes along.

    A vocabulary that was padded to a round number is cut to the tokenizer's: nobody can write those tokens, and a model
    that was never taught to avoid them may choose them.

    Raises:
        UsageError: something lies at `out`, or there is no tokenizer.
        TaleError: a file is damaged, the folder holds another model than GPT-2, or the disk refuses.
    """
    check_new(out)
    source = load_model(folder)
    tokenizer = load_tokenizer(tokenizer_from, source.config.vocab_size)
    rows_cut = source.config.vocab_size - tokenizer.vocab_size
    if rows_cut > PADDING:
        raise TaleError(
            f"the tokenizer of {tokenizer_from} has {tokenizer.vocab_size} tokens, the model of {folder} knows"
            f" {source.config.vocab_size}; one of them belongs to another model"
        )
    model = cut_vocabulary(source, tokenizer.vocab_size)
    write_model_folder(out, model, tokenizer, dtype, card_and_settings(RunFolder(folder)))
    return Imported(model, tokenizer, rows_cut, largest_difference(source, load_model(out)))
