from tinytale.config import DataConfig, ModelConfig, RunConfig, TrainConfig, override
from tinytale.recipes import pocket
from tinytale.training.estimate import compiling_pays, estimate


def test_an_estimate_by_hand():
    config = TrainConfig(
        model=ModelConfig(context_length=10, layers=3, heads=1, width=4),
        data=DataConfig(batch_size=6, micro_batch_size=2, sequence_length=5),
        run=RunConfig(precision="float32"),
    )
    found = estimate(config, vocab_size=7)
    block = (4 * 12 + 12) + (4 * 4 + 4) + (4 * 16 + 16) + (16 * 4 + 4) + 16
    weights = 7 * 4 + 10 * 4 + 3 * block + 8
    assert found.parameters == weights
    assert found.flop_per_token == 6 * (weights - 40) + 6 * 3 * 5 * 4
    assert found.memory_bytes == 16 * weights + 2 * 5 * (2 * 34 * 4 * 3 + 12 * 7)


def test_only_a_run_that_is_long_for_its_device_is_compiled():
    config = override(pocket(), {"model": {"vocab_size": 4096}})
    assert not compiling_pays(config, 364, "cpu")  # minutes, on the built-in corpus
    assert compiling_pays(config, 1888, "cpu")  # an epoch of real stories
    assert not compiling_pays(config, 1888, "cuda")
    assert not compiling_pays(config, 10**9, "mps")
