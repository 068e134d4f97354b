"""The runs of a race: what each is, doing it, and the folder that keeps it so that none is done twice.

nanoGPT trains as its train.py does (random crops, AdamW, cosine to a tenth after a warm-up, clip 1); tinytale with its
own loop and the recipe of `recipes.py`; the control is our loop with AdamW for every weight, where the embeddings have
a rate of their own. All are scored by the same code on the same tokens. Letters of shapes: B batch, T positions, N
tokens.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor, nn

from tinytale.bench.nanogpt import AllLogits, nanogpt_model, nanogpt_optimiser
from tinytale.bench.sizes import Size
from tinytale.config import DataConfig, OptimiserConfig, RunConfig, TrainConfig
from tinytale.data.batches import Batches
from tinytale.data.shards import Manifest
from tinytale.errors import TaleError
from tinytale.files import read_json, write_json
from tinytale.hardware import autocast
from tinytale.recipes import recipe
from tinytale.training.loop import initial_state, train_step
from tinytale.training.loss import summed_loss, windows
from tinytale.training.schedule import rate_fraction

CPU = torch.device("cpu")
Who = Literal["nanogpt", "tinytale", "control"]
Curve = list[tuple[int, float]]
"""Tokens seen and nats a token on the dev split, from the first evaluation to the end of the run."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """What all runs of a race share."""

    dataset_sha256: str
    size: Size
    dev_tokens: int
    """Scored in each evaluation, from the beginning of the dev split."""
    evaluations: int
    """Of each run, evenly spread, the last one at its end."""
    precision: Literal["float32", "bfloat16"]
    """Of matrix products, for all alike."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a race."""

    who: Who
    tokens: int
    """To train on."""
    seed: int
    rate: float | None = None
    """Peak rate of AdamW. Default: the recipe's."""
    embedding_rate: float | None = None
    """Peak rate of the embeddings, for the control."""

    @property
    def file(self) -> str:
        """Where its folder keeps it."""
        rates = "".join(
            f"-{name}{value:g}" for name, value in (("lr", self.rate), ("emb", self.embedding_rate)) if value
        )
        return f"run-{self.who}{rates}-{self.tokens}tokens-seed{self.seed}.json"


class Finished(NamedTuple):
    """A run and its curve."""

    run: Run
    curve: Curve

    @property
    def loss(self) -> float:
        """At the end of the run."""
        return self.curve[-1][1]


class Runner(NamedTuple):
    """A model in training."""

    step: Callable[[int], None]
    """Does step number s, from 0."""
    model: nn.Module
    """Tokens (B, T) to logits (B, T, V)."""


