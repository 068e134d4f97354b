"""Input noise: some input tokens are replaced by random ones, and the tokens to predict stay.

Letters of shapes: B rows of a batch, T tokens of context.
"""

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int64

from tinytale.data.shards import Manifest

NOISE = 0x4E6F697365
"""Third number of the draws' seed, so that they are not those of the epochs' orders."""


@runtime_checkable
class RowSource(Protocol):
    """Batches of which some rows can be had alone."""

    def batch_at(
        self, step: int, rows: slice = slice(None)
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Inputs and targets of a step."""
        ...


class NoisyBatches:
    """Batches in which a share of the input tokens is replaced, until a step: a pure function of seed and step.

    Each input token is replaced with probability `share` by one drawn evenly from the vocabulary (Chen et al., 2026,
    arXiv 2606.16246); ends of text stay, and none is put in. Each batch draws from PCG64's raw stream, seeded with
    (seed, step, `NOISE`), for all its rows, whichever are asked for.
    """

    def __init__(
        self, batches: RowSource, batch_size: int, manifest: Manifest, share: float, until_step: int, seed: int
    ):
        self.batch_size = batch_size
        self.batches, self.share, self.until_step, self.seed = batches, share, until_step, seed
        self.vocab_size, self.end_of_text = manifest.vocab_size, manifest.end_of_text

    def batch_at(
        self, step: int, rows: slice = slice(None)
    ) -> tuple[Int64[np.ndarray, "B T"], Int64[np.ndarray, "B T"]]:
        """Inputs, some of them replaced, and targets of a step; `rows` picks some of its rows."""
        inputs_BT, targets_BT = self.batches.batch_at(step, rows)
        if step < self.until_step:
            bits = np.random.PCG64(np.random.SeedSequence((self.seed, step, NOISE)))
            size = self.batch_size, inputs_BT.shape[1]
            draws_BT, others_BT = (bits.random_raw(size[0] * size[1]).reshape(size)[rows] for _ in range(2))
            replaced_BT = (draws_BT / 2.0**64 < self.share) & (inputs_BT != self.end_of_text)
            others_BT = (others_BT % (self.vocab_size - 1)).astype(np.int64)
            inputs_BT = np.where(replaced_BT, others_BT + (others_BT >= self.end_of_text), inputs_BT)
        return inputs_BT, targets_BT
