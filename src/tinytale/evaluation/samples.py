"""Stories that a model tells by itself, for whatever is measured on them."""

from dataclasses import asdict, dataclass
from typing import Any

from tinytale.console import progress_bar
from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.decoding import Decoding, generate, sample_seed
from tinytale.model.gpt2 import GPT2


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
    stories = []
    with progress_bar("story") as bar:
        for sample in bar.track(range(settings.stories), description="telling stories"):
            generator = sample_seed(settings.seed, sample)
            tokens = generate(model, [end], choose, generator, settings.max_new_tokens, end)
            stories.append(tokenizer.decode(tokens))
    return Samples(settings, stories)
