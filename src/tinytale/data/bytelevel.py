"""What byte-level means, in the settings of a tokenizer: every byte has a printable stand-in, nothing is lost."""

from functools import cache
from typing import Any

from tinytale.errors import TaleError

_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    _GPT4,
    _GPT4.replace(r"\p{N}{1,3}", r"\p{N}"),
)
"""The patterns that may split text: GPT-2's in both spellings, GPT-4's and Qwen's. Any other might take forever."""


def check_byte_level(settings: dict[str, Any], end_of_text: str) -> None:
    """Refuse a tokenizer that is not plain byte-level BPE, since bits per byte and decoding rest on that.

    Only what is known to lose nothing passes, before any of it has run.

    Raises:
        TaleError: something else stands there; the message names it.
    """
    model, decoder = settings["model"], settings.get("decoder") or {}
    if model.get("type", "BPE") != "BPE" or decoder.get("type") != "ByteLevel":
        raise TaleError("expected byte-level BPE, as GPT-2 has it")
    if settings.get("normalizer") is not None:
        raise TaleError(
            "the tokenizer changes text before it encodes it (it has a normalizer); expected plain byte-level BPE"
        )
    for part in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(part):
            raise TaleError(
                f"its model has {part}: {model[part]!r}; expected byte-level BPE without it, as GPT-2 has it"
            )
    _check_splitter(settings.get("pre_tokenizer") or {})
    for token in settings.get("added_tokens") or ():
        strips = [name for name in ("lstrip", "rstrip", "single_word") if token.get(name)]
        if strips and token["content"] != end_of_text:
            raise TaleError(f"its added token {token['content']!r} has {strips[0]}, which loses blanks; expected none")


def _check_splitter(splitter: dict[str, Any]) -> None:
    """Refuse what may drop or change characters, or take forever, while it splits text into words."""
    parts = splitter["pretokenizers"] if splitter.get("type") == "Sequence" else [splitter]
    if any(part.get("add_prefix_space") for part in parts):
        raise TaleError("the tokenizer puts a space before texts (add_prefix_space); expected plain byte-level BPE")
    for part in parts[:-1]:
        match part:
            case {"type": "Digits"}:
                continue
            case {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"} if not part.get("invert"):
                if pattern in PATTERNS:
                    continue
        raise TaleError(
            f"the tokenizer splits text by {str(part)[:200]}, which is not known to keep every character and to end"
            " soon; expected GPT-2's pattern (pre_tokenizer ByteLevel)"
        )
    if not parts or parts[-1].get("type") != "ByteLevel":
        kind = parts[-1].get("type", "nothing") if parts else "nothing"
        raise TaleError(
            f"the tokenizer splits text by {kind}; expected ByteLevel, as GPT-2 has it, which loses nothing"
        )


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
