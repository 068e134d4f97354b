"""What a run began with: settings and metrics of the run whose weights it took, kept in its folder, and what they cost.

runs/second/before/config.toml, metrics.jsonl    of runs/first
runs/second/before/before/                       of the run before that
"""

from collections.abc import Callable
from typing import NamedTuple

from tinytale.config import TrainConfig
from tinytale.files import write_bytes, write_text
from tinytale.runs import RunFolder
from tinytale.training.metrics import best_look, last_value, read_metrics


class Cost(NamedTuple):
    """Of training."""

    tokens: int
    seconds: float


def copy_record(
    source: RunFolder, target: RunFolder, changed: Callable[[TrainConfig], TrainConfig] = lambda settings: settings
) -> None:
    """Copy the settings, as `changed` makes them, and the metrics of a run, and of all runs before it.

    Of a folder that is no run, nothing.
    """
    if not (source.config.is_file() and source.metrics.is_file()):
        return
    copy_record(source.before, target.before, changed)
    write_bytes(target.metrics, source.metrics.read_bytes())
    write_text(target.config, changed(source.read_config()).to_toml())


def cost_before(run: RunFolder) -> Cost:
    """What the weights that a run began with had cost, through all runs before it."""
    if not run.before.config.is_file():
        return Cost(0, 0.0)
    own, past = _cost_of_best(run.before), cost_before(run.before)
    return Cost(own.tokens + past.tokens, own.seconds + past.seconds)


def _cost_of_best(run: RunFolder) -> Cost:
    """What a run had cost when it found its best weights; the whole, if it never looked at dev."""
    entries = list(read_metrics(run.metrics))
    best = best_look(entries)
    return Cost(last_value(entries, "tokens", best), float(last_value(entries, "seconds", best)))
