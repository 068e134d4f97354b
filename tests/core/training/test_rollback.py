"""Many refused updates in a row: back to the best weights, alike however the run was interrupted."""

import json
import math
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch

from tinytale.errors import TaleError
from tinytale.runs import RunFolder
from tinytale.training.interrupt import Interrupt
from tinytale.training.loop import initial_model
from tinytale.training.loss import StepLoss
from tinytale.training.metrics import read_metrics
from tinytale.training.rollback import MOST_ROLLBACKS, MOST_SKIPS_IN_A_ROW

SETTINGS = {
    "model": {"dropout": 0.2},
    "run": {"max_steps": 26, "evaluate_every": 4},
    "optimiser": {"schedule": "constant", "warmup_steps": 0, "algorithm": "muon"},
}


def train(trainer, bad_steps: Iterable[int], until: int | None = None) -> int:
    """In the bad steps, which count from 0, the loss is not a number."""
    bad, progress, good = set(bad_steps), trainer.state.progress, trainer.state.loss
    interrupt, batch_at = Interrupt(), trainer.batches.batch_at

    def signalled(step: int):
        if step + 1 == until:
            interrupt.signal_number = signal.SIGTERM
        return batch_at(step)

    trainer.batches.batch_at = signalled
    trainer.state.loss = lambda *arguments: StepLoss(
        *(part * (math.nan if progress.step in bad else 1) for part in good(*arguments))
    )
    return trainer.train(interrupt)


def outcome(folder: Path) -> tuple:
    run = RunFolder(folder)
    metrics = [{key: value for key, value in entry.items() if key != "seconds"} for entry in read_metrics(run.metrics)]
    latest = run.pointer("latest") or 0
    progress = json.loads((run.checkpoint(latest) / "state.json").read_text())["progress"] | {"seconds": 0}
    tensors = [(run.checkpoint(latest) / name).read_bytes() for name in ("model.safetensors", "optimiser.safetensors")]
    return latest, progress, metrics, tensors, (run.model / "model.safetensors").read_bytes()


def rollbacks(folder: Path) -> list[tuple[int, int]]:
    entries = read_metrics(RunFolder(folder).metrics)
    return [(entry["step"], entry["rolled_back_to"]) for entry in entries if "rolled_back_to" in entry]


def test_after_ten_the_best_weights_come_back_with_half_the_rate(trainer, tmp_path: Path):
    made, notes, met = trainer(tmp_path, **SETTINGS), [], []
    made.display.note = notes.append
    batch_at = made.batches.batch_at

    def look(step: int):
        if step == 23:
            met.append({name: tensor.clone() for name, tensor in made.state.model.state_dict().items()})
            met.append({name: tensor.clone() for name, tensor in made.state.optimiser.state().items()})
        return batch_at(step)

    made.batches.batch_at = look
    keep = RunFolder(tmp_path)
    train(made, range(13, 23))
    assert rollbacks(tmp_path) == [(23, 12)]
    assert notes[-1] == "step 23: 10 updates in a row were left out; back to the best weights, of step 12, with half the learning rate"  # noqa: E501  # fmt: skip
    steps = {entry["step"]: entry for entry in read_metrics(keep.metrics) if "loss" in entry}
    assert list(steps) == list(range(1, 27))
    assert [steps[step]["rate"] for step in (1, 13, 23, 24, 26)] == [1, 1, 1, 0.5, 0.5]
    assert [step for step, entry in steps.items() if entry["loss"] is None] == list(range(14, 24))
    progress = outcome(tmp_path)[1]
    assert (progress["skipped"], progress["skips_in_a_row"], progress["rollbacks"]) == (10, 0, 1)

    other = trainer(tmp_path / "other", **SETTINGS | {"run": {"max_steps": 12, "evaluate_every": 4}})
    train(other, ())
    assert all(torch.equal(tensor, met[0][name]) for name, tensor in other.state.model.state_dict().items())
    assert all(torch.equal(tensor, met[1][name]) for name, tensor in other.state.optimiser.state().items())


def test_without_a_best_checkpoint_the_initial_weights_come_back(trainer, tmp_path: Path):
    changes = SETTINGS | {"run": {"max_steps": 14, "evaluate_every": 99}}
    made, met = trainer(tmp_path, **changes), []
    batch_at = made.batches.batch_at

    def look(step: int):
        if step == 12:
            met.extend([made.state.model.embedding.weight_VC.clone(), made.state.optimiser.state()])
        return batch_at(step)

    made.batches.batch_at = look
    train(made, range(2, 12))
    assert rollbacks(tmp_path) == [(12, 0)]
    assert torch.equal(met[0], initial_model(made.state.config).embedding.weight_VC) and met[1] == {}


@pytest.mark.parametrize(
    ("until", "seconds"), [((9,), 9999.0), ((16,), 9999.0), ((22, 23, 24), 9999.0), ((18, 25), 0.0)]
)
def test_a_run_that_rolls_back_resumes_to_the_bit(until: tuple[int, ...], seconds: float, trainer, tmp_path: Path):
    train(trainer(tmp_path / "whole", **SETTINGS), range(13, 23))
    changes = SETTINGS | {"run": SETTINGS["run"] | {"checkpoint_seconds": seconds}}
    for stop in until:
        assert train(trainer(tmp_path / "pieces", **changes), range(13, 23), until=stop) == signal.SIGTERM
    assert train(trainer(tmp_path / "pieces", **changes), range(13, 23)) == 0
    assert rollbacks(tmp_path / "pieces") == [(23, 12)]
    assert outcome(tmp_path / "pieces") == outcome(tmp_path / "whole")


def test_nine_in_a_row_are_only_left_out_even_when_the_run_is_interrupted_between(trainer, tmp_path: Path):
    for until in (7, 12, None):
        train(trainer(tmp_path, **SETTINGS), [*range(3, 12), *range(13, 22)], until)
    assert rollbacks(tmp_path) == []


def test_weights_whose_updates_are_refused_are_never_the_best(trainer, tmp_path: Path):
    made = trainer(tmp_path, **SETTINGS | {"run": {"max_steps": 17, "evaluate_every": 3}})
    train(made, range(5, 15))  # the weights of steps 6, 9, 12 and 15 are those of step 5, better than those of 3
    scores = [entry["dev_loss"] for entry in read_metrics(made.run.metrics) if "dev_loss" in entry]
    assert scores[1] == scores[2] == scores[3] < scores[0]
    evaluations = [entry for entry in read_metrics(made.run.metrics) if "dev_loss" in entry]
    assert [e["step"] for e in evaluations if not e.get("may_be_best", True)] == [6, 9, 12]
    assert rollbacks(tmp_path) == [(15, 3)]


def test_rollbacks_come_to_an_end(trainer, tmp_path: Path):
    changes = SETTINGS | {"run": {"max_steps": 99, "evaluate_every": 4}}
    with pytest.raises(TaleError, match="not finite 10 times in a row, up to step 45, again after 3 rollbacks"):
        train(trainer(tmp_path, **changes), range(5, 99))
    assert rollbacks(tmp_path) == [(15, 4), (25, 4), (35, 4)]
    assert (MOST_SKIPS_IN_A_ROW, MOST_ROLLBACKS) == (10, 3)
