"""Stories that a model tells by itself, for whatever is measured on them."""

from dataclasses import asdict, dataclass
from typing import Any

from tinytale.console import progress_bar
from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.decoding import Decoding, sample_seed
from tinytale.generation.many import generate_many
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2

BATCH_SIZE = 32
"""How many stories are told at once; they do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How the stories are told: as `generate` does unless told otherwise."""

    stories: int = 200
    temperature: float = 0.8
    max_new_tokens: int = 400
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """Some stories, begun without a prompt, and how they were told."""

    settings: SampleSettings
    stories: list[str]

    def to_json(self) -> dict[str, Any]:
        """The prompt, the settings and the stories."""
        return {"prompt": "", "settings": asdict(self.settings), "stories": self.stories}


def tell_samples(model: GPT2, tokenizer: Tokenizer, settings: SampleSettings) -> Samples:
    """Let the model tell stories, with progress on the console; the same settings tell the same stories."""
    choose = Decoding(temperature=settings.temperature).choice()
    end = tokenizer.end_of_text
    decoder = TorchDecoder(model, min(BATCH_SIZE, settings.stories))
    prompts = [[end]] * settings.stories
    generators = [sample_seed(settings.seed, sample) for sample in range(settings.stories)]
    with progress_bar("story") as bar:
        task = bar.add_task("telling stories", total=settings.stories)
        told = generate_many(
            decoder,
            prompts,
            choose,
            generators,
            settings.max_new_tokens,
            end,
            lambda stories: bar.advance(task, stories),
        )
    return Samples(settings, [tokenizer.decode(tokens) for tokens in told])
