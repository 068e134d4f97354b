"""Scoring a model on a stream, and the results file that a run folder keeps for each dataset."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tinytale.console import figures_table, progress_bar
from tinytale.errors import NotFiniteError, TaleError
from tinytale.evaluation.intervals import ends_text
from tinytale.evaluation.perplexity import Score, nats_from_story_starts, nats_in_windows, story_bounds, summarise
from tinytale.evaluation.profile import profile
from tinytale.evaluation.story_scores import StoryScores
from tinytale.evaluation.stream import Stream
from tinytale.files import read_json, write_json
from tinytale.lock import held
from tinytale.model.gpt2 import GPT2

VIEWS = {
    "stories": "each story from its start",
    "windows": "contiguous windows",
}

WAIT_SECONDS = 30.0
"""How long a result waits for that of another evaluation to be written."""


def score(
    model: GPT2, stream: Stream, end_of_text: int, bytes_per_token: np.ndarray
) -> tuple[dict[str, Any], StoryScores]:
    """Score every token of a stream once in each of the two views, with progress on the console.

    Returns the result, and what each story cost, read from its start.

    Raises:
        TaleError: the stream holds no story, or the model's numbers are not finite.
    """
    bounds = story_bounds(stream.tokens_N, end_of_text)
    targets = len(stream.tokens_N) - 1
    with progress_bar("token") as bar:

        def task(view: str) -> Any:
            handle = bar.add_task(f"{stream.split}: {VIEWS[view]}", total=targets)
            return lambda tokens: bar.advance(handle, tokens)

        nats = {
            "stories": nats_from_story_starts(model, stream.tokens_N, bounds, task("stories")),
            "windows": nats_in_windows(model, stream.tokens_N, task("windows")),
        }
    result, scores = stream_result(stream, end_of_text, bytes_per_token, nats)
    sizes = {"context_length": model.config.context_length, "parameters": model.parameter_count()}
    return {**result, **sizes}, scores


def stream_result(
    stream: Stream, end_of_text: int, bytes_per_token: np.ndarray, nats: dict[str, np.ndarray]
) -> tuple[dict[str, Any], StoryScores]:
    """The result of any language model from the nats of each token of a stream, by view, `stories` among them.

    Raises:
        TaleError: the stream holds no story, or the numbers are not finite.
    """
    if not all(np.isfinite(nats_N).all() for nats_N in nats.values()):
        raise NotFiniteError
    bounds = story_bounds(stream.tokens_N, end_of_text)
    byte_lengths_N = bytes_per_token[stream.tokens_N]
    result = {
        "data": stream.name,
        "digest": stream.digest,
        "split": stream.split,
        "stories": len(bounds) - 1,
        "tokens_scored": len(stream.tokens_N) - 1,
        "bytes": int(byte_lengths_N.sum()),
        "views": {view: _figures(summarise(nats_N, bounds, byte_lengths_N)) for view, nats_N in nats.items()},
        "profile": profile(nats["stories"], bounds),
    }
    return result, StoryScores.of(nats["stories"], bounds, byte_lengths_N)


def _figures(score: Score) -> dict[str, Any]:
    """A score as it is kept: JSON has no infinite number, so that such a perplexity is none."""
    figures = asdict(score)
    return figures if math.isfinite(score.perplexity) else {**figures, "perplexity": None}


def save_results(folder: Path, result: dict[str, Any]) -> Path:
    """Put a result into the folder's file for its dataset, beside those of its other splits.

    What was measured earlier on the same split and is not measured now stays, if it is of the same weights.

    Raises:
        TaleError: the disk refuses, or the file there is damaged.
    """
    path = folder / f"{result['digest'][:16]}.json"
    with held(folder, "results.lock", "being written to", wait=WAIT_SECONDS):  # another evaluation of the same run
        results = read_results(path) if path.is_file() else {}
        earlier = results.get(result["split"], {})
        kept = earlier if earlier.get("weights") == result.get("weights") else {}
        write_json(path, {**results, result["split"]: {**kept, **result}})
    return path


def read_results(path: Path) -> dict[str, dict[str, Any]]:
    """The results of a dataset, by split.

    Raises:
        TaleError: the file is missing or damaged; the message names it.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(result, dict) for result in content.values()):
        raise TaleError(f"{path} does not hold results; expected one JSON object for each split")
    return content


def results_table(result: dict[str, Any]) -> Table:
    """The two views side by side, for a person."""
    table = figures_table(
        f"{result['data']}, {result['split']}: {result['stories']:,} stories, {result['bytes']:,} bytes",
        "loss in nats a token; bits per byte with its 95% interval over stories",
        ("view", "loss", "perplexity", "bits per byte", "95% interval"),
    )
    for view, figures in result["views"].items():
        table.add_row(VIEWS[view], *figures_row(figures))
    return table


def figures_row(figures: dict[str, Any]) -> tuple[str, ...]:
    """The cells of one view: loss, perplexity, bits per byte and its interval."""
    return (
        f"{figures['loss']:.4f}",
        perplexity_text(figures),
        f"{figures['bits_per_byte']:.4f}",
        ends_text(figures["interval_95"], ".4f"),
    )


def perplexity_text(figures: dict[str, Any]) -> str:
    """The perplexity of one view as a person reads it."""
    return "infinite" if figures["perplexity"] is None else f"{figures['perplexity']:.3f}"
