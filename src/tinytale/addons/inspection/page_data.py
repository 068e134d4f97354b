"""A look as plain data, for a page: every token with its surprise, its candidates and what each layer would say."""

import base64
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.addons.inspection.look import look
from tinytale.data.tokenizer import Tokenizer
from tinytale.model.gpt2 import GPT2

CANDIDATES = 5


def page_data(model: GPT2, tokenizer: Tokenizer, tokens: Sequence[int]) -> dict[str, Any]:
    """Everything that a page shows of a text.

    A token's `candidates` are for the one that follows it, `lens` the likeliest by each layer, the embedding first.
    Attention is one string a layer and head: see `packed`.

    Raises:
        UsageError: the text is empty or longer than the context.
    """
    seen = look(model, tokens)
    probabilities, choices = (values.tolist() for values in seen.candidates(CANDIDATES))
    surprise = [None, *seen.surprise().tolist()]

    def named(layer: int, position: int, count: int) -> list[dict[str, Any]]:
        pairs = zip(choices[layer][position][:count], probabilities[layer][position][:count], strict=True)
        return [{"text": token_text(tokenizer, token), "probability": round(share, 5)} for token, share in pairs]

    layers = len(choices)
    return {
        "layers": model.config.layers,
        "heads": model.config.heads,
        "tokens": [
            {
                "id": token,
                "text": token_text(tokenizer, token),
                "bits": None if bits is None else round(bits, 3),
                "candidates": named(-1, position, CANDIDATES),
                "lens": [named(layer, position, 1)[0] for layer in range(layers)],
            }
            for position, (token, bits) in enumerate(zip(seen.tokens_T.tolist(), surprise, strict=True))
        ],
        "attention": [[packed(weights_TS) for weights_TS in heads] for heads in seen.attention_LHTS],
    }


def packed(weights_TS: Float[Tensor, "T S"]) -> str:
    """One head's weights as base64: a byte for each, 255 for 1, row after row up to the diagonal; the rest is zero."""
    rows, columns = torch.tril_indices(*weights_TS.shape)
    return base64.b64encode((weights_TS[rows, columns] * 255).round().to(torch.uint8).numpy().tobytes()).decode()


def token_text(tokenizer: Tokenizer, token: int) -> str:
    """What a token adds to the text; the bytes themselves, where they are only a part of a character."""
    raw = tokenizer.token_bytes(token)
    if token == tokenizer.end_of_text:
        return "<|endoftext|>"
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return "".join(f"\\x{byte:02x}" for byte in raw)
