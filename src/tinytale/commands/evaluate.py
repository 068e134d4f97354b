"""`tinytale evaluate`: how well a model predicts stories that it has not seen."""

from pathlib import Path
from typing import Literal

from tinytale.commands.options import Device, load_weights, print_json
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.runs import RunFolder, find_folder, model_folder


def evaluate(
    folder: str,
    *,
    data: str | None = None,
    split: Literal["test", "dev"] = "test",
    out: Path | None = None,
    device: Device = "auto",
    json: bool = False,
) -> None:
    """Score every token of the test split once: loss, perplexity and bits per byte, with a 95% interval over stories.

    Two views: each story from its start (what a reader meets), and contiguous windows (the field's usual validation
    loss). Results go into the run's `evaluation` folder.

    Parameters
    ----------
    folder: str
        A run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
    data: str
        A dataset folder, or a file of stories. Default: the dataset of the run.
    split: str
        Choose settings by the dev split; score the test split last.
    out: Path
        Folder for the results, needed when FOLDER is not a run.
    device: str
        Where to compute.
    json: bool
        Print one JSON object.
    """
    run = RunFolder(find_folder(folder))
    weights = model_folder(run.path)
    is_run = weights != run.path
    if data is None:
        if not is_run:
            raise UsageError(
                f"{folder} is not a run, so it names no dataset; say which with --data DATASET or --data FILE"
            )
        data = run.read_config().data.folder

    from tinytale.evaluation.results import results_table, save_results, score
    from tinytale.evaluation.stream import stream_of

    model, tokenizer = load_weights(weights, device)
    stream = stream_of(data, split, tokenizer, weights)
    result = score(model, stream, tokenizer.end_of_text, tokenizer.byte_lengths())
    kept_in = out or (run.evaluation if is_run else None)
    path = save_results(kept_in, result) if kept_in else None
    if json:
        print_json(result)
    else:
        console.print(results_table(result))
    if path:
        console.print(f"Written to {path}")
