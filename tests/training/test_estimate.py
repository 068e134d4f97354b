import pytest

from tinytale.config import DataConfig, ModelConfig, RunConfig, TrainConfig, override
from tinytale.recipes import pocket
from tinytale.training.estimate import checkpoints, compiling_pays, estimate, evaluations


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


def as_the_trainer_counts(steps: int, every: int, seconds_apart: float, step_seconds: float) -> tuple[int, int]:
    """The rule of `Trainer.train`, step by step."""
    looks = saves = 0
    last_saved = 0.0
    for step in range(1, steps + 1):
        evaluate = step == steps or step % every == 0
        looks += evaluate
        if evaluate or step * step_seconds - last_saved >= seconds_apart:
            saves += 1
            last_saved = step * step_seconds
    return looks, saves


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 40, 57])
@pytest.mark.parametrize("seconds_apart", [0.0, 1.0, 3.0, 6.5, 100.0])
def test_evaluations_and_checkpoints_are_counted_as_the_trainer_does_them(steps: int, seconds_apart: float):
    config = TrainConfig(run=RunConfig(evaluate_every=10, checkpoint_seconds=seconds_apart))
    counted = evaluations(config, steps), checkpoints(config, steps, step_seconds=0.5)
    assert counted == as_the_trainer_counts(steps, 10, seconds_apart, 0.5)


def test_a_run_that_is_done_takes_nothing():
    assert evaluations(TrainConfig(), 0) == checkpoints(TrainConfig(), 0, 1.0) == 0
