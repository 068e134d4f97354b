import math

import numpy as np
import pytest

from tinytale.evaluation.intervals import ratio_and_error


def test_a_ratio_by_hand():
    ratio, error = ratio_and_error(np.array([1, 0, 2]), np.array([2, 2, 4]))
    assert ratio == 3 / 8
    assert error == pytest.approx(math.sqrt(3 / 2 * (0.25**2 + 0.75**2 + 0.5**2)) / 8)


def test_of_equal_wholes_it_is_the_error_of_a_mean():
    values = np.array([3.0, 5.0, 4.0, 9.0])
    mean, error = ratio_and_error(values, np.ones(4))
    assert (mean, error) == (values.mean(), pytest.approx(values.std(ddof=1) / 2))


def test_the_error_covers_what_drawing_again_gives():
    random = np.random.default_rng(0)
    wholes = random.integers(1, 50, (2000, 200))
    parts = random.binomial(wholes, 0.3)
    ratios = parts.sum(axis=1) / wholes.sum(axis=1)
    errors = [ratio_and_error(*pair)[1] for pair in zip(parts, wholes, strict=True)]
    assert np.mean(errors) == pytest.approx(ratios.std(), rel=0.05)
