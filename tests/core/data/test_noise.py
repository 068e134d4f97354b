import numpy as np
import pytest

from tinytale.data.noise import NoisyBatches
from tinytale.data.shards import Manifest, SplitShards

MANIFEST = Manifest(
    vocab_size=7,
    end_of_text=3,
    tokenizer_sha256="0" * 64,
    duplicates_of_test=0,
    settings={},
    sources=[],
    splits={"train": SplitShards(()), "dev": SplitShards(()), "test": SplitShards(())},
)


class Fixed:
    """The same batch at every step: each token of the vocabulary equally often."""

    def batch_at(self, step, rows=slice(None)):
        tokens_BT = np.arange(70 * 101).reshape(70, 101) % 7
        return tokens_BT[rows, :-1], tokens_BT[rows, 1:]


def noisy(share: float = 0.3, until_step: int = 10, seed: int = 0) -> NoisyBatches:
    return NoisyBatches(Fixed(), 70, MANIFEST, share, until_step, seed)


def test_a_share_of_the_inputs_is_replaced_by_all_tokens_but_the_end_of_text_and_no_target_is():
    inputs_BT, targets_BT = Fixed().batch_at(0)
    noisy_BT, same_BT = noisy().batch_at(0)
    assert np.array_equal(same_BT, targets_BT) and noisy_BT.dtype == inputs_BT.dtype
    assert np.array_equal(noisy_BT == 3, inputs_BT == 3)
    others = inputs_BT != 3
    assert (noisy_BT != inputs_BT)[others].mean() == pytest.approx(0.3 * 5 / 6, abs=0.02)  # a sixth draws itself
    drawn = noisy_BT[(noisy_BT != inputs_BT) & (inputs_BT == 0)]
    assert np.allclose(np.bincount(drawn, minlength=7)[[1, 2, 4, 5, 6]] / len(drawn), 0.2, atol=0.06)


def test_no_input_is_replaced_from_the_last_step_on():
    assert not np.array_equal(noisy().batch_at(9)[0], Fixed().batch_at(9)[0])
    assert np.array_equal(noisy().batch_at(10)[0], Fixed().batch_at(10)[0])


def test_noise_depends_on_seed_and_step_alone_and_rows_are_those_of_the_whole_batch():
    whole_BT = noisy().batch_at(4)[0]
    assert np.array_equal(noisy().batch_at(4)[0], whole_BT)
    assert np.array_equal(noisy().batch_at(4, slice(20, 30))[0], whole_BT[20:30])
    assert not np.array_equal(noisy().batch_at(5)[0], whole_BT)
    assert not np.array_equal(noisy(seed=1).batch_at(4)[0], whole_BT)
