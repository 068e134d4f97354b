"""A whole training run in its folder: step, log, evaluate, save, until it is done or asked to stop."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tinytale.errors import TaleError
from tinytale.model.folder import save_model
from tinytale.runs import RunFolder
from tinytale.training.checkpoint import discard_beyond, load_checkpoint, prune_checkpoints, save_checkpoint
from tinytale.training.display import Display
from tinytale.training.interrupt import Interrupt
from tinytale.training.loop import BatchSource, StepRecord, TrainState, dev_loss, training_steps
from tinytale.training.metrics import MetricsWriter


class Trainer:
    """Trains `state` on `batches` and keeps the run folder true at every moment.

    Args:
        run: where checkpoints, metrics and the best model go.
        state: what `initial_state` made, or `resume` has filled.
        batches: the train split, by step.
        dev_tokens: the part of the dev split that each evaluation scores.
        bytes_per_token: raw bytes of every token of the vocabulary, for bits per byte.
        tokenizer_json: the tokenizer's file, published with the model.
        end_of_text: id of the token that begins and ends every story.
        display: who shows it.
    """

    def __init__(
        self,
        run: RunFolder,
        state: TrainState,
        batches: BatchSource,
        dev_tokens: np.ndarray,
        bytes_per_token: np.ndarray,
        tokenizer_json: bytes,
        end_of_text: int,
        display: Display,
    ):
        self.run, self.state, self.batches, self.display = run, state, batches, display
        self.dev_tokens = dev_tokens
        self.dev_bytes = int(bytes_per_token[np.asarray(dev_tokens[1:], dtype=np.int64)].sum())
        self.tokenizer_json, self.end_of_text = tokenizer_json, end_of_text

    def train(self, interrupt: Interrupt, clock: Callable[[], float] = time.monotonic) -> None:
        """Go on from `state` to its last step, or until `interrupt`; either way the last step has a checkpoint."""
        cadence, progress = self.state.config.run, self.state.progress
        started = last_saved = clock()
        seconds_before = progress.seconds
        with MetricsWriter(self.run.metrics, progress.step) as metrics:
            late: StepRecord | None = None
            for record in training_steps(self.state, self.batches):
                progress.seconds = seconds_before + clock() - started
                if late:
                    self._log(metrics, late)
                late = record
                done = record.step == self.state.max_steps
                evaluate = done or record.step % cadence.evaluate_every == 0
                stop = interrupt.signal_number is not None  # a signal that comes after this waits for the next step
                if evaluate or stop or clock() - last_saved >= cadence.checkpoint_seconds:
                    self._log(metrics, late)
                    late = None
                    if evaluate:
                        self._evaluate(metrics)
                    self._save()
                    last_saved = clock()
                if stop:
                    return

    def _log(self, metrics: MetricsWriter, record: StepRecord) -> None:
        loss, norm = record.loss.item(), record.gradient_norm.item()
        entry: dict[str, Any] = {
            "step": record.step,
            "loss": loss if math.isfinite(loss) else None,
            "gradient_norm": norm if math.isfinite(norm) else None,
            "rate": record.rate,
            "tokens": record.step * self.state.config.tokens_per_step,
            "seconds": round(self.state.progress.seconds, 3),
        }
        metrics.write(entry)
        if entry["loss"] is None or entry["gradient_norm"] is None:
            self.display.note(f"step {record.step}: loss or gradient was not finite; the update was left out")
        else:
            self.display.step(record.step, loss)

    def _evaluate(self, metrics: MetricsWriter) -> None:
        progress = self.state.progress
        score = dev_loss(self.state, self.dev_tokens)
        bits_per_byte = score.nats / math.log(2) / self.dev_bytes
        finite = math.isfinite(score.nats)
        metrics.write(
            {
                "step": progress.step,
                "dev_loss": score.per_token if finite else None,
                "dev_bits_per_byte": bits_per_byte if finite else None,
                "seconds": round(progress.seconds, 3),
            }
        )
        if finite and (progress.best_loss is None or score.per_token < progress.best_loss):
            progress.best_loss, progress.best_step = score.per_token, progress.step
        self.display.evaluated(progress.step, score.per_token, bits_per_byte, progress.best_step)

    def _save(self) -> None:
        """`latest` moves last: after a kill anywhere before, the run goes on from where it pointed till then."""
        progress = self.state.progress
        save_checkpoint(self.run, self.state.model, self.state.optimiser, progress)
        if progress.best_step == progress.step:
            self.run.point("best", progress.step)
            save_model(self.run.model, self.state.model, self.end_of_text, self.tokenizer_json)
        self.run.point("latest", progress.step)
        prune_checkpoints(self.run, self.state.config.run.keep_checkpoints)


def resume(run: RunFolder, state: TrainState) -> int:
    """Fill `state` from the run's latest checkpoint, discard any beyond it; return its step, or 0 when there is none.

    Raises:
        TaleError: the checkpoint is damaged, or the run is already longer than `max_steps`.
    """
    step = run.pointer("latest")
    if step is not None:
        if step > state.max_steps:
            raise TaleError(
                f"{run.path} has already been trained for {step} steps, more than {state.max_steps} as asked"
            )
        state.progress = load_checkpoint(run, step, state.model, state.optimiser)
    discard_beyond(run, state.progress)
    return state.progress.step
