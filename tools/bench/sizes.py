"""The shapes that are measured, the same for every contender."""

from dataclasses import dataclass

from tinytale.config import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and its batch."""

    layers: int
    width: int
    heads: int
    context_length: int
    vocab_size: int
    batch_size: int
    """Sequences of one context in a step."""

    @property
    def tokens_per_step(self) -> int:
        """Tokens that a step learns from."""
        return self.batch_size * self.context_length

    @property
    def model(self) -> ModelConfig:
        """As a model of ours, without dropout."""
        return ModelConfig(
            vocab_size=self.vocab_size,
            context_length=self.context_length,
            layers=self.layers,
            heads=self.heads,
            width=self.width,
        )


SIZES = {
    "S": Size(layers=6, width=256, heads=8, context_length=256, vocab_size=4096, batch_size=16),
    "M": Size(layers=8, width=512, heads=8, context_length=256, vocab_size=8192, batch_size=8),
    "124M": Size(layers=12, width=768, heads=12, context_length=512, vocab_size=50_257, batch_size=2),
}
