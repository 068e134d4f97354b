"""A whole training run in its folder: step, log, evaluate, save, until it is done or asked to stop."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from tinytale.console import console
from tinytale.errors import TaleError
from tinytale.files import write_text
from tinytale.model.folder import save_model, save_weights
from tinytale.runs import RunFolder
from tinytale.training.checkpoint import (
    amend_checkpoint,
    checkpoint_progress,
    discard_beyond,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    whole_steps,
)
from tinytale.training.display import Display
from tinytale.training.interrupt import Interrupt
from tinytale.training.loop import BatchSource, StepRecord, TrainState, dev_loss, training_steps
from tinytale.training.metrics import MetricsWriter, missing_steps
from tinytale.training.rollback import MOST_SKIPS_IN_A_ROW, roll_back
from tinytale.training.samples import Tell, samples_writer, stories_of, telling_is_due


class Trainer:
    """Trains `state` on `batches` and keeps the run folder true at every moment.

    Of several ranks each has a trainer; all take the same decisions, and only the main one touches the folder.

    Args:
        run: where checkpoints, metrics and the best model go.
        state: what `initial_state` made, or `resume` has filled.
        batches: the train split, by step.
        dev_tokens: the part of the dev split that each evaluation scores.
        bytes_per_token: raw bytes of every token of the vocabulary, for bits per byte.
        tokenizer_json: the tokenizer's file, published with the model.
        end_of_text: id of the token that begins and ends every story.
        display: who shows it.
        tell: lets the model tell some short stories at evaluations; without it none are told.
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
        tell: Tell | None = None,
    ):
        self.run, self.state, self.batches, self.display = run, state, batches, display
        self.dev_tokens = dev_tokens
        self.dev_bytes = int(bytes_per_token[np.asarray(dev_tokens[1:], dtype=np.int64)].sum())
        self.tokenizer_json, self.end_of_text = tokenizer_json, end_of_text
        self.tell = tell
        self.compiled_at_first = state.compiled

    def train(self, interrupt: Interrupt, clock: Callable[[], float] = time.monotonic) -> int:
        """Go on from `state` to its last step, or until `interrupt`; either way the last step has a checkpoint.

        Returns the signal that has stopped it, in whichever rank; 0 when it is done.
        """
        state, progress = self.state, self.state.progress
        started = last_saved = clock()
        seconds_before = progress.seconds

        def save() -> None:
            progress.seconds = seconds_before + clock() - started
            for log in (metrics, samples):
                if log:
                    log.sync()  # no checkpoint without its curve
            self._save()

        with self._metrics() as metrics, self._samples() as samples:
            self._say_what_is_missing(metrics)
            if self._evaluation_is_due():  # a signal had cut it short
                self._evaluate(metrics, samples, interrupt)
                save()
                if stopped := self._stopped(interrupt):
                    return stopped
            late: tuple[StepRecord, float] | None = None
            for record in training_steps(state, self.batches, stop=lambda: self._stopped(interrupt) > 0):
                progress.seconds = seconds_before + clock() - started
                self._log(metrics, late)
                late = record, progress.seconds
                lost, due = progress.skips_in_a_row == MOST_SKIPS_IN_A_ROW, self._evaluation_is_due()
                if lost or due:
                    self._log(metrics, late)
                    late = None
                if lost:
                    self._roll_back(metrics)
                if due:
                    self._evaluate(metrics, samples, interrupt)
                stopped = self._stopped(interrupt)
                if due or stopped or clock() - last_saved >= state.config.run.checkpoint_seconds:
                    self._log(metrics, late)
                    late = None
                    save()
                    last_saved = clock()
                if stopped:
                    return stopped
            if progress.step < state.max_steps:  # a signal has ended a step between two micro-batches
                self._log(metrics, late)
                if progress.step:
                    save()
                return self._stopped(interrupt)
        return 0

    def _say_what_is_missing(self, metrics: MetricsWriter | None) -> None:
        if metrics is None:
            return
        if metrics.damaged:
            lines = ", ".join(map(str, metrics.damaged[:5])) + ", ..." * (len(metrics.damaged) > 5)
            self.display.note(
                f"{self.run.metrics} is damaged in line {lines}, which is left out; as it was it lies in"
                f" {metrics.set_aside}"
            )
        if missing := missing_steps(self.run.metrics, self.state.progress.step):
            self.display.note(f"{self.run.metrics} lacks {missing}: the curve has a gap there; the weights have none")

    def _metrics(self) -> AbstractContextManager[MetricsWriter | None]:
        progress = self.state.progress
        if not self.state.ranks.main:
            return nullcontext()
        return MetricsWriter(self.run.metrics, progress.step, progress.evaluated_step)

    def _samples(self) -> AbstractContextManager[MetricsWriter | None]:
        if not self.state.ranks.main:
            return nullcontext()
        telling = self.tell is not None and self.state.config.run.sample_every > 0
        return samples_writer(self.run, self.state.progress, telling)

    def _stopped(self, interrupt: Interrupt) -> int:
        """The signal that any rank has received. One that comes after this waits for the next step."""
        return self.state.ranks.greatest(interrupt.signal_number or 0)

    def _evaluation_is_due(self) -> bool:
        step = self.state.progress.step
        at_this_step = step == self.state.max_steps or step % self.state.config.run.evaluate_every == 0
        return at_this_step and self.state.progress.evaluated_step < step

    def _log(self, metrics: MetricsWriter | None, late: tuple[StepRecord, float] | None) -> None:
        """Write down a step, and the seconds when it was done."""
        if metrics is None or late is None:
            return
        record, seconds = late
        loss, norm = record.loss.item(), record.gradient_norm.item()
        entry: dict[str, Any] = {
            "step": record.step,
            "loss": loss if math.isfinite(loss) else None,
            "gradient_norm": norm if math.isfinite(norm) else None,
            "rate": record.rate,
            "tokens": record.step * self.state.config.tokens_per_step,
            "seconds": round(seconds, 3),
        }
        metrics.write(entry)
        if entry["loss"] is None or entry["gradient_norm"] is None:
            self.display.note(f"step {record.step}: loss or gradient was not finite; the update was left out")
        else:
            self.display.step(record.step, loss)

    def _roll_back(self, metrics: MetricsWriter | None) -> None:
        progress = self.state.progress
        best = roll_back(self.run, self.state)
        if metrics:
            metrics.write({"step": progress.step, "rolled_back_to": best, "rollbacks": progress.rollbacks})
        whose = f"the best weights, of step {best}" if best else "the initial weights"
        self.display.note(
            f"step {progress.step}: {MOST_SKIPS_IN_A_ROW} updates in a row were left out; back to {whose},"
            " with half the learning rate"
        )

    def _evaluate(self, metrics: MetricsWriter | None, samples: MetricsWriter | None, interrupt: Interrupt) -> None:
        """Score the dev split, and let the same weights tell; a signal cuts the score short, and then it is still due.

        Weights whose updates are being refused are not called the best: a rollback would come back to them.
        """
        if metrics is None:
            return
        progress = self.state.progress
        with self.state.optimiser.averaged():
            score = dev_loss(self.state, self.dev_tokens, stop=lambda: interrupt.signal_number is not None)
            if score is None:
                return
            if samples and math.isfinite(score.nats):
                self._let_tell(samples)
        progress.evaluated_step = progress.step
        bits_per_byte = score.nats / math.log(2) / self.dev_bytes
        finite = math.isfinite(score.nats)
        trusted = finite and (progress.skips_in_a_row == 0 or progress.step == self.state.max_steps)
        metrics.write(
            {
                "step": progress.step,
                "dev_loss": score.per_token if finite else None,
                "dev_bits_per_byte": bits_per_byte if finite else None,
                "seconds": round(progress.seconds, 3),
                **({} if trusted else {"may_be_best": False}),
            }
        )
        if trusted and (progress.best_loss is None or score.per_token < progress.best_loss):
            progress.best_loss, progress.best_step = score.per_token, progress.step
        self.display.evaluated(progress.step, score.per_token, bits_per_byte, progress.best_step)

    def _let_tell(self, samples: MetricsWriter) -> None:
        config, step = self.state.config, self.state.progress.step
        if self.tell is None or not telling_is_due(config.run, step, self.state.max_steps):
            return
        told = stories_of(self.tell, self.state.model)
        if isinstance(told, str):
            self.display.note(f"step {step}: no story could be told ({told})")
            return
        stories = [{"prompt": prompt, "text": text} for prompt, text in told]
        samples.write({"step": step, "tokens": step * config.tokens_per_step, "stories": stories})

    def _save(self) -> None:
        """`latest` moves last: after a kill anywhere before, the run goes on from where it pointed till then.

        A step that has its checkpoint already has been evaluated since, and no more: its progress is amended, last.
        """
        if not self.state.ranks.main:
            return
        progress = self.state.progress
        if self.state.compiled != self.compiled_at_first:  # torch.compile has turned out not to work
            write_text(self.run.config, self.state.settings.to_toml())
            self.compiled_at_first = self.state.compiled
        saved_before = self.run.pointer("latest") == progress.step
        if not saved_before:
            save_checkpoint(self.run, self.state.model, self.state.optimiser, progress, self.state.settings)
        if progress.best_step == progress.step:
            self.run.point("best", progress.step)
            with self.state.optimiser.averaged():
                save_model(self.run.model, self.state.model, self.end_of_text, self.tokenizer_json)
        if saved_before:
            amend_checkpoint(self.run, progress)
        else:
            self.run.point("latest", progress.step)
        prune_checkpoints(self.run, self.state.config.run.keep_checkpoints)


