"""The flagship on a GPU: try some regularisations, keep the best on dev, pack its weights in pieces that travel.

    python -m tinytale.bench.flagship datasets/tinystories --out results --minutes 9

A GPU machine may have no more than the core's libraries, so this is not a verb of the command line. Run it again with
the same arguments: what is done is kept, a run that the time cut short goes on to the bit, and the pieces come last.
Afterwards, where the results have been brought: `python -m tinytale.bench.flagship --join results model.safetensors`.
"""

import argparse
import dataclasses
import hashlib
import math
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tinytale.config import TrainConfig, override
from tinytale.console import console
from tinytale.errors import TaleError
from tinytale.evaluation.intervals import ends_text
from tinytale.evaluation.perplexity import nats_from_story_starts, story_bounds, summarise
from tinytale.files import read_json, sha256_of, write_bytes, write_json
from tinytale.model.folder import load_model, save_model
from tinytale.recipes import recipe
from tinytale.runs import RunFolder
from tinytale.training.display import ConsoleDisplay
from tinytale.training.interrupt import Interrupt
from tinytale.training.loop import BatchSource
from tinytale.training.session import Dataset, Session

MIB = 2**20
PIECES = "pieces.json"

CANDIDATES: dict[str, dict[str, Any]] = {
    "plain": {"model": {"dropout": 0.0}, "run": {"epochs": 5.0}},
    "dropout 0.1": {"run": {"epochs": 8.0}},
    "dropout 0.1, weight decay": {
        "optimiser": {"matrix_weight_decay": 0.1, "weight_decay": 0.1},
        "run": {"epochs": 8.0},
    },
    "dropout 0.2, weight decay": {
        "model": {"dropout": 0.2},
        "optimiser": {"matrix_weight_decay": 0.1, "weight_decay": 0.1},
        "run": {"epochs": 12.0},
    },
    "8 x 512, dropout 0.1, weight decay": {
        "model": {"layers": 8, "width": 512, "heads": 8},
        "optimiser": {"matrix_weight_decay": 0.1, "weight_decay": 0.1},
        "run": {"epochs": 10.0},
    },
}
"""What is tried, as changes to the recipe `course`, in this order; only the dev split decides."""


