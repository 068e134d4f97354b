"""A GPT-2 folder in Hugging Face's layout, written whole and read back before anyone else can see it."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL, sync_folder, write_text
from tinytale.interop.shipping import ship
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import CARD, RunFolder


def check_new(out: Path) -> None:
    """Whether `out` is free: not there, or an empty folder.

    Raises:
        UsageError: something lies there.
    """
    if not out.name:
        raise UsageError(f"--out is {str(out)!r}; name a new folder")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UsageError(f"{out} exists and is not an empty folder; name another with --out")


def write_model_folder(
    out: Path, model: GPT2, tokenizer: Tokenizer, dtype: torch.dtype, texts: Mapping[str, str] | None = None
) -> float:
    """Write a model as a new GPT-2 folder, with `texts` by file name beside it, whole or not at all.

    Returns the largest difference between its logits, read back, and the model's: 0 where `dtype` is the model's own.

    Raises:
        UsageError: something lies at `out`.
        TaleError: the disk refuses, or what was written is another model.
    """
    check_new(out)
    partial = out.with_name(out.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        save_model(partial, model, tokenizer.end_of_text, tokenizer.to_json().encode(), dtype)
        for name, text in (texts or {}).items():
            write_text(partial / name, text)
        difference = largest_difference(model, load_model(partial))
        if dtype == torch.float32 and difference:
            raise TaleError(
                f"what was written for {out} gives logits that differ by {difference:g}; is the disk sound?"
            )
        put_in_place(partial, out)
    except OSError as error:
        raise TaleError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return difference


def is_own_file(path: Path) -> bool:
    """Whether a file lies there itself: a link could lead to any file of the person's."""
    return path.is_file() and not path.is_symlink()


def card_and_settings(source: RunFolder) -> dict[str, str]:
    """The card of a shipped run or of a GPT-2 folder, and the settings that it speaks of, by file name; or nothing.

    A link is not followed: what it leads to would be published as the card.
    """
    card = next((path for path in (source.model / CARD, source.path / CARD) if is_own_file(path)), None)
    if not card:
        return {}
    found = (card, source.config) if is_own_file(source.config) else (card,)
    return {path.name: path.read_text(encoding="utf-8", errors="replace") for path in found}


def write_model_folder_of_run(
    out: Path,
    run: RunFolder,
    model: GPT2,
    tokenizer: Tokenizer,
    dtype: torch.dtype,
    card: Callable[[RunFolder], str],
) -> list[str]:
    """Write the model of a run as a new GPT-2 folder with its card and settings, whole or not at all.

    Returns what `ship` returns: the names of results that the card leaves out.

    Raises:
        UsageError: something lies at `out`.
        TaleError: a file of the run is damaged, or the disk refuses.
    """
    check_new(out)
    shipped = RunFolder(out.with_name(f"{out.name}.run{PARTIAL}"))
    try:
        left_out = ship(run, shipped.path, model, tokenizer.end_of_text, dtype, card)
        shipped.config.rename(shipped.model / shipped.config.name)
        put_in_place(shipped.model, out)
    except OSError as error:
        raise TaleError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(shipped.path, ignore_errors=True)
    return left_out


def put_in_place(partial: Path, out: Path) -> None:
    """Give a finished folder its name; an empty one of that name makes room."""
    if out.exists():
        out.rmdir()
    partial.rename(out)
    sync_folder(out.parent)


@torch.no_grad()
def largest_difference(one: GPT2, other: GPT2) -> float:
    """The largest difference between two models' logits, on texts of random tokens: one token, some, a whole context or
    1,024 tokens of it.

    Models of equal weights differ by 0: some processors' products depend, in their last bit, on where a matrix lies in
    memory.

    Raises:
        TaleError: a logit is not finite.
    """
    vocab_size, context = min(one.config.vocab_size, other.config.vocab_size), one.config.context_length
    generator, largest = torch.Generator().manual_seed(0), 0.0
    for length in sorted({1, min(context, 17), min(context, 1024)}):
        tokens_BT = torch.randint(vocab_size, (1, length), generator=generator)
        ours, theirs = (model(tokens_BT)[..., :vocab_size].float() for model in (one, other))
        if not (ours.isfinite().all() and theirs.isfinite().all()):
            raise TaleError("the model gives logits that are not finite: its weights are damaged")
        largest = max(largest, (ours - theirs).abs().max().item())
    return 0.0 if _equal_weights(one, other) else largest


def _equal_weights(one: GPT2, other: GPT2) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
