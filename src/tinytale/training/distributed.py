"""Data parallelism: every process (a rank) computes the gradient of its rows of the same batch.

`torchrun --standalone --nproc_per_node=N -m tinytale train ...` starts the processes and says to each, in environment
variables, which it is. All of them keep the same weights; rank 0 alone writes, evaluates and displays.

Letters of shapes: B rows, T positions.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tinytale.console import console
from tinytale.data.noise import RowSource
from tinytale.errors import TaleError, UsageError
from tinytale.resources import place_among_processes
from tinytale.training.loss import Loss, StepLoss


@dataclass(frozen=True)
class Ranks:
    """Which process this is, of how many, and what they tell each other. Alone, nothing is said."""

    rank: int = 0
    size: int = 1
    local: int = 0
    """Number of the process on its machine: its GPU."""

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes, evaluates and displays."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """The rows of every batch that are this rank's.

        Raises:
            UsageError: the ranks cannot share the batch evenly.
        """
        share, rest = divmod(batch_size, self.size)
        if rest:
            below = f"{share * self.size} or " if share else ""
            raise UsageError(
                f"DataConfig.batch_size is {batch_size}, which {self.size} processes cannot share evenly; expected a"
                f" multiple of {self.size}: {below}{(share + 1) * self.size}"
            )
        return slice(self.rank * share, (self.rank + 1) * share)

    def device(self, device: torch.device) -> torch.device:
        """This rank's own device of that kind.

        Raises:
            UsageError: there is none, or the kind cannot be used by several processes together.
        """
        if self.size == 1 or device.type == "cpu":
            return device
        if device.type != "cuda":
            raise UsageError(f"several processes cannot train on {device.type!r} together; give --run.device cpu")
        if self.local >= torch.cuda.device_count():
            raise UsageError(
                f"process {self.local} has no GPU: there are {torch.cuda.device_count()}; start no more processes"
            )
        torch.cuda.set_device(self.local)
        return torch.device("cuda", self.local)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all ranks of each value (in place): equal to the bit in every rank."""
        if self.size > 1:
            dist.all_reduce(values)
            values /= self.size
        return values

    def greatest(self, number: int) -> int:
        """The greatest of the numbers that the ranks give. It comes over the CPU: no GPU waits for it."""
        if self.size == 1:
            return number
        numbers = torch.tensor([number])
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return int(numbers.item())

    def wait(self) -> None:
        """Go on when every rank has come here: torchrun ends all when one leaves, and the main one may be writing."""
        self.greatest(0)


ALONE = Ranks()

SILENT_SECONDS = 10.0
"""A process that waits longer for the others than this says so."""


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes of the run, if torchrun has started several; they stay joined until they end.

    Raises:
        UsageError: see `place_among_processes`.
        TaleError: contact to the others is lost: one of them has ended. Every rank leaves then.
    """
    rank, size, local = place_among_processes()
    if size == 1:
        yield ALONE
        return
    ranks = Ranks(rank, size, local)
    waiting = threading.Timer(SILENT_SECONDS, _say_who_is_awaited, (rank, size))
    waiting.daemon = True
    waiting.start()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        waiting.cancel()
        yield ranks
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = " ".join(str(error).split())[:200]
            raise TaleError(f"process {ranks.rank} of {size} has lost contact to the others ({reason})") from error
        raise


def _say_who_is_awaited(rank: int, size: int) -> None:
    there = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    console.print(f"process {rank} of {size} waits for the others, which meet at {there}")


@dataclass(frozen=True)
class Share:
    """The part of every batch that one rank learns from."""

    batches: RowSource
    rows: slice

    def batch_at(self, step: int) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Inputs and targets of a step: this rank's rows."""
        return self.batches.batch_at(step, self.rows)


class _LossModule(nn.Module):
    """A loss as a module, which is what DDP wraps: all that is differentiated happens in its forward pass."""

    def __init__(self, model: nn.Module, loss: Loss):
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, inputs_BT: Tensor, targets_BT: Tensor) -> StepLoss:
        return self.loss(self.model, inputs_BT, targets_BT)


class ParallelLoss:
    """`loss(model, inputs, targets)` whose backward pass leaves in every rank the mean of all ranks' gradients.

    All shares have the same number of tokens, so the mean of the ranks' means is the mean over the whole batch. The
    model itself stays as it is: its weights keep their names.
    """

    def __init__(self, model: nn.Module, loss: Loss, device: torch.device):
        self.parallel = DistributedDataParallel(
            _LossModule(model, loss),
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
        )

    def __call__(self, model: nn.Module, inputs_BT: Tensor, targets_BT: Tensor) -> StepLoss:
        """The loss of this rank's rows."""
        return self.parallel(inputs_BT, targets_BT)

    def no_sync(self) -> contextlib.AbstractContextManager[None]:
        """Inside, gradients accumulate in this rank alone."""
        return self.parallel.no_sync()

    def rehearse(self, rows: int, positions: int, device: torch.device) -> None:
        """One backward pass for nothing, before the first step.

        After its first one DDP arranges the gradients anew in its buckets, in the order in which they came; and where a
        gradient lies decides in which order three or more ranks add it up. A resumed run would differ in its last bits.
        """
        zeros_BT = torch.zeros(rows, positions, dtype=torch.int64, device=device)
        self.parallel(zeros_BT, zeros_BT).objective.backward()
        self.parallel.zero_grad()
