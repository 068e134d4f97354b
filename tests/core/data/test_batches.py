from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tinytale.data.batches import Batches, StoryBatches, epoch_plan, story_plan
from tinytale.data.shards import Manifest, Shard, SplitShards
from tinytale.errors import TaleError, UsageError


@pytest.fixture
def numbered(tmp_path: Path):
    """A train split of `count` tokens whose value is their place, in shards of `size`."""

    def make(count: int, size: int = 97) -> tuple[Manifest, Path]:
        shards = []
        for index, start in enumerate(range(0, count, size)):
            ids = np.arange(start, min(count, start + size), dtype="<u2")
            (tmp_path / f"train-{index:05d}.bin").write_bytes(ids.tobytes())
            shards.append(Shard(f"train-{index:05d}.bin", len(ids), 1, 1, "0" * 64))
        empty = SplitShards(())
        splits = {"train": SplitShards(tuple(shards)), "dev": empty, "test": empty}
        common = {
            "tokenizer_sha256": "0" * 64,
            "end_of_text": 0,
            "duplicates_of_test": 0,
            "settings": {},
            "sources": [],
        }
        return Manifest(vocab_size=60_000, splits=splits, **common), tmp_path

    return make


same_place = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


@given(st.integers(20, 700), st.integers(1, 9), st.integers(1, 7), st.integers(0, 5))
@same_place
def test_an_epoch_visits_every_window_once_at_one_phase(numbered, count, T, B, seed):
    batches = Batches(*numbered(count), T, B, seed)
    n = batches.windows
    assert n == (count - T) // T
    rows = np.concatenate([batches.batch_at(step)[0] for step in range(-(-3 * n // B))])
    for epoch in range(3):
        starts = np.sort(rows[epoch * n : (epoch + 1) * n, 0])
        assert 0 <= starts[0] < T
        assert np.array_equal(starts, starts[0] + T * np.arange(n))


@given(st.integers(1, 9), st.integers(1, 7), st.integers(0, 300))
@same_place
def test_windows_are_runs_of_the_stream_across_shards_and_targets_are_one_later(numbered, T, B, step):
    inputs_BT, targets_BT = Batches(*numbered(500, size=31), T, B, 1).batch_at(step)
    assert inputs_BT.shape == targets_BT.shape == (B, T) and inputs_BT.dtype == targets_BT.dtype == np.int64
    assert np.array_equal(inputs_BT, inputs_BT[:, :1] + np.arange(T))
    assert np.array_equal(targets_BT, inputs_BT + 1)
    assert targets_BT.max() < 500


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.integers(0, 2**40))
@same_place
def test_a_batch_depends_on_nothing_but_its_step(numbered, steps, seed):
    data = numbered(300)
    together = Batches(*data, 8, 4, seed)
    for step in steps:
        assert np.array_equal(together.batch_at(step), Batches(*data, 8, 4, seed).batch_at(step))


@given(st.integers(0, 60), st.integers(1, 4), st.integers(1, 6))
@same_place
def test_the_order_of_windows_does_not_depend_on_the_batch_size(numbered, step, parts, size):
    data = numbered(400)
    whole = Batches(*data, 8, parts * size, 3)
    small = Batches(*data, 8, size, 3)
    in_turn = np.concatenate([small.batch_at(step * parts + part)[0] for part in range(parts)])
    by_rank = np.concatenate([whole.batch_at(step, slice(part * size, (part + 1) * size))[0] for part in range(parts)])
    assert np.array_equal(whole.batch_at(step)[0], in_turn) and np.array_equal(in_turn, by_rank)


def test_the_size_of_shards_does_not_matter(numbered):
    one, other = (Batches(*numbered(400, size), 16, 4, 7).batch_at(9)[0] for size in (400, 5))
    assert np.array_equal(one, other)


def test_seeds_and_epochs_differ(numbered):
    data = numbered(2000)
    first, other = (Batches(*data, 8, 8, seed).batch_at(0)[0] for seed in (0, 1))
    assert not np.array_equal(first, other)
    plans = [epoch_plan(0, epoch, 200, 1000) for epoch in range(2)]
    assert plans[0][0] != plans[1][0] and not np.array_equal(plans[0][1], plans[1][1])


def test_in_fixed_order_every_epoch_is_the_first(numbered):
    fresh, fixed = (Batches(*numbered(100), 9, 5, 0, fixed=fixed) for fixed in (False, True))
    first, second = (
        [np.concatenate([b.batch_at(step)[0] for step in steps]) for b in (fresh, fixed)] for steps in ((0, 1), (2, 3))
    )
    assert np.array_equal(first[0], first[1]) and np.array_equal(second[1], first[1])
    assert not np.array_equal(second[0], second[1])


def test_the_draws_never_change():
    phase, order = epoch_plan(seed=1, epoch=2, windows=8, context_length=256)
    assert (phase, order.tolist()) == EXPECTED


EXPECTED = (194, [4, 5, 2, 1, 0, 7, 3, 6])


def test_steps_of_an_epoch_are_counted(numbered):
    batches = Batches(*numbered(100), 9, 4, 0)
    assert (batches.windows, batches.steps_per_epoch) == (10, 3)


def test_too_little_text_is_refused_and_the_least_is_enough(numbered):
    with pytest.raises(UsageError, match="31 tokens, too few for a window of 16; give a context length of at most 15"):
        Batches(*numbered(31), 16, 4, 0)
    batches = Batches(*numbered(31), 15, 4, 0)
    assert batches.windows == 1 and batches.batch_at(5)[1].max() <= 30


@pytest.fixture
def stories(tmp_path: Path):
    """A train split of stories of the given lengths, in shards of `size`.

    Each is the end of text 0 and its tokens, which are numbered from 1 on throughout."""

    def make(lengths: list[int], size: int = 29) -> tuple[Manifest, Path]:
        tokens, number = [], 0
        for length in lengths:
            tokens += [0, *range(number + 1, number + length)]
            number += length - 1
        stream = np.array([*tokens, 0], dtype="<u2")
        shards = []
        for index, start in enumerate(range(0, len(stream), size)):
            (tmp_path / f"train-{index:05d}.bin").write_bytes(stream[start : start + size].tobytes())
            shards.append(Shard(f"train-{index:05d}.bin", len(stream[start : start + size]), 1, 1, "0" * 64))
        empty = SplitShards(())
        splits = {"train": SplitShards(tuple(shards)), "dev": empty, "test": empty}
        common = {"tokenizer_sha256": "0" * 64, "duplicates_of_test": 0, "settings": {}, "sources": []}
        return Manifest(vocab_size=60_000, end_of_text=0, splits=splits, **common), tmp_path

    return make


story_lengths = st.lists(st.integers(2, 40), min_size=1, max_size=30).filter(lambda lengths: sum(lengths) >= 24)


@given(story_lengths, st.integers(2, 12), st.integers(0, 3))
@same_place
def test_story_windows_lose_no_token_and_begin_with_stories_unless_one_is_too_long(stories, lengths, T, seed):
    batches = StoryBatches(*stories(lengths), T, 1, seed)
    starts = np.cumsum([1, *(length - 1 for length in lengths)])  # the number of each story's first token
    for epoch in range(2):
        count = len(batches._story_plan(epoch).windows_n)
        first = sum(len(batches._story_plan(earlier).windows_n) for earlier in range(epoch))
        rows = [batches.batch_at(first + index) for index in range(count)]
        targets = np.concatenate([targets_BT[0] for _, targets_BT in rows])
        assert set(targets.tolist()) == set(range(sum(length - 1 for length in lengths) + 1))
        ends = {int(targets_BT[0, -1]) for _, targets_BT in rows}
        for inputs_BT, targets_BT in rows:
            assert np.array_equal(inputs_BT[0, 1:], targets_BT[0, :-1])
            opening = int(inputs_BT[0, 0])
            if opening:
                story = int(np.searchsorted(starts, opening, side="right")) - 1
                assert lengths[story] > T and opening in ends


@given(story_lengths, st.integers(2, 12), st.integers(0, 200))
@same_place
def test_a_story_is_whole_and_followed_by_the_next_of_the_order(stories, lengths, T, step):
    batches = StoryBatches(*stories(lengths), T, 1, 5)
    inputs_BT, targets_BT = batches.batch_at(step)
    text = [int(inputs_BT[0, 0]), *targets_BT[0].tolist()]
    firsts = np.cumsum([1, *(length - 1 for length in lengths)])
    for before, after in pairwise(text):
        if before == 0:
            assert after in firsts[:-1]
        elif after == 0:
            assert before + 1 in firsts
        else:
            assert after == before + 1


def test_the_story_that_a_window_cuts_begins_the_next_one():
    plan = story_plan(seed=0, epoch=0, lengths_S=np.array([5, 5, 5]), context_length=7)
    assert sorted(plan.windows_n.tolist()) == [0, 5, 10]
    plan = story_plan(seed=0, epoch=0, lengths_S=np.array([5, 5, 5]), context_length=10)
    assert sorted(plan.windows_n.tolist()) == [0, 10]
    plan = story_plan(seed=0, epoch=0, lengths_S=np.array([20]), context_length=8)
    assert sorted(plan.windows_n.tolist()) == [0, 8, 16]


def test_story_windows_depend_on_nothing_but_their_step_and_are_fresh_in_each_epoch(stories):
    data = stories([9, 4, 17, 6, 3, 12, 8])
    for step in (40, 3, 17, 0):
        again = StoryBatches(*data, 10, 2, 1)
        assert np.array_equal(again.batch_at(step)[0], StoryBatches(*data, 10, 2, 1).batch_at(step)[0])
    orders = [story_plan(1, epoch, np.full(40, 7), 10).order_S for epoch in range(2)]
    assert not np.array_equal(*orders)
    fixed = StoryBatches(*data, 10, 1, 1, fixed=True)
    assert np.array_equal(fixed.batch_at(0)[0], fixed.batch_at(fixed.windows)[0])


def test_the_draws_of_stories_never_change():
    plan = story_plan(seed=1, epoch=2, lengths_S=np.array([3, 9, 4, 4, 7, 2]), context_length=6)
    assert (plan.order_S.tolist(), plan.windows_n.tolist()) == ORDER_AND_WINDOWS


ORDER_AND_WINDOWS = ([5, 3, 2, 1, 0, 4], [0, 16, 22, 10, 6, 28])


@pytest.mark.parametrize(("T", "B", "seed"), [(0, 1, 0), (1, 0, 0), (1, 1, -1)])
def test_arguments_out_of_range_are_refused(numbered, T, B, seed):
    with pytest.raises(UsageError, match="expected a context_length"):
        Batches(*numbered(50), T, B, seed)


def test_a_shard_of_the_wrong_size_is_refused_before_the_first_step(numbered):
    manifest, folder = numbered(300)
    (folder / "train-00001.bin").write_bytes(b"12")
    with pytest.raises(TaleError, match=r"train-00001\.bin has 2 bytes"):
        Batches(manifest, folder, 8, 2, 0)
