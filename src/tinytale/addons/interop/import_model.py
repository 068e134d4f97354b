"""`tinytale import`: a GPT-2 folder of any origin becomes one of ours."""

from pathlib import Path
from typing import Literal

from tinytale.advice import command
from tinytale.console import console
from tinytale.errors import TaleError, UsageError
from tinytale.runs import find_folder, model_folder


def import_model(
    folder: str,
    *,
    out: Path,
    tokenizer: str | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
) -> None:
    """Read any GPT-2 folder, and write it as one of ours.

    It is a folder in Hugging Face's layout, whatever wrote it. Weights may lie in one or several safetensors files,
    with or without prefix, the output layer by itself if it is the embedding again, the vocabulary padded (which is cut
    to the tokenizer's). A pickle is never opened. The logits before and after are compared.

    Parameters
    ----------
    folder: str
        The folder, with config.json and safetensors.
    out: Path
        The new folder.
    tokenizer: str
        gpt2, or a folder with tokenizer.json, or with vocab.json and merges.txt. Default: the folder itself.
    dtype: str
        Number format of the weights that are written.
    """
    if Path(folder).is_file():
        _refuse_file(Path(folder))
    source = model_folder(find_folder(folder))

    import torch

    from tinytale.addons.interop import importing

    done = importing.import_model(source, tokenizer or source, out, getattr(torch, dtype))
    config = done.model.config
    cut = f", {done.rows_cut} rows of padding cut from its vocabulary" if done.rows_cut else ""
    console.print(
        f"A GPT-2 of {config.layers} layers, width {config.width}, {config.vocab_size:,} tokens{cut}; the logits of"
        f" random texts differ by {done.difference:.2g} at most, before and after"
    )
    console.print(f"Written to {out}, weights in {dtype}. Next: {command('generate', out)}", soft_wrap=True)


def _refuse_file(file: Path) -> None:
    from tinytale.model.weight_files import PICKLES, how_to_convert

    if any(file.match(pattern) for pattern in PICKLES):
        raise TaleError(how_to_convert([file]))
    raise UsageError(f"{file} is a file; expected its folder, with config.json beside it")
