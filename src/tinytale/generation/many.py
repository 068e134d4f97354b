"""Decoding many texts at once: a batch whose finished rows are replaced by waiting prompts.

Letters of shapes: V vocabulary.
"""

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from tinytale.generation.choosing import choose_all
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, Text, next_logits
from tinytale.generation.sampling import Randoms

Keep = Callable[[Float[Tensor, " V"], int], int]
"""Keeps a token that was chosen and what the model held of it; gives the token that the text goes on with."""


def generate_many(
    decoder: Decoder,
    prompts: Sequence[Sequence[int]],
    choose: Choice | Sequence[Choice],
    randoms: Sequence[Randoms],
    max_new_tokens: int,
    end_of_text: int,
    advance: Callable[[int], None] = lambda texts: None,
    keep: Sequence[Keep] | None = None,
) -> list[list[int]]:
    """For each prompt the tokens that `generate` gives with the same choice and random numbers, in the prompts' order.

    Every text stops by itself and slides by itself; its slot then goes to the next prompt that waits. One choice serves
    all texts, or each has its own. `advance` hears of each text that has ended. `keep`, if there is one for each text,
    is given each token of it, and may end it.

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
        slots, logits_BV = next_logits(decoder, texts)
        numbers = [number[slot] for slot in slots]
        tokens = choose_all(
            logits_BV,
            [choices[mine] for mine in numbers],
            [texts[slot].seen for slot in slots],
            [randoms[mine] for mine in numbers],
        )
        for row, (slot, mine, token) in enumerate(zip(slots, numbers, tokens, strict=True)):
            text = texts[slot]
            if keep:
                token = keep[mine](logits_BV[row], token)
            if token != end_of_text:
                text.append(token)
                told[mine].append(token)
            if token == end_of_text or len(told[mine]) == max_new_tokens:
                del texts[slot]
                free.append(slot)
                advance(1)
