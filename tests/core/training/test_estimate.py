from pathlib import Path

import pytest
import torch

from tinytale.config import DataConfig, ModelConfig, RunConfig, TrainConfig, override
from tinytale.errors import UsageError
from tinytale.recipes import pocket
from tinytale.training.estimate import checkpoints, compiling_pays, estimate, evaluations, refuse_beyond_memory
from tinytale.training.interrupt import Interrupt
from tinytale.training.trainer import Trainer


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
    taught = estimate(config, 7, ModelConfig(vocab_size=7, context_length=20, layers=1, heads=1, width=4))
    teacher = 7 * 4 + 20 * 4 + block + 8
    assert taught.parameters == weights
    assert taught.flop_per_token - found.flop_per_token == 2 * (teacher - 80) + 2 * 1 * 5 * 4
    assert taught.memory_bytes - found.memory_bytes == 4 * teacher + 2 * 5 * 12 * 7


def test_only_a_run_that_is_long_for_its_device_is_compiled():
    config = override(pocket(), {"model": {"vocab_size": 4096}})
    assert not compiling_pays(config, 364, "cpu")  # minutes, on the built-in corpus
    assert compiling_pays(config, 1888, "cpu")  # an epoch of real stories
    assert not compiling_pays(config, 1888, "cuda")
    assert not compiling_pays(config, 10**9, "mps")
    assert compiling_pays(config, 364, "cpu", ModelConfig(vocab_size=4096))  # the teacher's work counts


@pytest.mark.parametrize("data", [{"batch_size": 99_999_999_999}, {"batch_size": 2**40, "micro_batch_size": 1}])
def test_a_batch_that_no_memory_holds_is_refused_before_any_is_taken(data: dict):
    config = override(pocket(), {"data": data})
    with pytest.raises(UsageError, match=r"would need about [0-9,]+ GiB of memory, and cpu has .*--data.batch-size"):
        refuse_beyond_memory(config, torch.device("cpu"))


def test_what_may_fit_is_let_through():
    refuse_beyond_memory(pocket(), torch.device("cpu"), processes=2)


def as_the_trainer_counts(first: int, last: int, every: int, seconds_apart: float) -> tuple[int, int]:
    """The rule of `Trainer.train`, step by step, each of half a second."""
    looks = saves = 0
    last_saved = first / 2
    for step in range(first + 1, last + 1):
        evaluate = step == last or step % every == 0
        looks += evaluate
        if evaluate or step / 2 - last_saved >= seconds_apart:
            saves += 1
            last_saved = step / 2
    return looks, saves


@pytest.mark.parametrize(
    ("first", "last"), [(0, 1), (0, 9), (0, 10), (0, 11), (0, 57), (7, 9), (10, 30), (10, 31), (15, 57)]
)
@pytest.mark.parametrize("seconds_apart", [0.0, 1.0, 3.0, 6.5, 100.0])
def test_evaluations_and_checkpoints_are_counted_as_the_rule_has_them(first: int, last: int, seconds_apart: float):
    config = TrainConfig(run=RunConfig(evaluate_every=10, checkpoint_seconds=seconds_apart))
    counted = evaluations(config, first, last), checkpoints(config, first, last, step_seconds=0.5)
    assert counted == as_the_trainer_counts(first, last, 10, seconds_apart)


@pytest.mark.parametrize("first", [0, 3, 8])
def test_the_trainer_follows_the_rule(first: int, trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """With a clock that moves on by half a second whenever a step begins."""
    times = {"evaluate_every": 5, "checkpoint_seconds": 1.5, "keep_checkpoints": 99}
    if first:
        trainer(tmp_path / "run", run={**times, "max_steps": first}).train(Interrupt())
    made = trainer(tmp_path / "run", run={**times, "max_steps": 13})
    done = []
    monkeypatch.setattr(Trainer, "_save", lambda self: done.append("save"))
    monkeypatch.setattr(Trainer, "_evaluate", lambda self, *_: done.append("look"))
    made.train(Interrupt(), clock=lambda: made.state.progress.step / 2)
    config = made.state.config
    assert done.count("look") == evaluations(config, first, 13)
    assert done.count("save") == checkpoints(config, first, 13, step_seconds=0.5)


def test_a_run_that_is_done_takes_nothing():
    assert evaluations(TrainConfig(), 300, 300) == checkpoints(TrainConfig(), 300, 300, 1.0) == 0
