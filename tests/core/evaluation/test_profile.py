import numpy as np
import pytest

from tinytale.evaluation.profile import profile


def test_losses_by_position_and_length_by_hand():
    bounds = np.array([0, 2, 8, 78])  # stories of 2, 6 and 70 tokens with their ends of text
    nats_N = np.concatenate([[0.0], [1, 3], [2, 4, 4, 4, 6, 8], np.full(70, 5.0)])
    figures = profile(nats_N, bounds)
    by_position, by_length = figures["by_position"], figures["by_length"]
    assert list(by_position) == ["1", "2-4", "5-16", "17-64", "65-256"]
    assert (by_position["1"]["stories"], by_position["1"]["tokens"]) == (3, 3)
    assert by_position["1"]["loss"]["value"] == pytest.approx((1 + 2 + 5) / 3)
    assert by_position["2-4"]["loss"]["value"] == pytest.approx((3 + 12 + 15) / 7)
    assert (by_position["65-256"]["stories"], by_position["65-256"]["tokens"]) == (1, 6)
    assert figures["closing_end_of_text"]["loss"]["value"] == pytest.approx((3 + 8 + 5) / 3)
    assert {name: (part["stories"], part["tokens"]) for name, part in by_length.items()} == {
        "1-64": (2, 8),
        "65-128": (1, 70),
    }
    assert by_length["1-64"]["loss"]["value"] == pytest.approx(32 / 8)


def test_every_token_is_in_one_range_of_each_kind():
    random = np.random.default_rng(0)
    bounds = np.concatenate([[0], np.cumsum(random.integers(1, 1500, 40))])
    nats_N = np.append(0.0, random.gamma(1.0, size=bounds[-1]))
    figures = profile(nats_N, bounds)
    for kind in ("by_position", "by_length"):
        parts = figures[kind].values()
        assert sum(part["tokens"] for part in parts) == bounds[-1]
        assert sum(part["tokens"] * part["loss"]["value"] for part in parts) == pytest.approx(nats_N.sum())
    assert "1025 or more" in figures["by_position"] and "1025 or more" in figures["by_length"]
