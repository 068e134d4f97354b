"""`tinytale export`: a run or a model, in a form for elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tinytale.advice import command
from tinytale.commands.options import check_file, load_weights, need
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.files import read_json
from tinytale.runs import CARD, RunFolder, find_folder, model_folder

if TYPE_CHECKING:
    from tinytale.addons.report.model_card import Notes
    from tinytale.data.tokenizer import Tokenizer
    from tinytale.model.gpt2 import GPT2

Target = Literal["run", "huggingface", "gguf", "onnx"]
Format = Literal["float32", "bfloat16", "q8_0"]

FORMATS: dict[Target, tuple[Format, ...]] = {
    "run": ("bfloat16", "float32"),
    "huggingface": ("float32", "bfloat16"),
    "gguf": ("float32", "bfloat16", "q8_0"),
    "onnx": ("float32",),
}
"""What each target can hold; the first is its default, but huggingface keeps what the source has."""

LIBRARIES = {"gguf": ("gguf",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def export(
    folder: str,
    *,
    to: Target = "run",
    out: Path,
    dtype: Format | None = None,
    license: str | None = None,
    language: str | None = None,
    data_note: str | None = None,
    training_note: str | None = None,
    reading: Path | None = None,
) -> None:
    """Write a model for elsewhere: Hugging Face, GGUF, ONNX.

    Nothing of the source changes.

    run: a folder fit to ship, of a run: the best model with its card, settings, metrics, results and samples, without
    checkpoints or paths of this machine. An earlier export in the same place is replaced. huggingface: a GPT-2 folder
    for transformers and the Hub, with the card that the source has, or that a run gets. gguf: one file with weights and
    tokenizer for llama.cpp. onnx: a folder for transformers.js, Optimum and ONNX Runtime, in float32 and in 8 bits.

    Parameters
    ----------
    folder: str
        A run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
    to: str
        Which form.
    out: Path
        The new folder, or with gguf the file.
    dtype: str
        Number format of the weights. Default: bfloat16 for a run, which takes half the room; what the source has for
        huggingface; else float32. q8_0, of gguf alone, takes a quarter and is not exact.
    license: str
        Of the weights, for the card, as the Hub names it: mit.
    language: str
        Of the stories, for the card, as the Hub names it: en.
    data_note: str
        For the card: what the stories are, who wrote them, and under which licence they come.
    training_note: str
        For the card: on which machine it was trained, and what came before this run.
    reading: Path
        For the card: what a reader marked in the run's samples, a TOML file (docs/results/reading has one).
    """
    source = RunFolder(find_folder(folder))
    weights = model_folder(source.path)
    is_run = weights != source.path and source.config.is_file()
    makes_card = is_run and (to == "run" or (to == "huggingface" and not (weights / CARD).is_file()))
    if to == "run" and not is_run:
        raise UsageError(f"{folder} is not a run; expected a folder with config.toml and model/, or another --to")
    dtype = dtype or (stored_format(weights) if to == "huggingface" else FORMATS[to][0])
    if dtype not in FORMATS[to]:
        raise UsageError(f"--dtype is {dtype}; --to {to} can hold: {', '.join(FORMATS[to])}")
    if any((license, language, data_note, training_note, reading)) and not makes_card:
        raise UsageError(
            "--license, --language, --data-note, --training-note and --reading are for a new card, which only a run"
            " without one gets"
        )
    need(LIBRARIES.get(to, ()), "export")

    if to == "gguf":
        _to_gguf(weights, out, dtype, source.path.resolve().name)
    elif to == "onnx":
        _to_onnx(weights, out)
    elif makes_card:
        from tinytale.addons.report.card_stories import Marks
        from tinytale.addons.report.model_card import Notes

        marks = Marks.read(reading) if reading else None
        _run_to_folder(source, to, out, dtype, Notes(license, language, data_note, training_note, marks))
    else:
        _model_to_folder(source, weights, out, dtype)


def _load_gpt2(weights: Path) -> "tuple[GPT2, Tokenizer]":
    """A model that other programs may take for GPT-2, and its tokenizer.

    Raises:
        TaleError: a file is missing or damaged.
        UsageError: the code of the model was changed, and it is not GPT-2 any more.
    """
    from tinytale.model.published import check_published

    model, tokenizer = load_weights(weights, "cpu")
    check_published(model)
    return model, tokenizer


def stored_format(weights: Path) -> Format:
    """How the weights of a GPT-2 folder are stored: in bfloat16, or in what float32 holds too."""
    config = read_json(weights / "config.json")
    stored = isinstance(config, dict) and (config.get("dtype") or config.get("torch_dtype"))
    return "bfloat16" if stored == "bfloat16" else "float32"


def _run_to_folder(run: RunFolder, to: Target, out: Path, dtype: Format, notes: "Notes") -> None:
    import torch

    from tinytale.addons.interop.model_folder import check_new, write_model_folder_of_run
    from tinytale.addons.interop.shipping import check_place, ship
    from tinytale.addons.report.model_card import model_card

    whole = to == "run"
    (check_place if whole else check_new)(out)
    model, tokenizer = _load_gpt2(run.model)
    stored = getattr(torch, dtype)

    def card(shipped: RunFolder) -> str:
        return model_card(shipped, out.name, notes, None if whole else out.name)

    if whole:
        left_out = ship(run, out, model, tokenizer.end_of_text, stored, card)
    else:
        left_out = write_model_folder_of_run(out, run, model, tokenizer, stored, card)
    if left_out:
        console.print(
            f"Left out, since it was not measured on these weights: {', '.join(left_out)}."
            " Measure it again by evaluate, with --split dev for dev and --suite full for the samples:"
            f" {command('evaluate', run.path)}",
            style="yellow",
            soft_wrap=True,
        )
    _warn_of_variant(model)
    console.print(f"Written to {out}, weights in {dtype}. Next: read {(out / 'model' if whole else out) / CARD}")


def _model_to_folder(source: RunFolder, weights: Path, out: Path, dtype: Format) -> None:
    import torch

    from tinytale.addons.interop.model_folder import card_and_settings, check_new, write_model_folder
    from tinytale.addons.report.model_card import readdressed

    check_new(out)
    model, tokenizer = _load_gpt2(weights)
    texts = card_and_settings(source) if dtype == stored_format(weights) else {}  # a card names the format
    if CARD in texts:
        texts[CARD] = readdressed(texts[CARD], out.name)
    difference = write_model_folder(out, model, tokenizer, getattr(torch, dtype), texts)
    _warn_of_variant(model)
    console.print(f"Written to {out}, weights in {dtype}; its logits differ by {difference:.2g} at most")


def _warn_of_variant(model: "GPT2") -> None:
    from tinytale.model.folder import is_gpt2

    if not is_gpt2(model.config):
        kind = f"norm: {model.config.norm}, positions: {model.config.positions}"
        console.print(f"It is a variant ({kind}), so that only tinytale loads this folder.", style="yellow")


def _to_gguf(weights: Path, out: Path, dtype: Format, name: str) -> None:
    from tinytale.addons.interop.gguf_file import write_gguf

    check_file(out, "model", ".gguf")
    model, tokenizer = _load_gpt2(weights)
    in_float32 = write_gguf(out, model, tokenizer, name, dtype)
    if in_float32:
        console.print(f"In float32, since their rows are no multiple of a block of {dtype}: {', '.join(in_float32)}")
    console.print(
        f"Written to {out}, {out.stat().st_size:,} bytes. Next: llama-cli -m {out} -no-cnv -p 'Once upon a time'"
    )


def _to_onnx(weights: Path, out: Path) -> None:
    from tinytale.addons.interop.model_folder import check_new
    from tinytale.addons.interop.onnx_folder import GRAPH, QUANTIZED, write_onnx_folder

    if out.suffix == ".onnx":
        raise UsageError(f"--out is {out}; name a folder, in which the graph will be {GRAPH}")
    check_new(out)
    model, tokenizer = load_weights(weights, "cpu")
    exact, rounded = write_onnx_folder(out, model, tokenizer)
    console.print(
        f"Written to {out}. Its logits differ from ours by {exact:.2g} at most in {GRAPH}, and by {rounded:.2g} in"
        f" {QUANTIZED}, a quarter of the size, which browsers load unless told dtype: 'fp32'"
    )
