import math

import pytest

from tinytale.config import OptimiserConfig
from tinytale.training.schedule import rate_fraction

BY_HAND = {
    "constant": [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 1, 1],
    "linear": [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 0.1 + 0.9 * 0.75, 0.1 + 0.9 * 0.5],
    "cosine": [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, 0.1 + 0.9 * 0.5],
}


@pytest.mark.parametrize("schedule", BY_HAND)
def test_rates_by_hand(schedule):
    config = OptimiserConfig(schedule=schedule, warmup_steps=4, final_fraction=0.1)
    assert [rate_fraction(step, 8, config) for step in range(7)] == pytest.approx(BY_HAND[schedule])


def test_the_decay_may_wait_for_the_last_part_and_until_then_the_length_is_open():
    config = OptimiserConfig(schedule="linear", warmup_steps=2, decay_fraction=0.5, final_fraction=0.0)
    rates = [rate_fraction(step, 10, config) for step in range(11)]
    assert rates == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])
    assert rates[:7] == [rate_fraction(step, 100, config) for step in range(7)]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_decay_ends_at_its_final_fraction(schedule):
    config = OptimiserConfig(schedule=schedule, warmup_steps=2, final_fraction=0.25)
    assert rate_fraction(10, 10, config) == pytest.approx(0.25)


def test_no_warm_up_begins_at_the_peak_and_a_run_within_its_warm_up_never_decays():
    assert rate_fraction(0, 10, OptimiserConfig(warmup_steps=0)) == 1
    assert rate_fraction(3, 4, OptimiserConfig(warmup_steps=99)) == 4 / 100
