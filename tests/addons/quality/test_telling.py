import pytest

from tinytale.addons.quality.telling import Told


@pytest.mark.parametrize(
    ("told", "unit", "whole"),
    [
        (Told("She ran ho", False), "word", "She ran"),
        (Told("She ran home.", True), "word", "She ran home."),
        (Told("小猫跑回", False), "character", "小猫跑"),
        (Told("小猫跑回家。", True), "character", "小猫跑回家。"),
    ],
)
def test_what_the_limit_may_have_cut_is_left_out(told: Told, unit, whole: str):
    assert told.whole_words(unit) == whole