def random_crops(
    tokens_N: Int64[np.ndarray, " N"], length: int, rows: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (B, T) from anywhere in the stream, as nanoGPT's `get_batch` draws them."""
    starts_B = torch.randint(len(tokens_N) - length, (rows,), generator=generator).tolist()
    crops = torch.from_numpy(np.stack([tokens_N[start : start + length + 1] for start in starts_B]))
    return crops[:, :-1].contiguous(), crops[:, 1:].contiguous()


def nanogpt_runner(run: Run, course: Course, steps: int, tokens_N: np.ndarray, folder: Path) -> Runner:
    """nanoGPT's model, optimiser and schedule; warms up over a tenth of the run, at most 100 steps."""
    assert run.rate is not None
    size, peak = course.size, run.rate
    torch.manual_seed(run.seed)
    model = nanogpt_model(folder, size)
    optimiser = nanogpt_optimiser(model, peak)
    crops = torch.Generator().manual_seed(run.seed)
    schedule = OptimiserConfig(schedule="cosine", warmup_steps=min(100, steps // 10), final_fraction=0.1)

    def step(number: int) -> None:
        for group in optimiser.param_groups:
            group["lr"] = peak * rate_fraction(number, steps, schedule)
        inputs_BT, targets_BT = random_crops(tokens_N, size.context_length, size.batch_size, crops)
        with autocast(CPU, course.precision):
            loss = model(inputs_BT, targets_BT)[1]
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return Runner(step, AllLogits(model))


def tinytale_runner(run: Run, course: Course, steps: int, batches: Batches) -> Runner:
    """Our loop with the recipe's optimiser, or with AdamW for every weight if it is the control."""
    optimiser = recipe("pocket").optimiser
    if run.who == "control":
        assert run.rate is not None
        classic = OptimiserConfig(learning_rate=run.rate, embedding_learning_rate=run.embedding_rate)
        optimiser = replace(classic, schedule="linear", warmup_steps=optimiser.warmup_steps, final_fraction=0.0)
    config = TrainConfig(
        model=course.size.model,
        data=DataConfig(batch_size=course.size.batch_size),
        optimiser=optimiser,
        run=RunConfig(seed=run.seed, device="cpu", precision=course.precision),
    )
    state = initial_state(config, steps)

    def step(number: int) -> None:
        inputs, targets = batches.batch_at(number)
        train_step(state, torch.from_numpy(inputs), torch.from_numpy(targets))

    return Runner(step, state.model)


@torch.no_grad()
def loss_on(model: nn.Module, dev_N: np.ndarray, course: Course) -> float:
    """Nats a token over contiguous windows, for anyone's model."""
    model.eval()
    nats, tokens = 0.0, 0
    for inputs_BT, targets_BT in windows(dev_N, course.size.context_length, course.size.batch_size):
        with autocast(CPU, course.precision):
            nats += summed_loss(model, inputs_BT, targets_BT).item()
        tokens += targets_BT.numel()
    model.train()
    return nats / tokens


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """After how many steps to evaluate: evenly spread, the last at the end."""
    return sorted({math.ceil(steps * number / evaluations) for number in range(1, evaluations + 1)})


class RaceFolder:
    """Does runs on a dataset and keeps each in the folder `out`.

    Args:
        dataset: the dataset's folder.
        course: what the runs share; runs of another course in `out` are refused.
        out: one JSON file a run.
        nanogpt: folder of nanoGPT's code, for those who need it.
        progress: told of each run that begins; returns what is told of the tokens done so far.

    Raises:
        TaleError: `out` holds runs of another course.
    """

    def __init__(
        self,
        dataset: Path,
        course: Course,
        out: Path,
        nanogpt: Path | None,
        progress: Callable[[Run], Callable[[int], None]],
    ):
        self.dataset, self.course, self.out, self.nanogpt, self.progress = dataset, course, out, nanogpt, progress
        self.manifest = Manifest.load(dataset)
        self.dev_N = self.manifest.tokens(dataset, "dev")[: course.dev_tokens + 1]
        self.finished()

    def finished(self) -> list[Finished]:
        """All runs that the folder holds, by file name."""
        return [self._stored(path) for path in sorted(self.out.glob("run-*.json"))]

    def run(self, run: Run) -> Finished:
        """Do a run, unless it has been done."""
        path = self.out / run.file
        if path.is_file():
            return self._stored(path)
        size = self.course.size
        steps = max(1, round(run.tokens / size.tokens_per_step))
        if run.who == "nanogpt":
            assert self.nanogpt is not None
            tokens_N = self.manifest.tokens(self.dataset, "train")[:]
            runner = nanogpt_runner(run, self.course, steps, tokens_N, self.nanogpt)
        else:
            batches = Batches(self.manifest, self.dataset, size.context_length, size.batch_size, run.seed)
            runner = tinytale_runner(run, self.course, steps, batches)
        advance, curve = self.progress(run), []
        looks = set(evaluation_steps(steps, self.course.evaluations))
        runner.model.train()
        for step in range(steps):
            runner.step(step)
            advance((step + 1) * size.tokens_per_step)
            if step + 1 in looks:
                curve.append(((step + 1) * size.tokens_per_step, loss_on(runner.model, self.dev_N, self.course)))
        if not all(math.isfinite(loss) for _, loss in curve):
            raise TaleError(f"{run.file}: the dev loss is not finite; race with lower rates")
        write_json(path, {"run": asdict(run), "course": asdict(self.course), "curve": curve})
        return Finished(run, curve)

    def _stored(self, path: Path) -> Finished:
        content: dict[str, Any] = read_json(path)
        try:
            run, curve = Run(**content["run"]), [(int(tokens), float(loss)) for tokens, loss in content["curve"]]
            same = content["course"] == asdict(self.course)
        except (KeyError, TypeError, ValueError) as error:
            raise TaleError(f"{path} is damaged: {error}; delete it, and the run is done again") from error
        if not same:
            raise TaleError(f"{path} belongs to a race with other settings; name another folder with --out")
        return Finished(run, curve)
