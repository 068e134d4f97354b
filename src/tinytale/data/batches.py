"""Batches of training windows, indexed by step: nothing to restore on resume, nothing to shuffle in memory.

Shapes: B rows of a batch, T tokens of context, n windows of an epoch, N tokens of the train split.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from tinytale.data.shards import Manifest
from tinytale.errors import UsageError


class Batches:
    """Training batches as a pure function of manifest, seed and step.

    In each epoch the train stream is cut into n = (N - T) // T windows of T + 1 tokens (neighbours share one: a target
    here, an input there), from a phase in [0, T) drawn for the epoch, and each is visited once in an order drawn for
    the epoch. Row r of the batch of a step is window number step * B + r of the endless row of epochs, so the same
    windows come in the same order whatever B is. With `fixed`, every epoch has the phase and the order of the first.

    Both draws read PCG64's raw stream, seeded with (seed, epoch): numpy promises that it never changes.

    Raises:
        UsageError: the train split is too short for one window, or an argument is not positive.
    """

    def __init__(
        self, manifest: Manifest, folder: Path, context_length: int, batch_size: int, seed: int, fixed: bool = False
    ):
        if context_length < 1 or batch_size < 1 or seed < 0:
            found = f"{context_length}, {batch_size}, {seed}"
            raise UsageError(f"expected a context_length and a batch_size from 1 and a seed from 0; found {found}")
        self.tokens = manifest.tokens(folder, "train")
        self.context_length = context_length
        self.batch_size = batch_size
        self.windows = (len(self.tokens) - context_length) // context_length
        if self.windows < 1:
            raise UsageError(
                f"the train split of {folder} has {len(self.tokens)} tokens, too few for a window of {context_length}; "
                f"give a context length of at most {max(1, len(self.tokens) // 2)}, or prepare more text"
            )

        @lru_cache(maxsize=2)
        def plan(epoch: int) -> tuple[int, np.ndarray]:
            return epoch_plan(seed, 0 if fixed else epoch, self.windows, context_length)

        self._plan = plan

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every window has been seen at least once."""
        return -(-self.windows // self.batch_size)

    def batch_at(
        self, step: int, rows: slice = slice(None)
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Inputs and targets of a step; the targets are the inputs one token later. `rows` picks some of its rows."""
        chosen = range(self.batch_size)[rows]
        windows_BT1 = np.stack([self._window(step * self.batch_size + row) for row in chosen])
        return windows_BT1[:, :-1], windows_BT1[:, 1:]

    def _window(self, index: int) -> Int64[np.ndarray, " T1"]:
        """The tokens of a window by its number in the endless row of epochs."""
        epoch, place = divmod(index, self.windows)
        phase, order_n = self._plan(epoch)
        start = phase + int(order_n[place]) * self.context_length
        return self.tokens[start : start + self.context_length + 1]


def epoch_plan(seed: int, epoch: int, windows: int, context_length: int) -> tuple[int, Int64[np.ndarray, " n"]]:
    """The phase in [0, T) and the order of the windows of an epoch."""
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch)))
    phase = int(bits.random_raw() % context_length)
    return phase, np.argsort(bits.random_raw(windows), kind="stable")
