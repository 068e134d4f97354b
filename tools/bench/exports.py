"""One model in the forms that the programs of `bench generate` read."""

import contextlib
import io
import random
from pathlib import Path

import torch

from bench.sizes import Size
from tinytale.data.tokenizer import train_tokenizer
from tinytale.errors import TaleError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2


def random_model(size: Size, folder: Path) -> None:
    """Write a GPT-2 folder with untrained weights and a tokenizer of made-up words: speed depends on neither.

    The matrices are five times as large as those that training begins with, so that the likeliest token leads more
    clearly and programs that round a little differently tell the same.
    """
    chance = random.Random(0)
    words = ["".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(8 * size.vocab_size)]
    stories = (" ".join(words[first : first + 100]) for first in range(0, len(words), 100))
    tokenizer = train_tokenizer(stories, size.vocab_size)
    torch.manual_seed(0)
    model = GPT2(size.model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5 if parameter.dim() == 2 else 1)
    save_model(folder, model, tokenizer.end_of_text, tokenizer.to_json().encode())


def to_ctranslate2(folder: Path, out: Path) -> None:
    """Let CTranslate2's own converter write the model; it is quantised when it is loaded.

    Raises:
        TaleError: the converter refuses.
    """
    from ctranslate2.converters import TransformersConverter  # pyright: ignore[reportMissingImports]

    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            TransformersConverter(str(folder)).convert(str(out))
    except (ValueError, OSError, RuntimeError) as error:
        raise TaleError(f"CTranslate2 cannot convert {folder}: {error}") from error


def random_prompts(count: int, length: int, vocab_size: int) -> list[list[int]]:
    """Different prompts of one length: the same for every contender, and at every call."""
    chance = random.Random(0)
    return [[chance.randrange(vocab_size) for _ in range(length)] for _ in range(count)]
