"""The keys and values of the positions that the model has already read, owned by whoever generates."""

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.config import ModelConfig


class LayerCache:
    """One layer's keys and values: room for a whole context, filled from the left."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device):
        self.k_BHSD = torch.empty(shape, dtype=dtype, device=device)
        self.v_BHSD = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    def extend(
        self, k_BHTD: Float[Tensor, "B H T D"], v_BHTD: Float[Tensor, "B H T D"]
    ) -> tuple[Float[Tensor, "B H S D"], Float[Tensor, "B H S D"]]:
        """Store T further positions; return the keys and values of all S so far."""
        start, self.length = self.length, self.length + k_BHTD.shape[2]
        self.k_BHSD[:, :, start : self.length] = k_BHTD
        self.v_BHSD[:, :, start : self.length] = v_BHTD
        return self.k_BHSD[:, :, : self.length], self.v_BHSD[:, :, : self.length]


class KVCache:
    """Keys and values of every layer for a batch of texts of one length.

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
        self.layers = [LayerCache(shape, dtype, torch.device(device)) for _ in range(config.layers)]

    @property
    def length(self) -> int:
        """Positions stored so far; the next token takes this position."""
        return self.layers[0].length