def resume(run: RunFolder, state: TrainState) -> int:
    """Fill `state` from the run's latest checkpoint, discard any beyond it; return its step, or 0 when there is none.

    Every rank reads the folder, on a disk that all machines share; the main rank says which step it is.

    Raises:
        TaleError: the checkpoint is damaged; or the run is already longer than `max_steps`; or there are several
            checkpoints, but nothing says which is the latest.
    """
    ranks = state.ranks
    steps = run.steps() if ranks.main and run.pointer("latest") is None else []
    if len(steps) > 1:
        whole = whole_steps(run)
        raise TaleError(
            f"{run.path} has checkpoints, but its file `latest` is gone; "
            + (
                f"to go on from the newest, write {run.checkpoint(whole[-1]).name} into {run.path / 'latest'}"
                if whole
                else "none of them is whole: train again into a new folder"
            )
        )
    if steps:
        _set_aside(run, steps[0])
    step = ranks.greatest((run.pointer("latest") or 0) if ranks.main else 0)
    if step > state.max_steps:
        raise TaleError(f"{run.path} has already been trained for {step} steps, more than {state.max_steps} as asked")
    if ranks.main and step:
        _publish_best_again(run, state, checkpoint_progress(run, step).best_step)
    if step:
        state.progress = load_checkpoint(run, step, state.model, state.optimiser)
    if ranks.main:
        discard_beyond(run, state.progress)
    return step


def _set_aside(run: RunFolder, step: int) -> None:
    """Keep the only checkpoint of a run without `latest`, though the run begins again.

    A kill leaves it so, before the first checkpoint has been pointed at; or somebody has lost the file.
    """
    path = run.checkpoint(step)
    aside = path.with_name(f"{path.name}-set-aside")
    if aside.exists():
        return
    path.rename(aside)
    console.print(
        f"{run.path / 'latest'} is gone, so the run begins again; its checkpoint lies in {aside} (to go on from it,"
        f" give it its name {path.name} back and write that into `latest`)"
    )


def _publish_best_again(run: RunFolder, state: TrainState, best: int) -> None:
    """Where `best` names another step than the latest checkpoint knows, `model/` may hold what a killed save published.

    The weights of the best step take its place again. `discard_beyond` moves `best` afterwards, so that a kill in
    between leaves it to the next start. The state is filled anew after that.
    """
    try:
        named = run.pointer("best")
    except TaleError:  # damaged, or of a checkpoint that is gone
        named = None
    if best in (0, named) or not (run.model.is_dir() and run.checkpoint(best).is_dir()):
        return
    load_checkpoint(run, best, state.model, state.optimiser)
    with state.optimiser.averaged():
        save_weights(run.model, state.model)