@dataclass(frozen=True)
class Until:
    """Batches until a moment; from then on, training is asked to stop, as by Ctrl-C."""

    batches: BatchSource
    deadline: float
    interrupt: Interrupt

    def batch_at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Of a step."""
        if time.monotonic() > self.deadline:
            self.interrupt.signal_number = signal.SIGTERM
        return self.batches.batch_at(step)


def try_out(config: TrainConfig, dataset: Dataset, folder: RunFolder, deadline: float) -> dict[str, Any] | None:
    """Train `config` in `folder` to its end and score the dev stories from their starts; None if the time is up."""
    tokenizer = dataset.tokenizer
    config = override(config, {"model": {"vocab_size": tokenizer.vocab_size}})
    session = Session(config, folder, dataset)
    state = session.state
    step = session.begin()
    title = (
        f"{folder.path.name}: {state.model.parameter_count() / 1e6:.1f}M weights, {state.device.type} {state.precision}"
    )
    with (
        ConsoleDisplay(title, step, state.max_steps, config.tokens_per_step) as display,
        Interrupt() as interrupt,
    ):
        trainer = session.trainer(display, watched=lambda batches: Until(batches, deadline, interrupt))
        if trainer.train(interrupt):
            return None
    dev = dataset.manifest.tokens(dataset.folder, "dev")
    dev_N = dev[: len(dev)]
    model = load_model(folder.model).to(state.device)
    bounds = story_bounds(dev_N, tokenizer.end_of_text)
    lengths = tokenizer.byte_lengths()
    score = summarise(nats_from_story_starts(model, dev_N, bounds), bounds, lengths[dev_N])
    peak = torch.cuda.max_memory_allocated() if state.device.type == "cuda" else None
    return {
        "best_step": state.progress.best_step,
        "steps": state.max_steps,
        "seconds": state.progress.seconds,
        "tokens_per_second": state.max_steps * config.tokens_per_step / state.progress.seconds,
        "peak_bytes": peak,
        "dev": dataclasses.asdict(score),
    }


def pack(model: Path, out: Path, piece_bytes: int) -> list[dict[str, Any]]:
    """Cut the weights of a GPT-2 folder, in bfloat16, into files of at most `piece_bytes`; list them with hashes."""
    config = read_json(model / "config.json")
    save_model(out / "model", load_model(model), config["eos_token_id"], dtype=torch.bfloat16)
    content = (out / "model" / "model.safetensors").read_bytes()
    pieces = []
    for number, start in enumerate(range(0, len(content), piece_bytes)):
        piece, name = content[start : start + piece_bytes], f"piece-{number:03}"
        write_bytes(out / name, piece)
        pieces.append({"file": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()})
    write_json(out / PIECES, {"sha256": hashlib.sha256(content).hexdigest(), "pieces": pieces})
    (out / "model" / "model.safetensors").unlink()
    return pieces


def join(pieces: Path, file: Path) -> None:
    """Put the weights together again.

    Raises:
        TaleError: a piece is missing or altered.
    """
    listed = read_json(pieces / PIECES)
    for piece in listed["pieces"]:
        path = pieces / piece["file"]
        if not path.is_file() or sha256_of(path) != piece["sha256"]:
            raise TaleError(f"{path} is missing or has been altered; bring it again")
    write_bytes(file, b"".join((pieces / piece["file"]).read_bytes() for piece in listed["pieces"]))
    assert sha256_of(file) == listed["sha256"]


def rows(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """A line for each candidate that is done, the best one marked."""
    best = min(results, key=lambda name: results[name]["dev"]["bits_per_byte"], default=None)
    for name, found in results.items():
        dev, mark = found["dev"], " <- best" if name == best else ""
        ends = ends_text(dev["interval_95"], ".4f", " to ")
        yield (
            f"{name:36} {dev['bits_per_byte']:.4f} bits per byte ({ends}), perplexity"
            f" {dev['perplexity']:.3f}, {found['seconds']:.0f} s, {found['tokens_per_second']:,.0f} tokens/s{mark}"
        )


def main() -> None:
    """Read the arguments, work until done or out of time, print a table last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, nargs="?", help="dataset folder")
    parser.add_argument("--out", type=Path, default=Path("results"), help="where the results and the pieces go")
    parser.add_argument("--runs", type=Path, default=Path("runs/flagship"), help="where the run folders stay")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    parser.add_argument("--join", type=Path, nargs=2, metavar=("PIECES", "FILE"), help="put brought pieces together")
    options = parser.parse_args()
    if options.join:
        join(*options.join)
        return
    search(options.dataset, options.runs, options.out, time.monotonic() + 60 * options.minutes, CANDIDATES)


def search(dataset: Path, runs: Path, out: Path, deadline: float, candidates: dict[str, dict[str, Any]]) -> bool:
    """Try the candidates in turn and pack the best; whether all of it was done in time."""
    kept = runs / "results.json"
    results, data = read_json(kept) if kept.is_file() else {}, Dataset(dataset)
    for name, changes in candidates.items():
        if name not in results:
            found = try_out(override(recipe("course"), changes), data, RunFolder(runs / name), deadline)
            if found is None:
                break
            results[name] = found
            write_json(kept, results)
    done = results.keys() == candidates.keys()
    if done:
        best = min(results, key=lambda name: results[name]["dev"]["bits_per_byte"])
        pack(RunFolder(runs / best).model, out, 16 * MIB)
    write_json(out / "results.json", results)
    for row in rows(results):
        console.print(row)
    return done


if __name__ == "__main__":
    main()
