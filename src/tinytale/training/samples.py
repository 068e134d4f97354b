"""`samples.jsonl`: what the model told while it trained, one JSON object for each evaluation that looked."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tinytale.config import RunConfig
from tinytale.errors import TaleError
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.checkpoint import Progress
from tinytale.training.metrics import MetricsWriter

Tell = Callable[[GPT2], list[tuple[str, str]]]
"""Lets a model tell some short stories: how each begins, and how the model goes on. It must leave torch's own random
numbers alone and depend on the weights only, so that a run is the same with it and without it, and when resumed."""


def telling_is_due(run: RunConfig, step: int, max_steps: int) -> bool:
    """Whether the evaluation of this step is one that lets the model tell: the last one always is, unless none is."""
    every = run.sample_every
    return every > 0 and (step == max_steps or step // run.evaluate_every % every == 0)


def samples_writer(run: RunFolder, progress: Progress, telling: bool) -> AbstractContextManager[MetricsWriter | None]:
    """The file, open to go on from `progress`: what it holds beyond is dropped, as in the metrics."""
    if not telling and not run.course_samples.is_file():
        return nullcontext()
    return MetricsWriter(run.course_samples, progress.evaluated_step, progress.evaluated_step)


def stories_of(tell: Tell, model: GPT2) -> list[tuple[str, str]] | str:
    """What the model tells, without dropout; or the reason why it cannot, which is none to end a training."""
    model.eval()
    try:
        return tell(model)
    except TaleError as error:
        return str(error)
    finally:
        model.train()
