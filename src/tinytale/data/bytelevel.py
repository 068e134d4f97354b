"""What byte-level means, in the settings of a tokenizer: every byte has a printable stand-in, nothing is lost."""

import json
from functools import cache
from typing import Any

from tinytale.errors import TaleError


def check_byte_level(settings: dict[str, Any]) -> None:
    """Refuse a tokenizer that is not plain byte-level BPE, since bits per byte and decoding rest on that."""
    if settings["model"].get("type") != "BPE" or (settings["decoder"] or {}).get("type") != "ByteLevel":
        raise TaleError("expected byte-level BPE, as GPT-2 has it")
    if settings["normalizer"] is not None:
        raise TaleError(
            "the tokenizer changes text before it encodes it (it has a normalizer); expected plain byte-level BPE"
        )
    if '"add_prefix_space": true' in json.dumps(settings["pre_tokenizer"]):
        raise TaleError("the tokenizer puts a space before texts (add_prefix_space); expected plain byte-level BPE")


def splits_like_gpt2(settings: dict[str, Any]) -> bool:
    """Whether a tokenizer splits text by GPT-2's pattern, and by nothing else, before it merges bytes."""
    splitter, model = settings["pre_tokenizer"] or {}, settings["model"]
    return (
        splitter.get("type") == "ByteLevel"
        and splitter.get("use_regex", True)
        and not any(model.get(part) for part in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
        and all(token["special"] for token in settings["added_tokens"])
    )


@cache
def _byte_of_character() -> dict[str, int]:
    """GPT-2's printable stand-in for every byte: itself if printable, else a character from 256 on."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


def bytes_of(token: str) -> bytes:
    """The bytes that a token's printable form stands for."""
    alphabet = _byte_of_character()
    if all(character in alphabet for character in token):
        return bytes(alphabet[character] for character in token)
    return token.encode("utf-8", "replace")
