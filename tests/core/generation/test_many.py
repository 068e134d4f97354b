"""A batch tells every story as it is told alone."""

import pytest
import torch

from tinytale.errors import TaleError
from tinytale.generation.decoding import Decoding, generate, random_numbers, tell
from tinytale.generation.many import generate_many
from tinytale.generation.sampling import Randoms
from tinytale.generation.torch_decoder import TorchDecoder

END = 12
DRAWN = Decoding(temperature=1.2, top_k=20, top_p=0.99).choice()
PROMPTS = [[(5 * place + number) % 23 for place in range(1 + number % 11)] for number in range(200)]


def seeds(count: int) -> list[Randoms]:
    return [random_numbers(1, number) for number in range(count)]


@pytest.mark.parametrize("kernels", ["textbook", "fused"])
def test_200_prompts_tell_in_batches_what_each_tells_alone_seed_for_seed(lively, kernels):
    """In float32, token for token.

    The logits of a text in a batch and alone differ in their last bits, since BLAS adds up in another order. A draw
    changes only where a random number falls into that gap: with another BLAS this befalls one of the thousand draws
    here with a probability of some thousandths, and then every time. A mistake changes most of them.
    """
    model = lively(kernels, layers=1)
    told = generate_many(TorchDecoder(model, slots=32), PROMPTS, DRAWN, seeds(200), 12, END)
    alone = [
        list(generate(model, prompt, DRAWN, randoms, 12, END))
        for prompt, randoms in zip(PROMPTS, seeds(200), strict=True)
    ]
    assert told == alone
    assert {len(text) for text in told} == set(range(13))


@pytest.mark.parametrize("slots", [1, 2, 7, 50])
def test_however_many_slots_there_are_the_texts_are_those_told_alone(table, slots: int):
    told = generate_many(table(23, slots, 6), PROMPTS[:30], DRAWN, seeds(30), 25, END)
    assert told == [
        list(tell(table(23, 1, 6), prompt, DRAWN, randoms, 25, END))
        for prompt, randoms in zip(PROMPTS[:30], seeds(30), strict=True)
    ]


def test_a_finished_row_is_replaced_by_a_waiting_one(table):
    def ends_after(count: int):
        chosen = iter([1] * count + [END])
        return lambda logits_V, tokens, randoms: next(chosen)

    decoder = table(23, slots=2)
    choices = [ends_after(10 if number % 2 else 1) for number in range(8)]
    told = generate_many(decoder, [[1]] * 8, choices, seeds(8), 50, END)
    assert [len(text) for text in told] == [1, 10] * 4
    assert len(decoder.steps) < 30  # pair by pair it would be 40


def test_each_text_may_have_its_own_choice(table):
    choices = [Decoding(greedy=True).choice(), DRAWN] * 3
    told = generate_many(table(23, 4), [[1]] * 6, choices, seeds(6), 9, -1)
    assert told[0] == told[2] == told[4] and told[1] != told[3] != told[5] != told[0]


def test_a_choice_sees_the_whole_text_so_far(table):
    seen = []

    def choose(logits_V, tokens, randoms) -> int:
        seen.append(list(tokens))
        return len(seen)

    generate_many(table(23, 1, context_length=4), [[20, 21]], choose, seeds(1), 5, -1)
    assert seen == [[20, 21, *range(1, n)] for n in range(1, 6)]


def test_progress_hears_of_each_text_once(table):
    heard = []
    generate_many(table(23, 4), PROMPTS[:9], DRAWN, seeds(9), 5, END, heard.append)
    assert heard == [1] * 9


def test_nothing_is_told_of_no_prompts_or_within_no_tokens(table):
    assert generate_many(table(23, 4), [], DRAWN, [], 5, END) == []
    assert generate_many(table(23, 4), [[1], [2]], DRAWN, seeds(2), 0, END) == [[], []]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_damaged_model_is_one_line(lively, value: float):
    model = lively()
    with torch.no_grad():
        model.embedding.weight_VC[7] = value
    with pytest.raises(TaleError, match="not finite"):
        generate_many(TorchDecoder(model, 2), [[1], [2]], DRAWN, seeds(2), 5, END)
