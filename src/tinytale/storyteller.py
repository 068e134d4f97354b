"""The Python interface: a model that tells, continues and scores stories. `tinytale.load` gives one."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tinytale.config import TEMPERATURE, DecoderKind, Precision
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import UsageError
from tinytale.evaluation.perplexity import nats_from_story_starts, perplexity_of
from tinytale.generation.beam import beam_search
from tinytale.generation.choosing import choice_for, decoder_for
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, Decoding, random_numbers
from tinytale.generation.stories import Story, TokenRecord, beginning, opened, stream_story, tell_stories
from tinytale.hardware import pick_device
from tinytale.model.attention import Kernels
from tinytale.model.derive import cut_vocabulary
from tinytale.model.folder import load_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import find_folder, model_folder


def load_storyteller(
    folder: str | Path,
    device: str = "auto",
    kernels: Kernels = "fused",
    precision: Precision = "auto",
    whole_vocabulary: bool = False,
    decoder: DecoderKind = "auto",
) -> "Storyteller":
    """The model of a run, of a GPT-2 folder in Hugging Face's layout or of shipped weights, on its device.

    Rows of a padded vocabulary, for which the tokenizer has no token, are left out, since a model that was never taught
    to avoid them may choose them; with `whole_vocabulary` they stay, as other programs have them.

    Raises:
        TaleError: a file is missing or damaged, or the model does not know all of the tokens.
        UsageError: there is no such folder, or no such device.
    """
    weights = model_folder(find_folder(str(folder)))
    model = load_model(weights, kernels)
    tokenizer = load_tokenizer(weights, model.config.vocab_size)
    if not whole_vocabulary:
        model = cut_vocabulary(model, tokenizer.vocab_size, kernels)
    return Storyteller(model.to(pick_device(device)), tokenizer, precision, decoder)


MOST_STORIES = 1_000_000
"""Of one call: all are kept until the last is told."""


@dataclass(frozen=True, repr=False)
class StoryScore:
    """How well a model predicts a text, read from its start; its closing end-of-text is the last token."""

    text: str
    tokens: list[TokenRecord]

    @property
    def nats(self) -> float:
        """How surprising the whole text is: minus its log-probability."""
        return -math.fsum(record.log_probability for record in self.tokens)

    @property
    def perplexity(self) -> float:
        """exp(nats / tokens); infinite where no number is large enough."""
        return perplexity_of(self.nats / len(self.tokens))

    @property
    def bits_per_byte(self) -> float:
        """Nats / (ln 2 x UTF-8 bytes of the text): comparable whatever the tokenizer."""
        return self.nats / (math.log(2) * len(self.text.encode()))

    def __repr__(self) -> str:
        figures = f"{len(self.tokens)} tokens, {self.nats:.1f} nats, {self.bits_per_byte:.3f} bits per byte"
        return f"<StoryScore {beginning(self.text)!r}: {figures}>"


class Storyteller:
    """A GPT-2 and its tokenizer. Every call is by itself: nothing is kept from one to the next."""

    def __init__(self, model: GPT2, tokenizer: Tokenizer, precision: Precision = "auto", decoder: DecoderKind = "auto"):
        self.model, self.tokenizer = model, tokenizer
        self.precision: Precision = precision
        self.decoder_kind: DecoderKind = decoder

    def __repr__(self) -> str:
        shape, device = self.model.config, next(self.model.parameters()).device
        return (
            f"<Storyteller of {shape.layers} layers, width {shape.width}, {self.model.parameter_count():,} weights,"
            f" {self.tokenizer.vocab_size:,} tokens, a context of {shape.context_length}, on {device}>"
        )

    def decoder(self, slots: int) -> Decoder:
        """What computes, with room for this many texts at once.

        Raises:
            UsageError: there is no native decoder, and it, or a precision that only it has, was asked for.
            TaleError: there is not enough memory.
        """
        return decoder_for(self.model, slots, self.precision, self.decoder_kind)

    def generate(
        self,
        prompt: str | Sequence[str] = "",
        *,
        samples: int = 1,
        max_new_tokens: int = 400,
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        greedy: bool = False,
        beams: int | None = None,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        alternatives: int = 0,
        batch_size: int = 32,
    ) -> list[Story]:
        """Tell stories: `samples` of each prompt, one prompt's after the other's; up to `batch_size` at once.

        A story is the same whatever it is told together with: it depends on its prompt, the settings, the seed and its
        number among its prompt's samples. (To the bit with the native decoder. torch rounds otherwise in company: there
        a draw on the edge between two tokens may fall to either side.)

        Args:
            prompt: how the story begins, or several beginnings; "" lets the model begin.
            samples: how many stories of each prompt.
            max_new_tokens: longest continuation, in tokens.
            temperature: below 1 plays safe, above 1 dares more.
            top_k: draw from this many most likely tokens.
            top_p: draw from the fewest tokens that reach this probability together.
            min_p: draw from the tokens that have this share of the probability of the most likely one.
            repetition_penalty: above 1, tokens that the text has already become less likely.
            greedy: always take the most likely token; the settings of drawing do not count then.
            beams: search for the most likely text with so many beams, instead of drawing; settings of drawing, samples
                and a seed are refused beside it.
            stop: text that ends a story and is not part of it; one, or several.
            seed: the same seed tells the same stories.
            alternatives: keep so many most likely tokens at each place.
            batch_size: how many stories are told at once; only speed and memory depend on it.

        Raises:
            UsageError: a setting is out of its range, or a text holds a lone surrogate.
            TaleError: the model's numbers are not finite.
        """
        decoding = Decoding(
            greedy=greedy,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
        )
        if min(samples, max_new_tokens, batch_size) < 1 or alternatives < 0:
            raise UsageError(
                f"samples is {samples}, max-new-tokens {max_new_tokens}, batch-size {batch_size} and alternatives"
                f" {alternatives}; expected at least 1 of each, 0 of the last"
            )
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if samples * len(prompts) > MOST_STORIES:
            raise UsageError(
                f"samples is {samples} of {len(prompts)} prompts; expected at most {MOST_STORIES:,} stories at a time"
            )
        choices: list[Choice] = [choice_for(decoding)] * (samples * len(prompts))
        if beams is not None:
            usual = asdict(Decoding(temperature=TEMPERATURE)) | {"samples": 1, "seed": 0}
            given = asdict(decoding) | {"samples": samples, "seed": seed}
            if idle := [f"{name.replace('_', '-')} {given[name]}" for name in usual if given[name] != usual[name]]:
                raise UsageError(
                    f"beams is {beams}, beside {', '.join(idle)}, which would do nothing: beam search finds one text,"
                    " the likeliest as the model has it; leave out one or the other"
                )
            searching = self.decoder(max(1, beams))
            choices = [self._found(searching, prompt, beams, max_new_tokens) for prompt in prompts]
        return tell_stories(
            self.decoder(min(batch_size, max(1, len(choices)))),
            self.tokenizer,
            [prompt for prompt in prompts for _ in range(samples)],
            choices,
            [random_numbers(seed, sample) for _ in prompts for sample in range(samples)],
            max_new_tokens,
            [stop] if isinstance(stop, str) else stop,
            alternatives,
        )

    def _found(self, decoder: Decoder, prompt: str, beams: int, max_new_tokens: int) -> Choice:
        """The choice that takes the tokens of the text that beam search finds, one after another."""
        end = self.tokenizer.end_of_text
        found = beam_search(decoder, opened(self.tokenizer, prompt), beams, max_new_tokens, end)
        tokens = iter([*found, end])
        return lambda logits_V, text, randoms: next(tokens)

    def stream(
        self,
        prompt: str = "",
        *,
        max_new_tokens: int = 400,
        temperature: float = TEMPERATURE,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repetition_penalty: float = 1.0,
        greedy: bool = False,
        stop: str | Sequence[str] = (),
        seed: int = 0,
        sample: int = 0,
        decoder: Decoder | None = None,
        advance: Callable[[int], None] = lambda tokens: None,
    ) -> Iterator[str]:
        """Tell one story piece by piece, without its prompt: together, the text of `generate(...)[sample]`.

        No piece ends within a character, or shows a part of a stop string. The settings are those of `generate`. Each
        call makes a decoder, which copies the weights: who tells many stories, one after the other, gives one to all.
        `advance` hears of each new token.

        Raises:
            UsageError: a setting is out of its range, or a text holds a lone surrogate.
            TaleError: the model's numbers are not finite.
        """
        decoding = Decoding(
            greedy=greedy,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
        )
        if max_new_tokens < 1:
            raise UsageError(f"max-new-tokens is {max_new_tokens}; expected at least 1")
        stops = [stop] if isinstance(stop, str) else stop
        choice, randoms = choice_for(decoding), random_numbers(seed, sample)
        return stream_story(
            decoder or self.decoder(1), self.tokenizer, prompt, choice, randoms, max_new_tokens, stops, advance
        )

    def score(self, text: str) -> StoryScore:
        """How surprising a text is, as a story from its start: opened by an end-of-text, closed by one that counts.

        The same as `tinytale evaluate` measures; a text longer than the context slides on by half a context. (Of a
        padded vocabulary `evaluate` keeps the rows that no token has, and `load_storyteller` leaves them out.)

        Raises:
            UsageError: the text is empty, or holds a lone surrogate.
        """
        if not text:
            raise UsageError("the text is empty: there is nothing to score")
        stream_N = np.array([*opened(self.tokenizer, text), self.tokenizer.end_of_text])
        nats_N = nats_from_story_starts(self.model, stream_N, np.array([0, len(stream_N) - 1]))
        pairs = zip(stream_N[1:].tolist(), nats_N[1:].tolist(), strict=True)
        return StoryScore(text, [TokenRecord(token, -nats) for token, nats in pairs])
