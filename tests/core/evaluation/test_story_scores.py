"""What each story cost, and how surely one model needs more than another."""

import math
from pathlib import Path

import numpy as np
import pytest

from tinytale.errors import TaleError
from tinytale.evaluation.story_scores import (
    StoryScores,
    load_story_scores,
    paired_difference,
    save_story_scores,
    story_scores_file,
)

BYTES = np.array([100, 50, 400, 90])
OURS = StoryScores(np.array([60.0, 40.0, 210.0, 50.0]), BYTES)


def test_tokens_are_added_up_story_by_story():
    nats_N = np.array([0.0, 1, 2, 3, 4, 5, 6])
    scores = StoryScores.of(nats_N, np.array([0, 3, 6]), np.array([0, 4, 4, 0, 5, 5, 0]))
    assert scores.nats_S.tolist() == [6, 15] and scores.bytes_S.tolist() == [8, 10]


def test_the_difference_is_that_of_the_two_scores_and_its_error_that_of_a_ratio():
    theirs = StoryScores(OURS.nats_S + np.array([3.0, -1.0, 9.0, 2.0]), BYTES)
    found = paired_difference(theirs, OURS)
    assert found is not None
    by_byte = (theirs.nats_S.sum() - OURS.nats_S.sum()) / BYTES.sum()
    assert found.bits_per_byte == pytest.approx(by_byte / math.log(2))
    residuals = np.array([3.0, -1.0, 9.0, 2.0]) - by_byte * BYTES
    error = math.sqrt(4 / 3 * np.square(residuals).sum()) / BYTES.sum() / math.log(2)
    assert found.interval_95 == pytest.approx((found.bits_per_byte - 1.96 * error, found.bits_per_byte + 1.96 * error))
    back = paired_difference(OURS, theirs)
    assert back is not None and back.bits_per_byte == -found.bits_per_byte


def test_what_is_hard_for_both_is_not_in_the_error():
    hard = np.array([1.0, 900.0, 20.0, 400.0])
    both = [StoryScores(hard * BYTES, BYTES), StoryScores((hard + 0.1) * BYTES, BYTES)]
    found = paired_difference(both[1], both[0])
    assert found is not None and found.interval_95 == pytest.approx([0.1 / math.log(2)] * 2)


def test_scores_of_other_stories_have_no_difference():
    assert paired_difference(OURS, StoryScores(OURS.nats_S, BYTES + 1)) is None
    assert paired_difference(OURS, StoryScores(OURS.nats_S[:3], BYTES[:3])) is None


def kept(folder: Path) -> tuple[Path, dict]:
    results, result = folder / "0123456789abcdef.json", {"split": "dev", "weights": "ab", "stories": 4}
    save_story_scores(results, result, OURS)
    return results, result


def test_what_is_kept_comes_back(tmp_path: Path):
    results, result = kept(tmp_path)
    scores = load_story_scores(results, result)
    assert scores is not None and np.array_equal(scores.bytes_S, BYTES) and np.array_equal(scores.nats_S, OURS.nats_S)
    assert load_story_scores(results, result | {"split": "test"}) is None


def test_scores_of_other_weights_are_not_taken(tmp_path: Path):
    results, result = kept(tmp_path)
    assert load_story_scores(results, result | {"weights": "cd"}) is None


@pytest.mark.parametrize("damage", ["cut", "empty", "other stories"])
def test_damage_is_named(tmp_path: Path, damage: str):
    results, result = kept(tmp_path)
    path = story_scores_file(results, "dev")
    if damage == "other stories":
        result["stories"] = 5
    else:
        path.write_bytes(path.read_bytes()[: -3 if damage == "cut" else 0])
    with pytest.raises(TaleError, match=f"{path.name}.*evaluate again"):
        load_story_scores(results, result)
