"""What the runs of a study have shown, from their folders alone."""

from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from tinytale.addons.study.study import Study, StudyRun, runs_of
from tinytale.advice import command
from tinytale.console import figures_table
from tinytale.data.shards import Manifest
from tinytale.errors import TaleError
from tinytale.evaluation.intervals import ends_text
from tinytale.model.folder import read_config
from tinytale.model.gpt2 import GPT2
from tinytale.training.metrics import read_metrics

LAST_STEPS = 100
"""The training loss is the mean of so many steps, the last ones."""


def collect(study: Study, runs: Path) -> dict[str, Any]:
    """Every run of a study with its settings, its cost, its curve and its score, in the order of the variations.

    Raises:
        TaleError: a run has not been scored yet, or on other stories than the rest, or is damaged.
    """
    found = [_found(run) for run in runs_of(study, runs)]
    if len({(one["dev"]["stories"], one["dev"]["bytes"]) for one in found}) > 1:
        raise TaleError(
            f"the runs of {study.name} are scored on different stories; prepare their datasets from one source"
        )
    return {"question": study.question, "recipe": study.recipe, "runs": found}


def _found(run: StudyRun) -> dict[str, Any]:
    score = run.score()
    if score is None:
        both = command("study", "FILE", "--out", "RESULTS")
        raise TaleError(f"{run.folder.path} has not been trained and scored yet; this does both: {both}")
    config, dataset = run.folder.read_config(), Path(run.variation.dataset)
    manifest, entries = Manifest.load(dataset), list(read_metrics(run.folder.metrics))
    steps = [entry for entry in entries if "loss" in entry]
    losses = [entry["loss"] for entry in steps[-LAST_STEPS:] if entry["loss"] is not None]
    with torch.device("meta"):
        parameters = GPT2(read_config(run.folder.model)).parameter_count()
    return {
        "variation": run.variation.name,
        "seed": run.seed,
        "settings": run.variation.settings,
        "dataset": manifest.digest,
        "vocab_size": manifest.vocab_size,
        "train_tokens": len(manifest.tokens(dataset, "train")),
        "parameters": parameters,
        "steps": len(steps),
        "tokens": steps[-1]["tokens"],
        "seconds": steps[-1]["seconds"],
        "train_loss": sum(losses) / len(losses),
        "dev": {key: score[key] for key in ("stories", "tokens_scored", "bytes", "views")},
        "curve": [
            {"tokens": entry["step"] * config.tokens_per_step}
            | {key: entry[key] for key in ("seconds", "dev_bits_per_byte")}
            for entry in entries
            if "dev_loss" in entry
        ],
    }


def study_table(result: dict[str, Any]) -> Table:
    """One row a run, for a person."""
    table = figures_table(
        result["question"],
        "bits per byte of the dev stories, each from its start, with its 95% interval over stories",
        ("variation", "seed", "weights", "tokens", "bits per byte", "95% interval"),
    )
    for run in result["runs"]:
        score = run["dev"]["views"]["stories"]
        table.add_row(
            run["variation"],
            str(run["seed"]),
            f"{run['parameters']:,}",
            f"{run['tokens']:,}",
            f"{score['bits_per_byte']:.4f}",
            ends_text(score["interval_95"], ".4f"),
        )
    return table
