import hashlib
import json
import signal
from functools import partial
from pathlib import Path

import pytest
import torch

from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError
from tinytale.generation.short_stories import BEGINNINGS, NEW_TOKENS, short_stories
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.interrupt import Interrupt
from tinytale.training.metrics import read_metrics

RUN = {"max_steps": 8, "evaluate_every": 2, "checkpoint_seconds": 0}
DROPOUT = {"dropout": 0.3}


def tell(model: GPT2) -> list[tuple[str, str]]:
    """A story for tests: all that it depends on is the weights, to the bit."""
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return [("", hashlib.sha256(weights).hexdigest())]


def train(trainer, until: int | None = None) -> None:
    """To the end, or until a signal arrives in the middle of step `until`."""
    interrupt, batch_at = Interrupt(), trainer.batches.batch_at

    def signalled(step: int):
        if step + 1 == until:
            interrupt.signal_number = signal.SIGINT
        return batch_at(step)

    trainer.batches.batch_at = signalled
    trainer.train(interrupt)


def told_at(folder: Path) -> list[int]:
    return [entry["step"] for entry in read_metrics(RunFolder(folder).course_samples)]


def test_the_stories_of_every_evaluation_are_kept(trainer, tmp_path: Path):
    made = trainer(tmp_path, tell, run=RUN, optimiser={"average_decay": 0.5})
    train(made)
    entries = list(read_metrics(tmp_path / "samples.jsonl"))
    assert [(entry["step"], entry["tokens"]) for entry in entries] == [(2, 128), (4, 256), (6, 384), (8, 512)]
    with made.state.optimiser.averaged():  # the weights that are scored, and published
        assert [(story["prompt"], story["text"]) for story in entries[-1]["stories"]] == tell(made.state.model)
    assert len({entry["stories"][0]["text"] for entry in entries}) == 4


def test_telling_changes_nothing_of_the_training_to_the_bit(trainer, dataset: Path, tmp_path: Path):
    random, telling = [], partial(short_stories, tokenizer=load_tokenizer(dataset))
    for name, who in (("silent", None), ("telling", telling)):
        train(trainer(tmp_path / name, who, run=RUN | {"evaluate_every": 4}, model=DROPOUT))
        random.append(torch.random.get_rng_state())
    silent, telling = RunFolder(tmp_path / "silent"), RunFolder(tmp_path / "telling")
    for file in ("model.safetensors", "optimiser.safetensors"):
        assert (silent.checkpoint(8) / file).read_bytes() == (telling.checkpoint(8) / file).read_bytes()
    metrics = [[entry | {"seconds": 0} for entry in read_metrics(run.metrics)] for run in (silent, telling)]
    assert metrics[0] == metrics[1] and torch.equal(*random)
    assert not silent.course_samples.exists()


def test_a_resumed_run_tells_the_same_once(trainer, tmp_path: Path):
    train(trainer(tmp_path / "whole", tell, run=RUN, model=DROPOUT))
    for until in (3, 4, 6, None):  # a signal at an evaluation leaves it to the resumed run
        train(trainer(tmp_path / "pieces", tell, run=RUN, model=DROPOUT), until)
    names = [tmp_path / name / "samples.jsonl" for name in ("whole", "pieces")]
    assert names[0].read_bytes() == names[1].read_bytes() and len(told_at(tmp_path / "whole")) == 4


def test_stories_beyond_the_checkpoint_are_told_anew(trainer, tmp_path: Path, monkeypatch):
    train(trainer(tmp_path / "whole", tell, run=RUN))
    made = trainer(tmp_path / "killed", tell, run=RUN | {"checkpoint_seconds": 999})

    def killed() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(made, "_save", killed)
    with pytest.raises(KeyboardInterrupt):
        train(made)
    assert told_at(tmp_path / "killed") == [2]
    silent = trainer(tmp_path / "killed", run=RUN)  # goes on without telling: what is not true any more goes too
    with silent._samples():
        assert told_at(tmp_path / "killed") == []
    train(trainer(tmp_path / "killed", tell, run=RUN))
    assert (tmp_path / "killed" / "samples.jsonl").read_bytes() == (tmp_path / "whole" / "samples.jsonl").read_bytes()


@pytest.mark.parametrize(("every", "steps"), [(0, []), (1, [2, 4, 6, 8]), (3, [6, 8]), (9, [8])])
def test_how_often(trainer, tmp_path: Path, every: int, steps: list[int]):
    train(trainer(tmp_path, tell, run=RUN | {"sample_every": every}))
    assert told_at(tmp_path) == steps
    assert (tmp_path / "samples.jsonl").exists() == (every > 0)


def test_a_model_that_cannot_tell_is_trained_on(trainer, tmp_path: Path):
    def tell(model):
        assert not model.training
        raise TaleError("its numbers are not finite")

    made, said = trainer(tmp_path, tell, run=RUN), []
    made.display.note = said.append
    train(made)
    assert said[0] == "step 2: no story could be told (its numbers are not finite)" and len(said) == 4
    assert made.state.progress.step == 8 and made.state.model.training


def test_a_run_of_the_command_line_tells(tale, dataset: Path, tmp_path: Path, train_options):
    assert tale("train", dataset, "--out", tmp_path / "run", "--max-steps", "2", *train_options).code == 0
    [line] = (tmp_path / "run" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
    assert [story["prompt"] for story in json.loads(line)["stories"]] == list(BEGINNINGS)
    assert NEW_TOKENS <= 100
