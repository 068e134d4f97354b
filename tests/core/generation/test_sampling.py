import math
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinytale.errors import UsageError
from tinytale.generation.decoding import random_numbers
from tinytale.generation.sampling import (
    compose,
    draw,
    min_p,
    most_likely,
    repetition_penalty,
    temperature,
    top_k,
    top_p,
)

PROBABILITIES = [0.1, 0.4, 0.05, 0.25, 0.2]
LOGITS_V = torch.tensor(PROBABILITIES).log() + 3  # logits may be off by any constant


def probabilities_after(sampler) -> list[float]:
    return sampler(LOGITS_V).softmax(-1).tolist()


def test_temperature_by_hand():
    squared = [p**2 for p in PROBABILITIES]
    assert probabilities_after(temperature(0.5)) == pytest.approx([p / sum(squared) for p in squared])
    assert probabilities_after(temperature(1.0)) == pytest.approx(PROBABILITIES)


@pytest.mark.parametrize("value", [1e-30, 1e-320])
def test_a_temperature_near_zero_is_greedy(value: float):
    assert probabilities_after(temperature(value)) == [0, 1, 0, 0, 0]


@pytest.mark.parametrize(
    ("count", "kept"),
    [(1, [0, 1, 0, 0, 0]), (2, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]), (5, PROBABILITIES), (99, PROBABILITIES)],
)
def test_top_k_by_hand(count: int, kept: list[float]):
    assert probabilities_after(top_k(count)) == pytest.approx(kept)


def test_top_k_keeps_those_that_tie_with_the_last():
    assert top_k(2)(torch.tensor([1.0, 3.0, 1.0, 0.0])).tolist() == [1, 3, 1, -math.inf]


@pytest.mark.parametrize(
    ("mass", "kept"),
    [
        (1e-9, [0, 1, 0, 0, 0]),
        (0.39, [0, 1, 0, 0, 0]),
        (0.41, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        (0.66, [0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85]),
        (0.9, [0.1 / 0.95, 0.4 / 0.95, 0, 0.25 / 0.95, 0.2 / 0.95]),
        (1.0, PROBABILITIES),
    ],
)
def test_top_p_by_hand(mass: float, kept: list[float]):
    assert probabilities_after(top_p(mass)) == pytest.approx(kept, abs=1e-6)


@pytest.mark.parametrize("size", [3, 1000, 50_257])
def test_top_p_of_the_whole_mass_keeps_every_token(size: int):
    logits_V = torch.randn(size, generator=torch.Generator().manual_seed(0)) * 5
    assert torch.equal(top_p(1.0)(logits_V), logits_V)
    assert torch.equal(top_p(1.0)(torch.zeros(size)), torch.zeros(size))


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=12), st.floats(0.01, 0.99))
def test_top_p_keeps_a_smallest_set_that_reaches_the_mass(logits: list[float], mass: float):
    logits_V = torch.tensor(logits, dtype=torch.float64)
    kept = top_p(mass)(logits_V) > -math.inf
    probabilities = logits_V.softmax(-1)
    assert probabilities[kept].sum() >= mass - 1e-9
    assert probabilities[kept].sum() - probabilities[kept].min() < mass + 1e-9
    assert kept.all() or probabilities[kept].min() >= probabilities[~kept].max()


@pytest.mark.parametrize(
    ("share", "kept"),
    [
        (0.0, PROBABILITIES),
        (1e-9, PROBABILITIES),
        (0.24, [0.1 / 0.95, 0.4 / 0.95, 0, 0.25 / 0.95, 0.2 / 0.95]),
        (0.51, [0, 0.4 / 0.65, 0, 0.25 / 0.65, 0]),
        (1.0, [0, 1, 0, 0, 0]),
    ],
)
def test_min_p_by_hand(share: float, kept: list[float]):
    assert probabilities_after(min_p(share)) == pytest.approx(kept)


def test_min_p_of_one_keeps_those_that_tie_with_the_most_likely():
    assert min_p(1.0)(torch.tensor([1.0, 3.0, 3.0, 0.0])).tolist() == [-math.inf, 3, 3, -math.inf]


def test_a_repetition_penalty_by_hand():
    logits_V = torch.tensor([3.0, -1.0, 0.0, 2.0, -4.0])
    assert repetition_penalty(2.0)(logits_V, [0, 1, 2, 0, 0]).tolist() == [1.5, -2.0, 0.0, 2.0, -4.0]
    assert repetition_penalty(0.5)(logits_V, [4]).tolist() == [3.0, -1.0, 0.0, 2.0, -2.0]
    assert repetition_penalty(1.0)(logits_V, [0, 1]).tolist() == logits_V.tolist()


def test_samplers_apply_in_order():
    assert compose(top_k(2), temperature(0.5))(LOGITS_V).softmax(-1).tolist() == pytest.approx(
        [0, 0.4**2 / (0.4**2 + 0.25**2), 0, 0.25**2 / (0.4**2 + 0.25**2), 0]
    )
    assert compose()(LOGITS_V) is LOGITS_V


def test_samplers_leave_their_input_as_it_was():
    before = LOGITS_V.clone()
    compose(temperature(0.7), top_k(2), top_p(0.5), min_p(0.5))(LOGITS_V)
    repetition_penalty(2.0)(LOGITS_V, [1, 3])
    assert torch.equal(LOGITS_V, before)


@pytest.mark.parametrize(
    ("make", "value"),
    [
        *((temperature, value) for value in (0.0, -1.0, math.inf, math.nan)),
        *((top_k, value) for value in (0, -1)),
        *((top_p, value) for value in (0.0, 1.1, math.nan)),
        *((min_p, value) for value in (-0.1, 1.1, math.nan)),
        *((repetition_penalty, value) for value in (0.0, -1.0, 1e-300, 1e300, math.inf, math.nan)),
    ],
)
def test_a_setting_out_of_range_is_refused(make, value):
    with pytest.raises(UsageError, match=re.escape(f"is {value}; expected")):
        make(value)


def test_draws_follow_the_distribution():
    randoms, draws = random_numbers(0, 0), 20_000
    counts = torch.bincount(torch.tensor([draw(LOGITS_V, randoms) for _ in range(draws)]), minlength=5)
    expected = torch.tensor(PROBABILITIES) * draws
    chi_square = ((counts - expected).square() / expected).sum().item()
    assert chi_square < 18.47  # one time in a thousand for four degrees of freedom


def test_a_token_without_probability_is_never_drawn():
    randoms = random_numbers(0, 0)
    assert {draw(top_k(2)(LOGITS_V), randoms) for _ in range(500)} == {1, 3}


def test_the_most_likely_is_the_highest():
    assert most_likely(LOGITS_V) == 1
