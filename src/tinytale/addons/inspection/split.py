"""How a tokenizer splits a text, as plain data, for a page."""

from typing import Any

from tinytale.addons.inspection.page_data import token_text
from tinytale.data.tokenizer import Tokenizer


def split_data(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    """Every token of a text with its id and its bytes (in hexadecimal), and how much of each there is.

    Raises:
        UsageError: the text holds a lone surrogate.
    """
    tokens = tokenizer.encode(text)
    return {
        "tokens": [
            {"id": token, "text": token_text(tokenizer, token), "bytes": tokenizer.token_bytes(token).hex(" ")}
            for token in tokens
        ],
        "characters": len(text),
        "bytes": len(text.encode()),
        "vocabulary": tokenizer.vocab_size,
    }
