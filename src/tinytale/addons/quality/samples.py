"""Stories that a model tells by itself, for whatever is measured on them; and real ones to lay beside them."""

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinytale.addons.quality.telling import Told, cut, tell_all
from tinytale.data.stored import StoredStories
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError
from tinytale.files import read_json
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding


@dataclass(frozen=True, kw_only=True)
class SampleSettings:
    """How the stories are told: always so, whatever `generate` does by itself, so that results compare."""

    stories: int = 200
    temperature: float = 0.8
    max_new_tokens: int = 400
    seed: int = 0


@dataclass(frozen=True)
class Samples:
    """Some stories, begun without a prompt, and how they were told."""

    settings: SampleSettings
    told: list[Told]

    @property
    def stories(self) -> list[str]:
        """Their texts."""
        return [story.text for story in self.told]

    def to_json(self) -> dict[str, Any]:
        """The prompt, the settings, the stories, and which of them ended by themselves."""
        ended = [story.ended for story in self.told]
        return {"prompt": "", "settings": asdict(self.settings), "stories": self.stories, "ended": ended}


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


def tell_samples(decoder: Decoder, tokenizer: Tokenizer, settings: SampleSettings) -> Samples:
    """Let the model tell stories, with progress on the console; the same settings tell the same stories."""
    decoding = Decoding(temperature=settings.temperature)
    seeds = [(settings.seed, sample) for sample in range(settings.stories)]
    prompts = [[]] * settings.stories
    told = tell_all(decoder, tokenizer, prompts, decoding, seeds, settings.max_new_tokens, "telling stories")
    return Samples(settings, told)


@dataclass(frozen=True)
class RealStories:
    """Some stories that were not told by the model, as tokens."""

    tokens: list[list[int]]
    tokenizer: Tokenizer

    def cut(self, limit: int) -> list[Told]:
        """Cut where a sample had to end."""
        return [cut(story, limit, self.tokenizer) for story in self.tokens]


def draw_stories(stories: StoredStories, tokenizer: Tokenizer, settings: SampleSettings) -> RealStories:
    """As many real stories as samples, or all if there are fewer, drawn with the samples' seed."""
    chosen = random.Random(settings.seed).sample(range(len(stories)), min(settings.stories, len(stories)))
    return RealStories([tokenizer.encode(stories[index]) for index in chosen], tokenizer)
