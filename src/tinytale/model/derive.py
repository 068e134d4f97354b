"""A model made of another's weights, which they share: nothing is copied."""

from dataclasses import replace

import torch

from tinytale.model.attention import Kernels
from tinytale.model.gpt2 import GPT2


def with_kernels(model: GPT2, kernels: Kernels) -> GPT2:
    """The same model, computed by other kernels; in evaluation mode, without gradients."""
    return _made_of(model, kernels, model.config.vocab_size)


def cut_vocabulary(model: GPT2, vocab_size: int, kernels: Kernels = "fused") -> GPT2:
    """The model without the last rows of its embedding, if it has more than `vocab_size`; in evaluation mode.

    A vocabulary that was padded to a round number has rows for which no tokenizer has a token.
    """
    return _made_of(model, kernels, vocab_size) if model.config.vocab_size > vocab_size else model


def _made_of(model: GPT2, kernels: Kernels, vocab_size: int) -> GPT2:
    with torch.device("meta"):
        made = GPT2(replace(model.config, vocab_size=vocab_size), kernels)
    weights = model.state_dict()
    weights["embedding.weight_VC"] = weights["embedding.weight_VC"][:vocab_size]
    made.load_state_dict(weights, assign=True)
    return made.requires_grad_(False).eval()
