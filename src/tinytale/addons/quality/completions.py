"""What a model makes of a beginning: of the project's own prompts in three ways of decoding, and of real stories."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from tinytale.addons.quality.prompts import Prompt
from tinytale.addons.quality.samples import RealStories, SampleSettings
from tinytale.addons.quality.telling import Told, cut, search, tell_all
from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding

OPENING = 64
"""Tokens of a real story that are given; of a story shorter than twice that, half."""

Way: TypeAlias = Literal["greedy", "beam", "sampled"]


@dataclass(frozen=True, kw_only=True)
class CompletionSettings:
    """How the prompts are gone on with."""

    max_new_tokens: int = 200
    beams: int = 5
    temperature: float = 0.8
    seeds: tuple[int, ...] = (0, 1, 2)
    """One sampled completion of each prompt for each."""


@dataclass(frozen=True)
class Completions:
    """The prompts, and what came of each: one greedy, one by beam search, one sampled for each seed."""

    version: int
    settings: CompletionSettings
    prompts: list[Prompt]
    told: dict[Way, list[list[Told]]]
    """For each way, for each prompt."""

    def pairs(self, way: Way) -> list[tuple[str, Told]]:
        """Every prompt with each of its completions."""
        return [
            (prompt.text, told)
            for prompt, several in zip(self.prompts, self.told[way], strict=True)
            for told in several
        ]

    def to_json(self) -> dict[str, Any]:
        """All of it, prompt by prompt."""
        return {
            "prompts_version": self.version,
            "settings": asdict(self.settings),
            "prompts": [
                {
                    "kind": prompt.kind,
                    "prompt": prompt.text,
                    **{way: [told.text for told in several[place]] for way, several in self.told.items()},
                }
                for place, prompt in enumerate(self.prompts)
            ],
        }


def complete(
    decoder: Decoder, tokenizer: Tokenizer, version: int, prompts: list[Prompt], settings: CompletionSettings
) -> Completions:
    """Go on with every prompt in every way, with progress on the console."""
    ids = [tokenizer.encode(prompt.text) for prompt in prompts]
    limit, drawn = settings.max_new_tokens, len(settings.seeds)
    first = [(0, place) for place in range(len(ids))]
    seeds = [(seed, place) for place in range(len(ids)) for seed in settings.seeds]
    often = [prompt for prompt in ids for _ in settings.seeds]
    greedy = tell_all(decoder, tokenizer, ids, Decoding(greedy=True), first, limit, "prompts: greedy")
    beam = search(decoder, tokenizer, ids, settings.beams, limit, f"prompts: beam {settings.beams}")
    sampling = Decoding(temperature=settings.temperature)
    sampled = tell_all(decoder, tokenizer, often, sampling, seeds, limit, "prompts: sampled")
    told: dict[Way, list[list[Told]]] = {
        "greedy": [[one] for one in greedy],
        "beam": [[one] for one in beam],
        "sampled": [sampled[drawn * place : drawn * (place + 1)] for place in range(len(ids))],
    }
    return Completions(version, settings, prompts, told)


@dataclass(frozen=True)
class Continued:
    """Openings of real stories, how the model goes on, and how the stories do."""

    openings: list[str]
    told: list[Told]
    real: list[Told]


def continue_real(decoder: Decoder, tokenizer: Tokenizer, stories: RealStories, settings: SampleSettings) -> Continued:
    """Let the model go on with the openings of real stories, as far as the samples may go."""
    parts = [divide(story) for story in stories.tokens]
    seeds, limit = [(settings.seed, number) for number in range(len(parts))], settings.max_new_tokens
    decoding, openings = Decoding(temperature=settings.temperature), [opening for opening, _ in parts]
    told = tell_all(decoder, tokenizer, openings, decoding, seeds, limit, "going on with real stories")
    real = [cut(rest, limit, tokenizer) for _, rest in parts]
    return Continued([tokenizer.decode(opening) for opening in openings], told, real)


def divide(story: list[int]) -> tuple[list[int], list[int]]:
    """The opening of a story, and how it goes on."""
    opening = min(OPENING, len(story) // 2)
    return story[:opening], story[opening:]
