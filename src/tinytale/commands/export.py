"""`tinytale export`: a run becomes a folder fit to ship."""

from pathlib import Path
from typing import Literal

from tinytale.commands.options import load_weights
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.runs import RunFolder, find_folder, model_folder


def export(
    run: str,
    *,
    out: Path,
    dtype: Literal["bfloat16", "float32"] = "bfloat16",
    license: str | None = None,
    language: str | None = None,
    data_note: str | None = None,
) -> None:
    """Write a run as a folder fit to ship: the best model with its card, settings, metrics, results and samples.

    Checkpoints and the paths of this machine stay behind. The model is an ordinary GPT-2 folder; every figure of its
    card (model/README.md) is read from the run. An earlier export in the same place is replaced.

    Parameters
    ----------
    run: str
        A run.
    out: Path
        The new folder.
    dtype: str
        Number format of the weights: bfloat16 takes half the room.
    license: str
        Of the weights, for the card, as the Hub names it: mit.
    language: str
        Of the stories, for the card, as the Hub names it: en.
    data_note: str
        For the card: what the stories are, who wrote them, and under which licence they come.
    """
    source = RunFolder(find_folder(run))
    weights = model_folder(source.path)
    if weights == source.path or not source.config.is_file():
        raise UsageError(f"{run} is not a run; expected a folder with config.toml and model/")

    import torch

    from tinytale.interop.shipping import check_place, ship
    from tinytale.report.model_card import Notes, model_card

    check_place(out)
    model, tokenizer = load_weights(weights, "cpu")
    notes = Notes(license, language, data_note)
    left_out = ship(
        source,
        out,
        model,
        tokenizer.end_of_text,
        torch.bfloat16 if dtype == "bfloat16" else torch.float32,
        lambda shipped: model_card(shipped, out.name, notes),
    )
    if left_out:
        console.print(
            f"Left out, since it was not measured on these weights: {', '.join(left_out)}."
            f" Measure again with tinytale evaluate {run} (--split dev for dev, --suite full for the samples)",
            style="yellow",
        )
    console.print(f"Written to {out}, weights in {dtype}. Next: read {out / 'model' / 'README.md'}")
