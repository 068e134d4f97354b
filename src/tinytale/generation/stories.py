"""Stories: prompts in, texts out, with the log-probability of every token.

Letters of shapes: V vocabulary.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, tell
from tinytale.generation.many import generate_many
from tinytale.generation.stopping import StoryText


@dataclass(slots=True)  # frozen, it would take three times as long to make
class TokenRecord:
    """A token of a story, and what the model held of it."""

    token: int
    log_probability: float
    """In nats, given all that the model had in view: as the model itself has it, before any sampler."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The most likely tokens in its place, it may be one of them, with their log-probabilities; best first."""


@dataclass(frozen=True)
class Story:
    """How a prompt went on."""

    prompt: str
    text: str
    """What the model added."""
    tokens: list[TokenRecord]
    """All that was chosen: also the end of text, or the token that completed a stop string."""
    ended: Literal["end of text", "stop string", "limit"]

    def __str__(self) -> str:
        return self.prompt + self.text


class Writer:
    """Writes one story down while it is told: a choice that keeps what another choice takes.

    `alternatives` of the likeliest tokens are kept at each place; None: no log-probabilities at all.
    """

    def __init__(self, choose: Choice, tokenizer: Tokenizer, stop: Sequence[str] = (), alternatives: int | None = 0):
        self.choose, self.alternatives, self.end_of_text = choose, alternatives, tokenizer.end_of_text
        self.text = StoryText(tokenizer, stop)
        self.pieces: list[str] = []
        self.records: list[TokenRecord] = []

    def __call__(self, logits_V: Float[Tensor, " V"], tokens: Sequence[int], generator: torch.Generator) -> int:
        """The token that is chosen; the end of text once a stop string is complete."""
        token = self.choose(logits_V, tokens, generator)
        self.records.append(record(logits_V, token, self.alternatives))
        self.pieces.append(self.text.feed(token))
        return self.end_of_text if self.text.stopped else token

    def story(self, prompt: str) -> Story:
        """The finished story."""
        text = "".join(self.pieces) + self.text.finish()
        ended = "end of text" if self.records and self.records[-1].token == self.end_of_text else "limit"
        return Story(prompt, text, self.records, "stop string" if self.text.stopped else ended)


def record(logits_V: Float[Tensor, " V"], token: int, alternatives: int | None = 0) -> TokenRecord:
    """A token with its log-probability, and those of the likeliest `alternatives`.

    None leaves the log-probability out (NaN): to compute it takes longer than a greedy choice.
    """
    if alternatives is None:
        return TokenRecord(token, math.nan)
    logits_V = logits_V.double()
    normaliser = logits_V.logsumexp(dim=-1)
    best = logits_V.topk(min(alternatives, len(logits_V)))
    others = zip(best.indices.tolist(), (best.values - normaliser).tolist(), strict=True)
    return TokenRecord(token, (logits_V[token] - normaliser).item(), tuple(others))


def opened(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of a story that begins with `prompt`: the end of text opens it.

    Raises:
        UsageError: the prompt holds a lone surrogate.
    """
    return [tokenizer.end_of_text, *tokenizer.encode(prompt)]


def tell_stories(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    choose: Choice | Sequence[Choice],
    generators: Sequence[torch.Generator],
    max_new_tokens: int,
    stop: Sequence[str] = (),
    alternatives: int = 0,
    advance: Callable[[int], None] = lambda stories: None,
) -> list[Story]:
    """One story for each prompt, in batches as large as the decoder; see `generate_many`.

    Raises:
        UsageError: a prompt holds a lone surrogate, or a stop string is empty.
        TaleError: the model's numbers are not finite.
    """
    choices = [choose] * len(prompts) if callable(choose) else choose
    writers = [Writer(choice, tokenizer, stop, alternatives) for choice in choices]
    texts = [opened(tokenizer, prompt) for prompt in prompts]
    generate_many(decoder, texts, writers, generators, max_new_tokens, tokenizer.end_of_text, advance)
    return [writer.story(prompt) for writer, prompt in zip(writers, prompts, strict=True)]


def stream_story(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    choose: Choice,
    generator: torch.Generator,
    max_new_tokens: int,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """The text of one story, piece by piece as it is told, without the prompt; together the same as `tell_stories`'.

    Raises:
        UsageError: the prompt holds a lone surrogate, or a stop string is empty.
        TaleError: the model's numbers are not finite.
    """
    tokens = opened(tokenizer, prompt)
    told = tell(decoder, tokens, choose, generator, max_new_tokens, tokenizer.end_of_text)
    return _pieces(StoryText(tokenizer, stop), told)


def _pieces(text: StoryText, tokens: Iterator[int]) -> Iterator[str]:
    for token in tokens:
        if piece := text.feed(token):
            yield piece
        if text.stopped:
            return
    if piece := text.finish():
        yield piece
