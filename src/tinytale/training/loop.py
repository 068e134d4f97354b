"""One training step, and the generator that makes a run of them.

Letters of shapes: B batch, T positions.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from tinytale.config import TrainConfig
from tinytale.console import console
from tinytale.errors import TaleError
from tinytale.hardware import autocast, pick_device, pick_precision
from tinytale.model.gpt2 import GPT2
from tinytale.training.checkpoint import Progress
from tinytale.training.distributed import ALONE, ParallelLoss, Ranks
from tinytale.training.estimate import compiling_pays, refuse_beyond_memory
from tinytale.training.loss import DistilledLoss, Loss, WindowLoss, plain_loss, summed_loss, windows
from tinytale.training.optim import Optimiser
from tinytale.training.schedule import rate_fraction
from tinytale.training.start import start_weights
from tinytale.training.teacher import load_teacher

Result = TypeVar("Result")


@runtime_checkable
class BatchSource(Protocol):
    """Where the batches come from: a pure function of the step."""

    def batch_at(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (B, T) of a step."""
        ...


@dataclass
class TrainState:
    """What changes while training, and how to compute with it."""

    config: TrainConfig
    max_steps: int
    """Of the whole run."""
    model: GPT2
    optimiser: Optimiser
    device: torch.device
    precision: str
    loss: Loss
    compiled: bool = False
    """Whether `loss` is."""
    teacher: GPT2 | None = None
    """Whose predictions `loss` follows too. It is no part of a checkpoint."""
    no_sync: Callable[[], AbstractContextManager[None]] = nullcontext
    """Inside, a backward pass tells the other ranks nothing."""
    ranks: Ranks = ALONE
    progress: Progress = field(default_factory=Progress)
    steps_per_epoch: int = 1

    @property
    def settings(self) -> TrainConfig:
        """The config, with what has been decided about compiling."""
        return replace(self.config, run=replace(self.config.run, compile=self.compiled))

    def compiling_failed(self) -> None:
        """`loss` goes on without torch.compile."""
        self.compiled = False

    @property
    def eager_loss(self) -> Loss:
        """`loss` uncompiled, in this rank alone."""
        return DistilledLoss(self.teacher, self.config.run.teacher_weight) if self.teacher else plain_loss


class GivenUpError(Exception):
    """A step was ended between two of its micro-batches."""


@dataclass(frozen=True)
class StepRecord:
    """What one step did. Read the tensors a step later, so that nobody waits for the copy to the host."""

    step: int
    loss: Tensor
    """Mean cross-entropy in nats a token, before the update; of a run with a teacher too, so that runs compare."""
    gradient_norm: Tensor
    """Of the whole gradient, before clipping."""
    rate: float
    """Learning rate as a fraction of its peak."""


def initial_state(
    config: TrainConfig, max_steps: int, ranks: Ranks = ALONE, begun: bool = False, steps_per_epoch: int = 1
) -> TrainState:
    """A fresh model, with its first weights, on its device; the same in all ranks.

    Where a checkpoint is to fill it (`begun`), the weights are those of the seed, whatever the run began with.

    Raises:
        UsageError: the device is not there, or the folder of the teacher or of the first weights is gone; or see
            `decay_of`, `refuse_beyond_memory`.
        TaleError: such a folder holds other weights than when the run was begun.
    """
    device = ranks.device(pick_device(config.run.device))
    teacher = load_teacher(config, device)
    refuse_beyond_memory(config, device, ranks.size, teacher.config if teacher else None)
    compiled = config.run.compile
    if compiled is None:
        compiled = compiling_pays(config, max_steps, device.type, teacher.config if teacher else None)
    model = (seeded_model(config) if begun else initial_model(config)).to(device)
    state = TrainState(
        config=config,
        max_steps=max_steps,
        model=model,
        optimiser=Optimiser(model, config.optimiser, steps_per_epoch),
        device=device,
        precision=pick_precision(config.run.precision, device),
        loss=plain_loss,
        compiled=compiled,
        teacher=teacher,
        ranks=ranks,
        steps_per_epoch=steps_per_epoch,
    )
    state.loss = CompiledOrEager(state.eager_loss, state.compiling_failed) if compiled else state.eager_loss
    if ranks.size > 1:
        own = state.loss
        state.loss = shared = ParallelLoss(model, state.loss, device)
        state.no_sync = shared.no_sync
        share = config.data.batch_size // ranks.size
        with autocast(device, state.precision):
            shared.rehearse(min(share, config.data.micro_batch_size or share), config.sequence_length, device)
        if ranks.greatest(int(compiled and not state.compiled)) and isinstance(own, CompiledOrEager):
            own.fall_back()  # all as the one that could not compile
    return state


def initial_model(config: TrainConfig) -> GPT2:
    """The weights that the run begins with, on the CPU: those of `run.start_from`, else those that the seed decides.

    Raises:
        UsageError: the folder of `run.start_from` is gone.
        TaleError: it holds other weights than when the run was begun.
    """
    model = seeded_model(config)
    if config.run.start_from:
        model.load_state_dict(start_weights(config))
    return model


def seeded_model(config: TrainConfig) -> GPT2:
    """The weights that the seed decides, on the CPU."""
    torch.manual_seed(config.run.seed)
    return GPT2(config.model, config.run.kernels)


