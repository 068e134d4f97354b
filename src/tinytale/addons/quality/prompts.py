"""The project's own prompts: a fixed list, so that what models make of it can be laid side by side."""

import tomllib
from dataclasses import dataclass
from importlib import resources

from tinytale.addons.quality.lexicon import Lexicon


@dataclass(frozen=True)
class Prompt:
    """How a story begins, and what it asks of whoever goes on."""

    kind: str
    """`beginning`, `middle`, `reasoning`, `factual` or `dialogue`."""
    text: str


def read_prompts() -> tuple[int, list[Prompt]]:
    """The version of the list, and the prompts."""
    file = resources.files("tinytale.addons.quality").joinpath("prompts.toml")
    content = tomllib.loads(file.read_text(encoding="utf-8"))
    return content["version"], [Prompt(kind, text) for kind, texts in content["prompts"].items() for text in texts]


def speaks_their_language(lexicon: Lexicon, prompts: list[Prompt]) -> bool:
    """Whether the training stories have most of the prompts' words, which are English."""
    words = [word for prompt in prompts for word in lexicon.words(prompt.text)]
    return 2 * sum(map(lexicon.knows, words)) > len(words)
