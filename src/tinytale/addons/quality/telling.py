"""Letting a model go on from many beginnings at once, with progress on the console."""

from collections.abc import Sequence
from typing import NamedTuple

from tinytale.addons.survey.sequences import Unit
from tinytale.console import progress_bar
from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.beam import beam_search
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding, random_numbers
from tinytale.generation.many import generate_many

SLOTS = 32
"""Texts that are told at once, unless there is a reason for another number."""


class Told(NamedTuple):
    """A text, and whether it came to its end before the limit."""

    text: str
    ended: bool

    def whole_words(self, unit: Unit) -> str:
        """The text, without the last word (or character) if the limit may have cut it."""
        if self.ended:
            return self.text
        return self.text[:-1] if unit == "character" else " ".join(self.text.split(" ")[:-1])


def cut(tokens: Sequence[int], limit: int, tokenizer: Tokenizer) -> Told:
    """Tokens up to the limit as a text."""
    return Told(tokenizer.decode(tokens[:limit]), len(tokens) < limit)


def tell_all(
    decoder: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    seeds: Sequence[tuple[int, int]],
    limit: int,
    doing: str,
) -> list[Told]:
    """What the model adds to each prompt; `seeds` are the arguments of `random_numbers`, one pair a prompt."""
    end = tokenizer.end_of_text
    begun, randoms = [[end, *prompt] for prompt in prompts], [random_numbers(*seed) for seed in seeds]
    with progress_bar("story") as bar:
        task = bar.add_task(doing, total=len(prompts))
        texts = generate_many(
            decoder, begun, decoding.choice(), randoms, limit, end, lambda count: bar.advance(task, count)
        )
    return [cut(tokens, limit, tokenizer) for tokens in texts]


def search(
    decoder: Decoder, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], beams: int, limit: int, doing: str
) -> list[Told]:
    """What beam search adds to each prompt."""
    end, told = tokenizer.end_of_text, []
    with progress_bar("story") as bar:
        for prompt in bar.track(prompts, description=doing):
            tokens = beam_search(decoder, [end, *prompt], beams, limit, end)
            told.append(cut(tokens, limit, tokenizer))
    return told
