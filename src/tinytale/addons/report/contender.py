"""A folder that takes part in a comparison: a run, or a folder of results of some other model, as its files tell it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch

from tinytale.advice import command
from tinytale.config import TrainConfig
from tinytale.errors import TaleError, UsageError
from tinytale.evaluation.results import read_results
from tinytale.evaluation.story_scores import StoryScores, load_story_scores
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.history import cost_before
from tinytale.training.metrics import read_metrics


class Stories(NamedTuple):
    """What was scored: results on the same stories may be put side by side."""

    digest: str
    """SHA-256 of the dataset or file."""
    split: str


class Point(NamedTuple):
    """A look at the dev split while training."""

    tokens: int
    seconds: float
    bits_per_byte: float


@dataclass(frozen=True)
class Contender:
    """What the files of a folder say; what they do not say is None, or empty."""

    name: str
    folder: Path
    config: TrainConfig | None = None
    parameters: int | None = None
    tokens: int | None = None
    """Seen in training, by the runs before it too."""
    seconds: float | None = None
    """Of training."""
    curve: list[Point] = field(default_factory=list)
    results: dict[Stories, dict[str, Any]] = field(default_factory=dict)
    scores: dict[Stories, StoryScores] = field(default_factory=dict)
    """What each story cost, of the results that keep it."""


def read_contender(name: str, folder: Path) -> Contender:
    """Read a run (config.toml, metrics.jsonl, evaluation/), or what `evaluate --out` wrote for any model.

    Raises:
        UsageError: the folder is neither.
        TaleError: a file is damaged.
    """
    run = RunFolder(folder)
    is_run = run.config.is_file()
    files = _result_files(run.evaluation if is_run else folder)
    if not (is_run or files):
        raise UsageError(
            f"{folder} is neither a run nor a folder of results; for a GPT-2 folder, first:"
            f" {command('evaluate', folder, '--data', 'DATASET', '--out', 'RESULTS')}, and compare RESULTS"
        )
    results, scores = {}, {}
    for path in files:
        for split, result in read_results(path).items():
            stories = Stories(_checked(result, path)["digest"], split)
            results[stories] = result
            if (kept := load_story_scores(path, result)) is not None:
                scores[stories] = kept
    if not is_run:
        counts = {result.get("parameters") for result in results.values()}
        return Contender(
            name, folder, parameters=counts.pop() if len(counts) == 1 else None, results=results, scores=scores
        )
    config = run.read_config()
    with torch.device("meta"):
        parameters = GPT2(config.model).parameter_count()
    return Contender(name, folder, config, parameters, *_course(run), results, scores)


def distinct_names(folders: list[Path]) -> list[str]:
    """The ends of the folders' paths, as short as tells them apart.

    Raises:
        UsageError: a folder is named twice.
    """
    paths = [folder.resolve() for folder in folders]
    for path in paths:
        if paths.count(path) > 1:
            raise UsageError(f"{path} is named twice; name each folder once")
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise AssertionError("distinct paths have distinct parts")


def _result_files(folder: Path) -> list[Path]:
    """Those that `save_results` has named by a digest."""
    found = sorted(folder.glob("*.json")) if folder.is_dir() else []
    return [path for path in found if re.fullmatch("[0-9a-f]{16}", path.stem)]


def _checked(result: dict[str, Any], path: Path) -> dict[str, Any]:
    """A result that has what the tables show."""
    try:
        score = result["views"]["stories"]
        low, high = score["interval_95"] or (0, 0)  # none of one story
        numbers = (score["bits_per_byte"], low, high, result["stories"], result["bytes"])
        names = (result["digest"], result["split"], result["data"])
        if not all(type(number) in (int, float) for number in numbers) or not all(type(name) is str for name in names):
            raise TypeError("a value of another kind")
    except (KeyError, TypeError, ValueError) as error:
        raise TaleError(f"{path} is damaged ({error!r}); delete it, and evaluate again") from error
    return result


def _course(run: RunFolder) -> tuple[int | None, float | None, list[Point]]:
    """Tokens, seconds, and the dev curve of a training run; counted from where its first weights were made."""
    tokens, seconds, curve = None, None, []
    past = cost_before(run)
    for entry in read_metrics(run.metrics):
        if "tokens" in entry:
            tokens = past.tokens + entry["tokens"]
        if "seconds" in entry:
            seconds = past.seconds + entry["seconds"]
        if entry.get("dev_bits_per_byte") is not None and tokens is not None and seconds is not None:
            curve.append(Point(tokens, seconds, entry["dev_bits_per_byte"]))
    return tokens, seconds, curve
