"""Tokens and settings that stand beside a tokenizer's own file, where other programs leave them."""

from pathlib import Path
from typing import Any

from tinytale.errors import TaleError
from tinytale.files import read_json

SETTINGS = "tokenizer_config.json"

CHANGING = ("add_prefix_space", "split_special_tokens")
"""Settings by which text would be encoded otherwise, if they are true."""

ROLES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
"""The tokens that have a role; transformers adds those that the vocabulary lacks, in this order."""

CLASSES = (None, "GPT2Tokenizer", "GPT2TokenizerFast", "PreTrainedTokenizerFast", "TokenizersBackend")
"""The kinds of tokenizer whose `vocab.json` and `merges.txt` mean what GPT-2's mean."""


def added_token(content: str, index: int) -> dict[str, Any]:
    """A token of `added_tokens` in a `tokenizer.json`."""
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": index, "content": content, **off, "special": True}


def with_tokens_beside(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What a `tokenizer.json` holds, and the tokens that other files of its folder add to it, as transformers does.

    Raises:
        TaleError: a setting there would change how text is encoded, or a token has the id of another.
    """
    config = _optional(folder / SETTINGS)
    for name in CHANGING:
        if config.get(name):
            raise TaleError(
                f"{SETTINGS} beside it says {name}: {config[name]!r}; expected plain byte-level BPE without"
            )
    if not (folder / "tokenizer.json").is_file() and config.get("tokenizer_class") not in CLASSES:
        raise TaleError(f"{SETTINGS} beside it says tokenizer_class: {config['tokenizer_class']!r}; expected GPT-2's")
    added: list[dict[str, Any]] = list(settings.get("added_tokens") or ())
    ids = dict(settings["model"]["vocab"]) | {token["content"]: token["id"] for token in added}
    known = {token["content"] for token in added}
    for token in [*_numbered(config, folder), *_with_roles(config, folder)]:
        content = token["content"]
        index = ids.setdefault(content, len(ids))
        if index != token.get("id", index):
            raise TaleError(
                f"a file beside it gives {content!r} the id {token['id']}; the tokenizer's next is {len(ids) - 1}"
                if index == len(ids) - 1
                else f"a file beside it gives {content!r} the id {token['id']}; the tokenizer gives it {index}"
            )
        if content not in known:
            known.add(content)
            added.append(added_token(content, index) | token | {"id": index})
    return settings | {"added_tokens": added}


def _numbered(config: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Tokens with their ids, in the order of these."""
    found = {int(index): dict(token) for index, token in (config.get("added_tokens_decoder") or {}).items()}
    for content, index in _optional(folder / "added_tokens.json").items():
        found.setdefault(int(index), {"content": content})
    keys = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    return [{"id": n} | {key: found[n][key] for key in keys if key in found[n]} for n in sorted(found)]


def _with_roles(config: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Tokens that are named by their role alone."""
    named = _optional(folder / "special_tokens_map.json") | config
    tokens = [*(named.get(role) for role in ROLES), *(named.get("additional_special_tokens") or ())]
    texts = [token.get("content") if isinstance(token, dict) else token for token in tokens]
    return [{"content": text} for text in texts if text]


def _optional(path: Path) -> dict[str, Any]:
    content = read_json(path) if path.is_file() else {}
    if not isinstance(content, dict):
        raise TaleError(f"{path.name} beside it holds a {type(content).__name__}; expected names and values")
    return content
