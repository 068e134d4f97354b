"""A run rehearsed: some real steps, a piece of an evaluation and a checkpoint, timed, to foretell the whole.

Letters of shapes: B batch, T positions, N tokens of the dev split.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from tinytale.errors import TaleError
from tinytale.hardware import peak_memory, synchronise
from tinytale.model.folder import save_model
from tinytale.runs import RunFolder
from tinytale.training.checkpoint import save_checkpoint
from tinytale.training.estimate import checkpoints, evaluations
from tinytale.training.loop import BatchSource, TrainState, dev_loss, train_step
from tinytale.training.loss import Loss

MEASURED_SECONDS = 2.0
"""A thing is done again and again for so long, after a first time that does not count, and its median time taken."""

LONGEST_STEP = 10.0
"""Seconds; where a whole step would take longer, a part of it is measured."""


@dataclass(frozen=True)
class Rehearsal:
    """What was measured. Times are in seconds."""

    step: float
    """One optimiser step, its batch read from the disk."""
    compilation: float
    """What the first steps take longer than others; 0 without torch.compile."""
    evaluation: float
    """One evaluation on the dev split."""
    checkpoint: float
    """Writing one checkpoint."""
    model: float
    """Writing the best model, after an evaluation."""
    memory: int
    """Most bytes in use: of the CUDA device, else of the process."""
    sequences: int
    """How many of a batch's sequences the step was measured on; the rest is reckoned from them."""
    compiled: bool
    """Whether the measured steps were compiled."""

    def total(self, state: TrainState, first: int) -> float:
        """Seconds from step `first` to the last one, with evaluations and checkpoints."""
        steps = state.max_steps - first
        looks = evaluations(state.config, first, state.max_steps)
        saves = checkpoints(state.config, first, state.max_steps, self.step)
        return self.compilation + steps * self.step + looks * (self.evaluation + self.model) + saves * self.checkpoint


def rehearse(
    state: TrainState,
    batches: BatchSource,
    dev_tokens_N: np.ndarray,
    parent: Path,
    end_of_text: int,
    tokenizer_json: bytes,
) -> Rehearsal:
    """Train a little, in `state`, which is of no use afterwards; what is written in `parent` is deleted again.

    Raises:
        TaleError: the disk refuses.
    """
    config, real_loss = state.config, state.loss
    state.model.train()
    sequences = _affordable(state, batches)
    micro_batch = config.data.micro_batch_size or config.data.batch_size
    compiled = state.compiled and sequences >= micro_batch
    loss = real_loss if compiled else state.eager_loss
    first = _seconds(state, lambda: _step(state, batches, sequences, loss))
    part = _typical_seconds(state, lambda: _step(state, batches, sequences, loss))
    step = part
    if sequences < config.data.batch_size:
        fixed = min(part, _typical_seconds(state, lambda: _step(state, batches, 1, state.eager_loss, tokens=1)))
        step = fixed + (part - fixed) * config.data.batch_size / sequences
    evaluation = _evaluation_seconds(state, dev_tokens_N, min(sequences, micro_batch))
    with _folder_in(parent) as folder:
        checkpoint = _seconds(
            state, lambda: save_checkpoint(RunFolder(folder), state.model, state.optimiser, state.progress)
        )
        model = _seconds(state, lambda: save_model(folder / "model", state.model, end_of_text, tokenizer_json))
    return Rehearsal(
        step=step,
        compilation=max(0.0, first - part) if compiled else 0.0,
        evaluation=evaluation,
        checkpoint=checkpoint,
        model=model,
        memory=peak_memory(state.device),
        sequences=sequences,
        compiled=compiled,
    )


def _affordable(state: TrainState, batches: BatchSource) -> int:
    """How many of a batch's sequences a step can be measured on: all, or as many as take a few seconds."""
    data = state.config.data
    one = _seconds(state, lambda: _step(state, batches, 1, state.eager_loss))
    if one < LONGEST_STEP:
        one = _seconds(state, lambda: _step(state, batches, 1, state.eager_loss))
    if one * data.batch_size <= LONGEST_STEP:
        return data.batch_size
    return max(1, min(data.micro_batch_size or data.batch_size, int(LONGEST_STEP / one)))


def _step(state: TrainState, batches: BatchSource, sequences: int, loss: Loss, tokens: int | None = None) -> None:
    """A real step on the first sequences of a batch, or on the first tokens of these."""
    state.loss = loss
    inputs_BT, targets_BT = (torch.from_numpy(part).to(state.device) for part in batches.batch_at(state.progress.step))
    train_step(state, inputs_BT[:sequences, :tokens], targets_BT[:sequences, :tokens])


def _evaluation_seconds(state: TrainState, dev_tokens_N: np.ndarray, rows: int) -> float:
    """The time of an evaluation, from that of its first windows."""
    piece_N = dev_tokens_N[: rows * state.config.sequence_length + 1]
    seconds = _typical_seconds(state, lambda: dev_loss(state, piece_N))
    return seconds * (len(dev_tokens_N) - 1) / (len(piece_N) - 1)


def _seconds(state: TrainState, work: Callable[[], object]) -> float:
    synchronise(state.device)
    started = time.perf_counter()
    work()
    synchronise(state.device)
    return time.perf_counter() - started


def _typical_seconds(state: TrainState, work: Callable[[], object]) -> float:
    work()
    taken = [_seconds(state, work)]
    while sum(taken) < MEASURED_SECONDS:
        taken.append(_seconds(state, work))
    return statistics.median(taken)


@contextmanager
def _folder_in(parent: Path) -> Iterator[Path]:
    """A folder on the disk where the run would be, gone afterwards."""
    while not parent.is_dir():
        parent = parent.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".tinytale-", dir=parent, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    except OSError as error:
        raise TaleError(f"cannot write into {parent}: {error.strerror or error}") from error
