"""What a run is made of: the model in its first state, its batches, and the dev tokens that it is measured on."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tinytale.advice import command
from tinytale.config import TrainConfig
from tinytale.data.batches import Batches, StoryBatches
from tinytale.data.noise import NoisyBatches
from tinytale.data.shards import Manifest
from tinytale.errors import UsageError
from tinytale.training.distributed import ALONE, Ranks, Share
from tinytale.training.loop import BatchSource, TrainState, initial_state


@dataclass(frozen=True)
class Material:
    """Of one rank."""

    state: TrainState
    batches: BatchSource
    """This rank's rows of every batch."""
    dev_tokens_N: np.ndarray


def gather(
    config: TrainConfig, dataset: Path, manifest: Manifest, ranks: Ranks = ALONE, begun: bool = False
) -> Material:
    """Make what `config` describes, from the dataset folder of `manifest`; `epochs` become steps here.

    Of a run that has `begun` the weights that it began with are not read: a checkpoint will fill the model.

    Raises:
        UsageError: the dev split is empty, the train split too short; or see `initial_state`.
        TaleError: see `initial_state`.
    """
    data, run = config.data, config.run
    rows = ranks.rows(data.batch_size)
    kind = StoryBatches if data.windows == "stories" else Batches
    batches = kind(manifest, dataset, config.sequence_length, data.batch_size, run.seed, data.order == "fixed")
    dev = manifest.tokens(dataset, "dev")
    if not len(dev):
        raise UsageError(
            f"the dev split of {dataset} is empty, so no weights can be called the best. The text of a story decides"
            f" its split, and copies of a story share it; prepare more stories that differ (copies are counted by"
            f" {command('data', dataset)})"
        )
    steps = run.max_steps or max(1, math.ceil(run.epochs * batches.steps_per_epoch))
    state = initial_state(config, steps, ranks, begun, batches.steps_per_epoch)
    source = batches
    if data.input_noise:
        until = int(data.input_noise_until * steps)
        source = NoisyBatches(batches, data.batch_size, manifest, data.input_noise, until, run.seed)
    return Material(
        state=state,
        batches=Share(source, rows) if ranks.size > 1 else source,
        dev_tokens_N=dev[: run.evaluate_tokens + 1 if run.evaluate_tokens else len(dev)],
    )
