"""Stories: prompts in, texts out, with the log-probability of every token.

Letters of shapes: V vocabulary.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.choosing import log_sum_exp
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, tell
from tinytale.generation.many import generate_many
from tinytale.generation.sampling import Randoms
from tinytale.generation.stopping import StoryText


@dataclass(slots=True)  # frozen, it would take three times as long to make
class TokenRecord:
    """A token of a story, and what the model held of it."""

    token: int
    log_probability: float
    """In nats, given all that the model had in view: as the model itself has it, before any sampler."""
    alternatives: tuple[tuple[int, float], ...] = ()
    """The most likely tokens in its place, it may be one of them, with their log-probabilities; best first."""


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        return f"<Story {beginning(str(self))!r}: {len(self.tokens)} tokens told, ended by {self.ended}>"

    def _repr_html_(self) -> str:
        """What a notebook shows: the whole story, its prompt set apart."""
        return f'<p style="white-space: pre-wrap"><b>{escape(self.prompt)}</b>{escape(self.text)}</p>'


def beginning(text: str, longest: int = 100) -> str:
    """As much of a text as one line of a list has room for."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


class Writer:
    """Writes one story down while it is told, token by token, and ends it where a stop string is complete.

    `alternatives` of the likeliest tokens are kept at each place; None: no records at all, only tokens. The text is for
    whoever wants it to make from the tokens: that takes longer than to keep them.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = (), alternatives: int | None = 0):
        self.tokenizer, self.stop, self.alternatives = tokenizer, stop, alternatives
        self.tokens: list[int] = []
        """All that was chosen: also the end of text, or the token that completed a stop string."""
        self.records: list[TokenRecord] = []
        """Of each of the tokens, or of one more while it is being kept."""
        self._until = StoryText(tokenizer, stop) if stop else None

    @property
    def stopped(self) -> bool:
        """Whether a stop string is complete."""
        return self._until is not None and self._until.stopped

    @property
    def ended(self) -> Literal["end of text", "stop string", "limit"]:
        """Why nothing comes after the last token, if nothing does."""
        if self.stopped:
            return "stop string"
        return "end of text" if self.tokens[-1:] == [self.tokenizer.end_of_text] else "limit"

    def keep(self, logits_V: Float[Tensor, " V"], token: int) -> int:
        """Keep a token with what the model held of it; see `add`."""
        if self.alternatives is not None:
            self.records.append(record(logits_V, token, self.alternatives))
        return self.add(token)

    def add(self, token: int) -> int:
        """Keep a token; it, or the end of text once a stop string is complete."""
        self.tokens.append(token)
        if self._until is None:
            return token
        self._until.feed(token)
        return self.tokenizer.end_of_text if self._until.stopped else token

    def story(self, prompt: str) -> Story:
        """The finished story."""
        text = StoryText(self.tokenizer, self.stop)
        return Story(prompt, text.feed(*self.tokens) + text.finish(), self.records, self.ended)


def record(logits_V: Float[Tensor, " V"], token: int, alternatives: int = 0) -> TokenRecord:
    """A token with its log-probability, and those of the likeliest `alternatives`."""
    normaliser, others = log_sum_exp(logits_V), ()
    if alternatives:
        best = logits_V.topk(min(alternatives, len(logits_V)))
        others = (
            (token, logit - normaliser)
            for token, logit in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )
    return TokenRecord(token, logits_V[token].item() - normaliser, tuple(others))


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
    randoms: Sequence[Randoms],
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
    writers = [Writer(tokenizer, stop, alternatives) for _ in prompts]
    texts, keep = [opened(tokenizer, prompt) for prompt in prompts], [writer.keep for writer in writers]
    generate_many(decoder, texts, choose, randoms, max_new_tokens, tokenizer.end_of_text, advance, keep)
    return [writer.story(prompt) for writer, prompt in zip(writers, prompts, strict=True)]


def stream_story(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompt: str,
    choose: Choice,
    randoms: Randoms,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    advance: Callable[[int], None] = lambda tokens: None,
) -> Iterator[str]:
    """The text of one story, piece by piece as it is told, without the prompt; together the same as `tell_stories`'.

    `advance` hears of each new token.

    Raises:
        UsageError: the prompt holds a lone surrogate, or a stop string is empty.
        TaleError: the model's numbers are not finite.
    """
    tokens = opened(tokenizer, prompt)
    told = tell(decoder, tokens, choose, randoms, max_new_tokens, tokenizer.end_of_text)
    return _pieces(StoryText(tokenizer, stop), told, advance)


def _pieces(text: StoryText, tokens: Iterator[int], advance: Callable[[int], None]) -> Iterator[str]:
    for token in tokens:
        advance(1)
        if piece := text.feed(token):
            yield piece
        if text.stopped:
            return
    if piece := text.finish():
        yield piece
