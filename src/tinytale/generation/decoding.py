"""Decoding one text, token by token, with a KV cache."""

from collections.abc import Callable, Collection, Iterator, Sequence
from copy import copy
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.generation.decoder import Decoder
from tinytale.generation.sampling import (
    Randoms,
    Sampler,
    compose,
    draw,
    min_p,
    most_likely,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
)
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2

Pick = Callable[[Float[Tensor, " V"], Randoms], int]
"""From the logits of the next token to the token."""
Choice = Callable[[Float[Tensor, " V"], Collection[int], Randoms], int]
"""From the logits of the next token, and the different tokens so far (the prompt's too), each once, to the token."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next token is chosen; None and a penalty of 1 leave a sampler out."""

    greedy: bool = False
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def choice(self, drawn: Pick | None = None) -> Choice:
        """The chooser: penalty, then the most likely token, or a draw after temperature, top-k, top-p and min-p.

        They come in this order, as in transformers: each sees what those before it have left. `drawn` does what those
        samplers and the draw do, if somebody has something faster.

        Raises:
            UsageError: a setting out of its range.
        """
        penalise = repetition_penalty(self.repetition_penalty)
        samplers: list[Sampler] = []
        if not self.greedy:
            samplers.append(temperature(self.temperature))
            samplers += [top_k(self.top_k)] if self.top_k is not None else []
            samplers += [top_p(self.top_p)] if self.top_p is not None else []
            samplers += [min_p(self.min_p)] if self.min_p is not None else []
        shape = compose(*samplers)
        pick = most_likely if self.greedy else drawn or (lambda logits_V, randoms: draw(shape(logits_V), randoms))

        def choose(logits_V: Float[Tensor, " V"], tokens: Collection[int], randoms: Randoms) -> int:
            if self.repetition_penalty != 1:
                logits_V = penalise(logits_V, tokens)
            return pick(logits_V, randoms)

        return choose


def random_numbers(seed: int, sample: int) -> Randoms:
    """The random numbers of one sample: the same whatever else is generated, on whatever device."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + sample) % 2**63)
    while True:
        yield from torch.rand(64, generator=generator, dtype=torch.float64).tolist()  # as fast as a single one


class Text:
    """A text being told: all of its tokens, and those that the model has in view.

    A prompt longer than the context is read from its last tokens. When the context is full, the model goes on from the
    last half of it: the older half is forgotten.
    """

    def __init__(self, prompt: Sequence[int], context_length: int):
        self.context_length = context_length
        self.tokens = list(prompt)
        self.seen = dict.fromkeys(self.tokens)
        """Its different tokens."""
        self.view = self.tokens[-context_length:]
        self.begins = True
        """Whether the view is to be read from its start; else all but its last token has been read."""

    def append(self, token: int) -> None:
        """One token more."""
        self.tokens.append(token)
        self.seen[token] = None
        self.view.append(token)
        self.begins = len(self.view) > self.context_length
        if self.begins:
            self.view = self.view[-max(1, self.context_length // 2) :]

    def copy(self) -> "Text":
        """A text that goes its own way from here."""
        other = copy(self)
        other.tokens, other.seen, other.view = self.tokens.copy(), self.seen.copy(), self.view.copy()
        return other


def next_logits(decoder: Decoder, texts: dict[int, Text]) -> tuple[list[int], Float[Tensor, "B V"]]:
    """Let the decoder read what is new in the text of each slot: the slots, and the logits that follow in each.

    Raises:
        NotFiniteError: the model's numbers are not finite.
    """
    begun = [slot for slot in texts if texts[slot].begins]
    logits = [decoder.prefill(slot, texts[slot].view)[None] for slot in begun]
    going_on = sorted(texts.keys() - begun)
    if going_on:
        logits.append(decoder.step(going_on, [texts[slot].view[-1] for slot in going_on]))
    return begun + going_on, torch.cat(logits) if begun else logits[0]


def generate(
    model: GPT2,
    prompt: Sequence[int],
    choose: Choice,
    randoms: Randoms,
    max_new_tokens: int,
    end_of_text: int,
) -> Iterator[int]:
    """The tokens that follow `prompt`, one at a time, until an end-of-text token (which is not given) or the limit.

    Raises:
        TaleError: the model's numbers are not finite.
    """
    return tell(TorchDecoder(model, slots=1), prompt, choose, randoms, max_new_tokens, end_of_text)


def tell(
    decoder: Decoder,
    prompt: Sequence[int],
    choose: Choice,
    randoms: Randoms,
    max_new_tokens: int,
    end_of_text: int,
) -> Iterator[int]:
    """`generate`, by any decoder, in its first slot."""
    text = Text(prompt, decoder.context_length)
    for _ in range(max_new_tokens):
        _, logits_BV = next_logits(decoder, {0: text})
        token = choose(logits_BV[0], text.seen, randoms)
        if token == end_of_text:
            return
        yield token
        text.append(token)
