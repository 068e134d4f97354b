"""A GPT-2 folder in Hugging Face's layout, written whole and read back before anyone else can see it."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from tinytale.addons.interop.shipping import ship
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL, sync_folder, write_text
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


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` for the caller to fill; once it is, it gets the name `out`, whole or not at all.

    Raises:
        UsageError: something lies at `out`.
        TaleError: the disk refuses.
    """
    check_new(out)
    partial = out.with_name(out.name + PARTIAL)
    try:
        shutil.rmtree(partial, ignore_errors=True)
        yield partial
        if out.exists():  # an empty folder
            out.rmdir()
        partial.rename(out)
        sync_folder(out.parent)
    except OSError as error:
        raise TaleError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_model_folder(
    out: Path, model: GPT2, tokenizer: Tokenizer, dtype: torch.dtype, texts: Mapping[str, str] | None = None
) -> float:
    """Write a model as a new GPT-2 folder, with `texts` by file name beside it, whole or not at all.

    Returns the largest difference between its logits, read back, and the model's: 0 where `dtype` is the model's own.

    Raises:
        UsageError: something lies at `out`.
        TaleError: the disk refuses, or what was written is another model.
    """
    with new_folder(out) as partial:
        save_model(partial, model, tokenizer.end_of_text, tokenizer.to_json().encode(), dtype)
        for name, text in (texts or {}).items():
            write_text(partial / name, text)
        difference = largest_difference(model, load_model(partial))
        if dtype == torch.float32 and difference:
            raise TaleError(
                f"what was written for {out} gives logits that differ by {difference:g}; is the disk sound?"
            )
    return difference


def is_own_file(path: Path) -> bool:
    """Whether a file is there, in its folder itself or, by a link as the Hub's cache has them, in its blobs.

    Raises:
        TaleError: it is a link to somewhere else, whose content nobody meant to pass on.
    """
    if not path.is_file():
        return False
    folder, target = path.parent.resolve(), path.resolve()
    if target.parent not in (folder, folder.parent.parent / "blobs"):
        raise TaleError(
            f"{path} is a link that leads out of its folder, to {target}; put the file itself there to pass it on"
        )
    return True


def card_and_settings(source: RunFolder) -> dict[str, str]:
    """The card of a shipped run or of a GPT-2 folder, and the settings that it speaks of, by file name; or nothing.

    Raises:
        TaleError: one of them is a link that leads out of its folder.
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
    with new_folder(out) as partial:
        shipped = RunFolder(partial / "run")
        left_out = ship(run, shipped.path, model, tokenizer.end_of_text, dtype, card)
        shipped.config.rename(shipped.model / shipped.config.name)
        for path in shipped.model.iterdir():
            path.rename(partial / path.name)
        shutil.rmtree(shipped.path)
    return left_out


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
