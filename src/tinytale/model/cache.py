"""The keys and values of the positions that the model has already read, owned by whoever generates.

Letters of shapes: B texts, H heads, T new positions, S stored positions (the new ones too), D head size.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tinytale.config import ModelConfig

Stored = tuple[Float[Tensor, "B H S D"], Float[Tensor, "B H S D"], Bool[Tensor, "B T S"] | None]
"""All keys, all values, and which of them each new position may look at; None: those up to its own, counted from the
last."""


class LayerCache:
    """One layer's keys and values of B texts of one length: room for a whole context, filled from the left."""

    def __init__(self, k_BHSD: Float[Tensor, "B H S D"], v_BHSD: Float[Tensor, "B H S D"], length: int = 0):
        self.k_BHSD, self.v_BHSD = k_BHSD, v_BHSD
        self.length: int | Int[Tensor, " B"] = length
        self.longest = length

    def extend(self, k_BHTD: Float[Tensor, "B H T D"], v_BHTD: Float[Tensor, "B H T D"]) -> Stored:
        """Store T further positions of each text; return what there is to look at."""
        start, end = self.longest, self.longest + k_BHTD.shape[2]
        self.k_BHSD[:, :, start:end] = k_BHTD
        self.v_BHSD[:, :, start:end] = v_BHTD
        self.length = self.longest = end
        return self.k_BHSD[:, :, :end], self.v_BHSD[:, :, :end], None


class RaggedLayerCache(LayerCache):
    """Some rows of another layer cache, in the same memory: B texts, each of its own length."""

    def __init__(self, whole: LayerCache, rows: Sequence[int], lengths: Sequence[int]):
        super().__init__(whole.k_BHSD, whole.v_BHSD, max(lengths))
        self.row_B = torch.tensor(rows, device=whole.k_BHSD.device)
        self.length = torch.tensor(lengths, device=whole.k_BHSD.device)
        neighbours = list(rows) == list(range(rows[0], rows[0] + len(rows)))
        self.selection = slice(rows[0], rows[0] + len(rows)) if neighbours else self.row_B  # a slice copies nothing

    def extend(self, k_BHTD: Float[Tensor, "B H T D"], v_BHTD: Float[Tensor, "B H T D"]) -> Stored:
        """Store T further positions of each text where it ends; what lies beyond a text's end is not to be seen."""
        T = k_BHTD.shape[2]
        position_BT = positions_from(self.length, T, k_BHTD.device).expand(len(self.row_B), T)
        self.k_BHSD[self.row_B[:, None], :, position_BT] = k_BHTD.transpose(1, 2)
        self.v_BHSD[self.row_B[:, None], :, position_BT] = v_BHTD.transpose(1, 2)
        self.length, self.longest = self.length + T, self.longest + T
        visible_BTS = torch.arange(self.longest, device=k_BHTD.device) <= position_BT[:, :, None]
        k_BHSD = self.k_BHSD[self.selection, :, : self.longest]
        v_BHSD = self.v_BHSD[self.selection, :, : self.longest]
        return k_BHSD, v_BHSD, visible_BTS


class KVCache:
    """Keys and values of every layer for a batch of texts of one length; `rows` gives some, each of its own length.

    The caller makes it, passes it to each `GPT2` call, and throws it away: the model keeps no state of its own.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch_size: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ):
        shape = (batch_size, config.heads, config.context_length, config.head_size)
        # Zeros, since what no text has written yet is multiplied by a weight of 0: it must be finite.
        room = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(2 * config.layers)]
        self.layers = [LayerCache(k, v) for k, v in zip(room[::2], room[1::2], strict=True)]

    @property
    def length(self) -> int | Int[Tensor, " B"]:
        """Positions stored so far, of every text or of each; the next token takes this position."""
        return self.layers[0].length

    @property
    def longest(self) -> int:
        """Positions stored so far of the longest text."""
        return self.layers[0].longest

    def rows(self, rows: Sequence[int], lengths: Sequence[int]) -> "KVCache":
        """A cache of these texts alone, in the same memory, of which the first `lengths` positions count."""
        return RowsCache(self, rows, lengths)


class RowsCache(KVCache):
    """Some texts of another cache, each of its own length."""

    def __init__(self, whole: KVCache, rows: Sequence[int], lengths: Sequence[int]):
        if len(rows) == 1:
            here, (length,) = slice(rows[0], rows[0] + 1), lengths
            self.layers = [LayerCache(layer.k_BHSD[here], layer.v_BHSD[here], length) for layer in whole.layers]
        else:
            self.layers = [RaggedLayerCache(layer, rows, lengths) for layer in whole.layers]


def positions_from(start: int | Int[Tensor, " B"], count: int, device: torch.device) -> Int[Tensor, "... T"]:
    """Positions `start`, `start` + 1, ...: (T) of them, or (B, T) when each text has its own start."""
    steps_T = torch.arange(count, device=device)
    return steps_T + start[:, None] if isinstance(start, Tensor) else steps_T + start
