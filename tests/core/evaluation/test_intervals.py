import math

import numpy as np
import pytest

from tinytale.evaluation.intervals import ends_text, figure, ratio_and_error, share, share_interval


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


def test_of_one_story_there_is_no_error_and_no_interval():
    value, error = ratio_and_error(np.array([3.0]), np.array([4.0]))
    assert value == 0.75 and math.isnan(error)
    assert figure(value, error) == {"value": 0.75, "interval_95": None}
    assert ends_text(None, ".2f") == "no interval" and ends_text((0.5, 1.0), ".2f", " to ") == "0.50 to 1.00"


def test_a_share_of_yes_and_no_has_wilsons_interval():
    of_ten = share([1] * 3 + [0] * 7)
    assert of_ten is not None and of_ten["value"] == 0.3
    error = math.sqrt(0.3 * 0.7 / 9)  # with one answer less: that much is known of the spread
    assert of_ten["interval_95"] == share_interval(0.3, error, 10) == pytest.approx((0.1021, 0.6175), abs=1e-4)


@pytest.mark.parametrize("answer", [0, 1])
def test_where_all_say_the_same_the_interval_has_a_width(answer: int):
    few, many = share([answer] * 10), share([answer] * 200)
    assert few is not None and many is not None
    far, farther = (abs(answer - one["interval_95"][1 - answer]) for one in (many, few))
    assert many["value"] == many["interval_95"][answer] == answer
    assert far == pytest.approx(1.96**2 / (200 + 1.96**2)) and farther == pytest.approx(1.96**2 / (10 + 1.96**2))


def test_a_rare_share_is_not_told_apart_from_none_too_soon():
    """4 of 200 against 0 of 200: Fisher's exact test gives p = 0.12."""
    some, none = share([1] * 4 + [0] * 196), share([0] * 200)
    assert some is not None and none is not None and none["interval_95"][1] > some["interval_95"][0]


def test_the_interval_of_a_share_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(0)
    for truth, stories, alike in [(0.01, 200, 1), (0.3, 40, 1), (0.97, 60, 1), (0.2, 80, 6)]:
        covered = []
        for _ in range(600):  # `alike` sentences a story, each of one mind
            parts = random.binomial(1, truth, stories) * alike
            found = share(parts.tolist(), [alike] * stories)
            assert found is not None
            covered.append(found["interval_95"][0] <= truth <= found["interval_95"][1])
        assert 0.92 < np.mean(covered) < 0.99


def test_stories_that_begin_alike_are_one_witness_each():
    answers, groups = [1, 1, 1, 0, 0, 0, 1, 0, 1], ["a", "a", "a", "b", "b", "b", "c", "c", "c"]
    apart, together = share(answers), share(answers, groups=groups)
    by_hand = share([3, 0, 2], [3, 3, 3])
    assert apart is not None and together == by_hand and together is not None
    assert together["value"] == apart["value"] == 5 / 9
    assert together["interval_95"][1] - together["interval_95"][0] > apart["interval_95"][1] - apart["interval_95"][0]
