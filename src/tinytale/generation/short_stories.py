"""What a model in training is asked to tell, evaluation after evaluation: the same beginnings with the same luck."""

from tinytale.data.tokenizer import Tokenizer
from tinytale.generation.choosing import decoder_for
from tinytale.generation.decoding import Decoding, random_numbers
from tinytale.generation.stories import tell_stories
from tinytale.model.gpt2 import GPT2

BEGINNINGS = ("", "Once upon a time", "One day, a little fox")
"""The first is free: it speaks the language that the model learns, whatever that is."""
NEW_TOKENS = 80
"""Enough to see what the model can do by now, and few enough to cost next to nothing."""
DECODING = Decoding(temperature=0.8)
SEED = 0


def short_stories(model: GPT2, tokenizer: Tokenizer) -> list[tuple[str, str]]:
    """Each beginning, and how the model goes on: a function of the weights alone, in float32.

    Raises:
        TaleError: the model's numbers are not finite.
    """
    decoder = decoder_for(model, len(BEGINNINGS), "float32")
    randoms = [random_numbers(SEED, number) for number in range(len(BEGINNINGS))]
    stories = tell_stories(decoder, tokenizer, BEGINNINGS, DECODING.choice(), randoms, NEW_TOKENS)
    return [(story.prompt, story.text) for story in stories]
