import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tinytale.config import ModelConfig, OptimiserConfig
from tinytale.errors import TaleError
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.checkpoint import Progress, discard_beyond, load_checkpoint, prune_checkpoints, save_checkpoint
from tinytale.training.optim import Optimiser

CONFIG = ModelConfig(vocab_size=11, context_length=8, layers=1, heads=2, width=8)


def stepped(steps: int, config: ModelConfig = CONFIG) -> tuple[GPT2, Optimiser]:
    torch.manual_seed(steps)
    model = GPT2(config)
    optimiser = Optimiser(model, OptimiserConfig(algorithm="muon"))
    for _ in range(steps):
        for parameter in model.parameters():
            parameter.grad = torch.randn_like(parameter)
        optimiser.step()
    return model, optimiser


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_checkpoint_gives_everything_back(run: RunFolder):
    model, optimiser = stepped(3)
    progress = Progress(step=3, seconds=1.25, best_step=2, best_loss=0.1 + 0.2, skipped=1)
    assert save_checkpoint(run, model, optimiser, progress) == run.checkpoint(3)
    other, its_optimiser = stepped(0)
    assert load_checkpoint(run, 3, other, its_optimiser) == progress
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    back = its_optimiser.state()
    assert back.keys() == optimiser.state().keys()
    assert all(torch.equal(value, back[name]) for name, value in optimiser.state().items())


def test_a_checkpoint_is_safetensors_and_json_under_plain_names(run: RunFolder):
    model, optimiser = stepped(1)
    folder = save_checkpoint(run, model, optimiser, Progress(step=1))
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "optimiser.safetensors", "state.json"}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        assert set(file.keys()) == {name for name, _ in model.named_parameters()}
    assert json.loads((folder / "state.json").read_text())["progress"]["step"] == 1


def test_an_unfinished_save_is_swept_away_by_the_next(run: RunFolder):
    leftover = run.checkpoints / "step-00000009.partial"
    leftover.mkdir(parents=True)
    (leftover / "model.safetensors").write_bytes(b"half")
    save_checkpoint(run, *stepped(0), Progress(step=10))
    assert run.unfinished() == [] and run.steps() == [10]


def test_an_unfinished_save_is_swept_away_by_resuming(run: RunFolder):
    (run.checkpoints / "step-00000009.partial").mkdir(parents=True)
    discard_beyond(run, Progress())
    assert run.unfinished() == []


def test_pruning_keeps_the_newest_and_the_best(run: RunFolder):
    for step in (1, 2, 3, 4, 5):
        save_checkpoint(run, *stepped(0), Progress(step=step))
    run.point("best", 2)
    prune_checkpoints(run, keep=2)
    assert run.steps() == [2, 4, 5] and run.unfinished() == []


@pytest.mark.parametrize(("best_step", "best"), [(2, 2), (1, None), (0, None)])
def test_what_lies_beyond_is_discarded_and_best_forgets_it(run: RunFolder, best_step: int, best: int | None):
    for step in (2, 3, 4):
        save_checkpoint(run, *stepped(0), Progress(step=step))
    run.point("best", 4)
    discard_beyond(run, Progress(step=3, best_step=best_step))
    assert run.steps() == [2, 3] and run.pointer("best") == best


def test_the_tensors_of_another_model_are_refused(run: RunFolder):
    save_checkpoint(run, *stepped(0), Progress(step=1))
    wider = ModelConfig(vocab_size=12, context_length=8, layers=1, heads=2, width=8)
    with pytest.raises(TaleError, match=r"model\.safetensors is not a checkpoint of this model"):
        load_checkpoint(run, 1, *stepped(0, wider))


def test_damage_names_the_way_out(run: RunFolder):
    for step in (1, 2, 3):
        save_checkpoint(run, *stepped(0), Progress(step=step))
    (run.checkpoint(2) / "model.safetensors").write_bytes(b"")
    (run.checkpoint(3) / "state.json").unlink()
    for step, told in {2: "has been altered or cut", 3: r"state\.json is missing"}.items():
        with pytest.raises(TaleError, match=f"{told}.*go on from step-00000001, write that name into .*latest"):
            load_checkpoint(run, step, *stepped(0))
    (run.checkpoint(1) / "model.safetensors").write_bytes(b"")
    with pytest.raises(TaleError, match="no earlier checkpoint that is whole"):
        load_checkpoint(run, 2, *stepped(0))
