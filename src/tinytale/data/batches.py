"""Batches of training windows, indexed by step: nothing to restore on resume, nothing to shuffle in memory.

Shapes: B rows of a batch, T tokens of context, n windows of an epoch, N tokens of the train split, S stories.
"""

from bisect import bisect_right
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

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
        epoch, row = divmod(index, self.windows)
        phase, order_n = self._plan(epoch)
        start = phase + int(order_n[row]) * self.context_length
        return self.tokens[start : start + self.context_length + 1]


class StoryBatches(Batches):
    """Training batches whose windows begin at the starts of stories; still a pure function of manifest, seed and step.

    In each epoch the S stories are put into an order drawn for the epoch, and cut into windows of T + 1 tokens so that
    every token is a target at least once. A window begins with the end of text that opens a story. The story that its
    end cuts begins the next window, from its start, so that its tokens are predicted from all that comes before them.
    Only a story of more than T tokens goes on, without its beginning, in a window of its own right after the last one's
    end. The windows are then visited in an order drawn for the epoch; the last story of an epoch is followed by its
    first one. How many windows an epoch has differs a little from one to the next.

    Raises:
        UsageError: see `Batches`.
    """

    def __init__(
        self, manifest: Manifest, folder: Path, context_length: int, batch_size: int, seed: int, fixed: bool = False
    ):
        super().__init__(manifest, folder, context_length, batch_size, seed, fixed)
        ends = self.tokens.ends_of_text(manifest.end_of_text)
        self.story_starts_S, self.story_lengths_S = ends[:-1], np.diff(ends)

        @lru_cache(maxsize=2)
        def plan(epoch: int) -> StoryPlan:
            return story_plan(seed, 0 if fixed else epoch, self.story_lengths_S, context_length)

        self._story_plan = plan
        self.windows = len(plan(0).windows_n)
        self._first_windows = [0]

    def _window(self, index: int) -> Int64[np.ndarray, " T1"]:
        """The tokens of a window by its number in the endless row of epochs."""
        while self._first_windows[-1] <= index:
            epoch = len(self._first_windows) - 1
            self._first_windows.append(self._first_windows[-1] + len(self._story_plan(epoch).windows_n))
        epoch = bisect_right(self._first_windows, index) - 1
        plan = self._story_plan(epoch)
        start = int(plan.windows_n[index - self._first_windows[epoch]])
        place = int(np.searchsorted(plan.starts_S1, start, side="right")) - 1
        skipped, pieces, missing = start - int(plan.starts_S1[place]), [], self.context_length + 1
        while missing:
            story = int(plan.order_S[place % len(plan.order_S)])
            first = int(self.story_starts_S[story]) + skipped
            pieces.append(self.tokens[first : first + min(missing, int(self.story_lengths_S[story]) - skipped)])
            missing -= len(pieces[-1])
            place, skipped = place + 1, 0
        return np.concatenate(pieces)


class StoryPlan(NamedTuple):
    """How an epoch goes through the stories; a story's tokens are counted with the end of text that opens it."""

    order_S: Int64[np.ndarray, " S"]
    """The stories in the epoch's order."""
    starts_S1: Int64[np.ndarray, " S1"]
    """Where each begins when they are laid end to end in that order, and where the last one ends."""
    windows_n: Int64[np.ndarray, " n"]
    """Where the windows begin there, in the order in which they are visited."""


def story_plan(seed: int, epoch: int, lengths_S: Int64[np.ndarray, " S"], context_length: int) -> StoryPlan:
    """The order of the stories, and the windows that are cut from them; each draw is of PCG64's raw stream."""
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch)))
    order_S = np.argsort(bits.random_raw(len(lengths_S)), kind="stable")
    in_order_S = lengths_S[order_S]
    starts_S1 = np.concatenate([[0], np.cumsum(in_order_S)])
    further_S = -(-in_order_S // context_length) - 1  # windows beyond the first, if a window begins with this story
    last_S = starts_S1[:-1] + further_S * context_length
    following_S = np.searchsorted(starts_S1, last_S + context_length + 1, side="left") - 1
    opening, following = [0], following_S.tolist()
    while (story := following[opening[-1]]) < len(lengths_S):
        opening.append(story)
    counts = further_S[opening] + 1
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    windows_n = np.repeat(starts_S1[opening], counts) + within * context_length
    return StoryPlan(order_S, starts_S1, windows_n[np.argsort(bits.random_raw(len(windows_n)), kind="stable")])


def epoch_plan(seed: int, epoch: int, windows: int, context_length: int) -> tuple[int, Int64[np.ndarray, " n"]]:
    """The phase in [0, T) and the order of the windows of an epoch."""
    bits = np.random.PCG64(np.random.SeedSequence((seed, epoch)))
    phase = int(bits.random_raw() % context_length)
    return phase, np.argsort(bits.random_raw(windows), kind="stable")
