from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tinytale.config import ModelConfig
from tinytale.model.gpt2 import GPT2


class Table:
    """A decoder whose logits are drawn anew for every text, from a seed made of its tokens: nothing to compute."""

    def __init__(self, vocabulary: int, slots: int, context_length: int = 100):
        self.vocabulary, self.slots, self.context_length = vocabulary, slots, context_length
        self.texts: list[list[int]] = [[] for _ in range(slots)]
        self.steps: list[list[int]] = []

    def logits(self, text: Sequence[int]) -> Tensor:
        seed = sum((token + 1) * 31**place for place, token in enumerate(text)) % 2**31
        return torch.randn(self.vocabulary, generator=torch.Generator().manual_seed(seed))

    def prefill(self, slot: int, tokens: Sequence[int]) -> Tensor:
        assert 1 <= len(tokens) <= self.context_length
        self.texts[slot] = list(tokens)
        return self.logits(tokens)

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Tensor:
        assert len(set(slots)) == len(slots) == len(tokens)
        self.steps.append(list(slots))
        for slot, token in zip(slots, tokens, strict=True):
            self.texts[slot].append(token)
            assert len(self.texts[slot]) <= self.context_length
        return torch.stack([self.logits(self.texts[slot]) for slot in slots])

    def copy(self, source: int, target: int) -> None:
        self.texts[target] = list(self.texts[source])


@pytest.fixture
def table() -> type[Table]:
    """`table(vocabulary, slots, context_length)`: a decoder without a model."""
    return Table


@pytest.fixture
def lively():
    """`lively(kernels="fused", ...)`: a tiny model whose weights are large enough for every part to matter."""

    def make(kernels="textbook", dtype=torch.float32, **fields) -> GPT2:
        settings = {"vocab_size": 23, "context_length": 8, "layers": 2, "heads": 2, "width": 16} | fields
        torch.manual_seed(0)
        model = GPT2(ModelConfig(**settings), kernels).to(dtype).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        return model

    return make
