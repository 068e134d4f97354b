import math
from itertools import product

import pytest

from tinytale.errors import UsageError
from tinytale.generation.beam import beam_search
from tinytale.generation.decoding import Decoding, random_numbers, tell
from tinytale.generation.torch_decoder import TorchDecoder

VOCABULARY, LENGTH, END = 4, 4, 0


def mean_log_probability(decoder, prompt: list[int], new: list[int]) -> float:
    total = 0.0
    for place, token in enumerate(new):
        total += decoder.logits([*prompt, *new[:place]]).double().log_softmax(-1)[token].item()
    return total / len(new)


def every_text() -> list[list[int]]:
    """All that may be told in LENGTH tokens: those that end, and those that the limit cuts."""
    words = range(1, VOCABULARY)
    ending = [[*told, END] for n in range(LENGTH) for told in product(words, repeat=n)]
    return ending + [list(told) for told in product(words, repeat=LENGTH)]


@pytest.mark.parametrize("start", range(8))
def test_with_a_beam_for_every_text_the_best_of_all_is_found(table, start: int):
    decoder = table(VOCABULARY, slots=VOCABULARY**LENGTH)
    best = max(every_text(), key=lambda new: mean_log_probability(decoder, [start], new))
    found = beam_search(decoder, [start], VOCABULARY**LENGTH, LENGTH, END)
    assert found == (best[:-1] if best[-1] == END else best)


def test_one_beam_is_greedy(table):
    greedy = Decoding(greedy=True).choice()
    for start in range(8):
        told = list(tell(table(9, 1), [start], greedy, random_numbers(0, 0), 12, end_of_text=-1))
        assert beam_search(table(9, 1), [start], 1, 12, end_of_text=-1) == told


def test_more_beams_find_likelier_texts(table):
    def score(beams: int) -> float:
        decoder = table(23, beams)
        found = [beam_search(decoder, [start], beams, 10, end_of_text=-1) for start in range(10)]
        return math.fsum(mean_log_probability(decoder, [start], new) for start, new in enumerate(found))

    assert score(1) < score(3) < score(9)


def test_only_as_many_beams_as_asked_for_take_slots(table):
    decoder = table(23, slots=8)
    beam_search(decoder, [1], 3, 10, end_of_text=-1)
    assert all(not text for text in decoder.texts[3:])
    assert max(map(len, decoder.steps)) == 3


def test_beams_slide_beyond_the_context(lively):
    model = lively()
    found = beam_search(TorchDecoder(model, 3), [1, 2, 3], 3, 30, end_of_text=-1)
    assert len(found) == 30 and found == beam_search(TorchDecoder(model, 3), [1, 2, 3], 3, 30, end_of_text=-1)
    greedy = tell(TorchDecoder(model, 1), [1, 2, 3], Decoding(greedy=True).choice(), random_numbers(0, 0), 30, -1)
    assert beam_search(TorchDecoder(model, 3), [1, 2, 3], 1, 30, end_of_text=-1) == list(greedy)


@pytest.mark.parametrize("beams", [0, 5])
def test_beams_need_slots(table, beams: int):
    with pytest.raises(UsageError, match=f"beams is {beams}; expected at least 1"):
        beam_search(table(9, 4), [1], beams, 5, END)
