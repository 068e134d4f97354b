"""A rehearsal on a clock that only the work moves: every figure is then known."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tinytale.addons.dry_run import rehearsal
from tinytale.addons.dry_run.rehearsal import Rehearsal, rehearse
from tinytale.errors import TaleError
from tinytale.training.estimate import checkpoints
from tinytale.training.loss import StepLoss, plain_loss

STEP, TOKEN, DEV_TOKEN, CHECKPOINT, MODEL = 0.25, 0.01, 0.002, 0.5, 0.125
"""Seconds that the optimiser, a training token, a token of the dev split, and the two ways of saving take."""


class Compiled:
    """Stands for a compiled loss: its first call takes long."""

    def __call__(self, *arguments: object) -> StepLoss:
        return plain_loss(*arguments)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def rehearsed(trainer: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Rehearsal]:
    now, compiled = 0.0, False

    def work(seconds: float) -> None:
        nonlocal now
        now += seconds

    def train_step(state, inputs, targets) -> None:
        nonlocal compiled
        if isinstance(state.loss, Compiled) and not compiled:
            compiled = True
            work(40.0)
        work(STEP + TOKEN * inputs.numel())

    monkeypatch.setattr(rehearsal, "time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(rehearsal, "train_step", train_step)
    monkeypatch.setattr(rehearsal, "dev_loss", lambda state, tokens: work(DEV_TOKEN * (len(tokens) - 1)))
    monkeypatch.setattr(rehearsal, "save_checkpoint", lambda *_: work(CHECKPOINT))
    monkeypatch.setattr(rehearsal, "save_model", lambda *_: work(MODEL))

    def run(compile: bool = False, **changes: dict) -> Rehearsal:
        made = trainer(tmp_path / "run", **changes)
        if compile:
            made.state.loss, made.state.compiled = Compiled(), True
        return rehearse(made.state, made.batches, made.dev_tokens, tmp_path, 0, b"")

    return run


def test_a_cheap_step_is_measured_whole(rehearsed: Callable[..., Rehearsal]):
    found = rehearsed()
    assert (found.sequences, found.compiled, found.compilation) == (4, False, 0.0)
    assert found.step == pytest.approx(STEP + TOKEN * 4 * 16)
    assert found.evaluation == pytest.approx(DEV_TOKEN * 100)
    assert (found.checkpoint, found.model) == (pytest.approx(CHECKPOINT), pytest.approx(MODEL))
    assert found.memory > 10 * 2**20


def test_compilation_is_told_apart_from_the_steps(rehearsed: Callable[..., Rehearsal]):
    found = rehearsed(compile=True)
    assert found.compiled and found.compilation == pytest.approx(40.0)
    assert found.step == pytest.approx(STEP + TOKEN * 4 * 16)


@pytest.mark.parametrize("micro", [None, 2, 32])
def test_a_dear_step_is_reckoned_from_a_part_of_it(micro: int | None, rehearsed: Callable[..., Rehearsal]):
    found = rehearsed(data={"batch_size": 64, "micro_batch_size": micro})
    assert found.sequences == min(micro or 64, 24)  # 10 seconds hold 24 steps of one sequence
    assert found.step == pytest.approx(STEP + TOKEN * 64 * 16, rel=0.05)


def test_a_part_of_a_micro_batch_is_not_compiled(rehearsed: Callable[..., Rehearsal]):
    assert not rehearsed(data={"batch_size": 64, "micro_batch_size": 32}, compile=True).compiled
    assert rehearsed(data={"batch_size": 64, "micro_batch_size": 4}, compile=True).compiled


def test_the_whole_is_the_sum_of_its_parts(trainer: Callable, tmp_path: Path):
    state = trainer(tmp_path / "run", run={"evaluate_every": 10, "checkpoint_seconds": 6.0, "max_steps": 25}).state
    found = Rehearsal(2.0, 30.0, 5.0, 0.5, 0.25, memory=1, sequences=4, compiled=True)
    saves = checkpoints(state.config, 0, 25, 2.0)
    assert saves == 3 + 3 + 3 + 1
    assert found.total(state, 0) == 30 + 25 * 2 + 3 * (5 + 0.25) + saves * 0.5


def test_nothing_stays_on_the_disk_and_a_folder_that_refuses_is_named(trainer: Callable, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(rehearsal, "MEASURED_SECONDS", 0.01)
    made = trainer(tmp_path / "made" / "run")
    before = sorted(tmp_path.rglob("*"))
    arguments = made.state, made.batches, made.dev_tokens
    rehearse(*arguments, tmp_path / "not" / "there", made.end_of_text, made.tokenizer_json)
    assert sorted(tmp_path.rglob("*")) == before

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(rehearsal.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(TaleError, match=r"cannot write into .*Permission denied"):
        rehearse(*arguments, tmp_path, made.end_of_text, made.tokenizer_json)
