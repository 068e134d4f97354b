"""Decoding many texts at once: a batch whose finished rows are replaced by waiting prompts."""

from collections.abc import Callable, Sequence

import torch

from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, Text, next_logits


def generate_many(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    choose: Choice | Sequence[Choice],
    generators: Sequence[torch.Generator],
    max_new_tokens: int,
    end_of_text: int,
    advance: Callable[[int], None] = lambda texts: None,
) -> list[list[int]]:
    """For each prompt the tokens that `generate` gives with the same choice and generator, in the order of the prompts.

    Every text stops by itself and slides by itself; its slot then goes to the next prompt that waits. One choice serves
    all texts, or each has its own. `advance` hears of each text that has ended.

    Raises:
        TaleError: the model's numbers are not finite.
    """
    choices = [choose] * len(prompts) if callable(choose) else choose
    told: list[list[int]] = [[] for _ in prompts]
    waiting = iter(range(len(prompts) if max_new_tokens > 0 else 0))
    free = list(reversed(range(decoder.slots)))
    number: dict[int, int] = {}
    texts: dict[int, Text] = {}
    while True:
        while free and (prompt := next(waiting, None)) is not None:
            slot = free.pop()
            number[slot], texts[slot] = prompt, Text(prompts[prompt], decoder.context_length)
        if not texts:
            return told
        for slot, logits_V in next_logits(decoder, texts).items():
            text, mine = texts[slot], number[slot]
            token = choices[mine](logits_V, text.tokens, generators[mine])
            if token != end_of_text:
                text.append(token)
                told[mine].append(token)
            if token == end_of_text or len(told[mine]) == max_new_tokens:
                del texts[slot]
                free.append(slot)
                advance(1)
