"""Stories that a model tells by itself, for whatever is measured on them."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinytale.console import progress_bar
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError
from tinytale.files import read_json
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


def kept_stories(path: Path, weights: str) -> tuple[SampleSettings, list[str]] | None:
    """The stories in a file of samples and how they were told, if they are of the weights with this SHA-256.

    Raises:
        TaleError: the file is damaged.
    """
    content = read_json(path) if path.is_file() else {}
    try:
        if content.get("weights") != weights:
            return None
        stories = content["stories"]
        if not (isinstance(stories, list) and all(isinstance(story, str) for story in stories)):
            raise TypeError("its stories are not texts")
        return SampleSettings(**content["settings"]), stories
    except (AttributeError, KeyError, TypeError) as error:
        raise TaleError(f"{path} is damaged ({error!r}); delete it, and the stories are told anew") from error


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