class CompiledOrEager(Generic[Result]):
    """`function`, compiled; as it is, with one line that says so, where torch.compile fails at the first call.

    What fails later, what is an error of ours, and a lack of memory are not the compiler's fault, and are raised.
    `fallen` is called when it goes on without.
    """

    def __init__(self, function: Callable[..., Result], fallen: Callable[[], None] = lambda: None):
        self.function, self.fallen = function, fallen
        self.chosen, self.called = torch.compile(function, dynamic=False), False

    def fall_back(self) -> None:
        """Go on without the compiler."""
        self.chosen = self.function
        self.fallen()

    def __call__(self, *arguments: object) -> Result:
        """Of the function."""
        first, self.called = not self.called, True
        try:
            return self.chosen(*arguments)
        except (TaleError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if not first or self.chosen is self.function:
                raise
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            console.print(f"torch.compile does not work here ({reason[:120]}); going on without it", style="yellow")
            self.fall_back()
            return self.function(*arguments)


def dropout_seed(seed: int, step: int, micro_step: int) -> int:
    """The seed of a micro-batch's dropout: a function of where it stands, so that there is no state to restore."""
    return int(np.random.SeedSequence((seed, step, micro_step)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def train_step(
    state: TrainState, inputs_BT: Tensor, targets_BT: Tensor, stop: Callable[[], bool] = lambda: False
) -> StepRecord:
    """One update from one batch, or this rank's rows of it, by way of its micro-batches.

    The gradient is that of the mean over all tokens of the batch, however it is split, over ranks too. An update that
    is not finite in any rank is refused by all: weights and optimiser stay as they are. To know that before the update,
    the host waits for the device once a step.

    Raises:
        GivenUpError: `stop`, which is asked between micro-batches and must say the same in all ranks, has ended it.
            Nothing has changed then, and the step can be done anew.
    """
    config, progress = state.config, state.progress
    micro_batch = config.data.micro_batch_size or len(inputs_BT)
    total = torch.zeros((), device=state.device)
    parts = list(zip(inputs_BT.split(micro_batch), targets_BT.split(micro_batch), strict=True))
    first = state.ranks.rank * len(parts)
    with autocast(state.device, state.precision):
        for micro_step, (inputs, targets) in enumerate(parts, start=first):
            if micro_step > first and stop():
                state.optimiser.zero_grad()
                raise GivenUpError
            if config.model.dropout or config.model.attention_dropout:
                torch.manual_seed(dropout_seed(config.run.seed, progress.step, micro_step))
            with nullcontext() if micro_step == first + len(parts) - 1 else state.no_sync():
                objective, nats = state.loss(state.model, inputs, targets)
                (objective / targets_BT.numel()).backward()
            total += nats.detach()
    rate = rate_fraction(progress.step, state.max_steps, config.optimiser) * 0.5**progress.rollbacks
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.optimiser.clip_norm or float("inf"))
    loss, norm = state.ranks.mean(torch.stack([total / targets_BT.numel(), norm]))
    if torch.isfinite(norm + loss):
        state.optimiser.set_rate(rate)
        state.optimiser.step()
        progress.skips_in_a_row = 0
    else:
        progress.skipped += 1
        progress.skips_in_a_row += 1
    state.optimiser.zero_grad()
    progress.step += 1
    return StepRecord(progress.step, loss, norm, rate)


def training_steps(
    state: TrainState, batches: BatchSource, stop: Callable[[], bool] = lambda: False
) -> Iterator[StepRecord]:
    """Train until `max_steps`, one record a step; the caller may look, evaluate, save or stop in between.

    It ends earlier where `stop` gives a step up, see `train_step`.

    Raises:
        TaleError: a batch holds tokens that there are none of: the dataset has been altered while it was read.
    """
    state.model.train()
    while state.progress.step < state.max_steps:
        inputs, targets = batches.batch_at(state.progress.step)
        if max(inputs.max(), targets.max()) >= state.config.model.vocab_size:
            raise TaleError(
                f"the batch of step {state.progress.step + 1} holds tokens beyond the vocabulary: a train shard in"
                f" {state.config.data.folder} has been altered during the run; prepare the dataset again, and go on"
                " with --resume"
            )
        try:
            record = train_step(
                state,
                torch.from_numpy(inputs).to(state.device, non_blocking=True),
                torch.from_numpy(targets).to(state.device, non_blocking=True),
                stop,
            )
        except GivenUpError:
            return
        yield record


@torch.no_grad()
def dev_loss(state: TrainState, tokens_N: np.ndarray, stop: Callable[[], bool] = lambda: False) -> WindowLoss | None:
    """The loss on contiguous windows of the dev split, each token scored once, in the training's precision.

    None when `stop`, which is asked before every batch, says so.
    """
    state.model.eval()
    total, count = torch.zeros((), device=state.device, dtype=torch.float32), 0
    batch = state.config.data.micro_batch_size or state.config.data.batch_size
    for inputs_BT, targets_BT in windows(tokens_N, state.config.sequence_length, batch):
        if stop():
            state.model.train()
            return None
        with autocast(state.device, state.precision):
            total += summed_loss(state.model, inputs_BT.to(state.device), targets_BT.to(state.device))
        count += targets_BT.numel()
    state.model.train()
    return WindowLoss(total.item(), count)
