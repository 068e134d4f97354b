import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from tinytale.errors import TaleError
from tinytale.model.folder import load_model
from tinytale.runs import RunFolder
from tinytale.training import loop
from tinytale.training.checkpoint import settings_of
from tinytale.training.interrupt import Interrupt
from tinytale.training.loss import token_nats
from tinytale.training.metrics import MetricsWriter, read_metrics

COURSES = {
    "plain": {},
    "dropout": {"model": {"dropout": 0.3}},
    "accumulation": {"data": {"micro_batch_size": 1}, "model": {"dropout": 0.3}},
    "muon": {"optimiser": {"algorithm": "muon"}},
    "bfloat16": {"run": {"precision": "bfloat16"}},
    "average": {"optimiser": {"average_decay": 0.5}},
    "fixed order": {"data": {"order": "fixed"}},
    "story windows": {"data": {"windows": "stories"}},
    "input noise": {"data": {"input_noise": 0.5, "input_noise_until": 0.6}},
    "times in epochs": {"optimiser": {"decay_epochs": 100.0, "average_epochs": 0.5}},
    "textbook": {"run": {"kernels": "textbook"}},
    "post-norm sinusoids": {"model": {"norm": "post", "positions": "sinusoidal"}},
}


def train(trainer, until: int | None = None) -> None:
    """To the end, or until a signal arrives in the middle of step `until`."""
    interrupt = Interrupt()
    batch_at = trainer.batches.batch_at

    def signalled(step: int):
        if step + 1 == until:
            interrupt.signal_number = signal.SIGINT
        return batch_at(step)

    trainer.batches.batch_at = signalled
    trainer.train(interrupt)


def outcome(folder: Path, step: int) -> tuple:
    """Everything that must be equal: weights, optimiser state, and every metric but the time."""
    run = RunFolder(folder)
    metrics = [{key: value for key, value in entry.items() if key != "seconds"} for entry in read_metrics(run.metrics)]
    progress = json.loads((run.checkpoint(step) / "state.json").read_text())["progress"] | {"seconds": 0}
    tensors = [(run.checkpoint(step) / name).read_bytes() for name in ("model.safetensors", "optimiser.safetensors")]
    return metrics, progress, tensors, (run.model / "model.safetensors").read_bytes()


@pytest.mark.parametrize("course", COURSES)
def test_two_halves_are_the_whole_to_the_bit(course: str, trainer, tmp_path: Path):
    changes = COURSES[course]
    train(trainer(tmp_path / "whole", **changes))
    train(trainer(tmp_path / "halves", **changes), until=3)
    given_up = "micro_batch_size" in changes.get("data", {})  # a step of several micro-batches does not end
    assert RunFolder(tmp_path / "halves").pointer("latest") == (2 if given_up else 3)
    train(trainer(tmp_path / "halves", **changes))
    assert outcome(tmp_path / "whole", 8) == outcome(tmp_path / "halves", 8)


@pytest.mark.parametrize("course", ["story windows", "input noise", "times in epochs"])
def test_what_a_course_asks_for_is_done(course: str, trainer, tmp_path: Path):
    train(trainer(tmp_path / "plain"))
    train(trainer(tmp_path / "other", **COURSES[course]))
    assert outcome(tmp_path / "plain", 8) != outcome(tmp_path / "other", 8)


def test_three_stops_over_three_epochs_change_nothing(trainer, tmp_path: Path):
    seen: list[list[int]] = []

    def begin(name: str):
        made = trainer(tmp_path / name, model={"dropout": 0.2}, data={"batch_size": 4})
        made.batches.windows = 10  # an epoch is two and a half steps
        window, rows = made.batches._window, seen[-1]
        made.batches._window = lambda index: (rows.append(index), window(index))[1]
        return made

    seen.append([])
    train(begin("whole"))
    seen.append([])
    for until in (2, 5, 6, None):  # in mid-epoch, at an epoch's end, just after it
        train(begin("pieces"), until)
    assert seen[0] == seen[1] == list(range(32))  # each window of each epoch once, in one order
    assert outcome(tmp_path / "whole", 8) == outcome(tmp_path / "pieces", 8)


def test_length_and_cadence_change_no_batch(trainer, tmp_path: Path):
    def batches_of(name: str, **run) -> list[np.ndarray]:
        made = trainer(tmp_path / name, run=run)
        return [part for step in range(6) for part in made.batches.batch_at(step)]

    first = batches_of("a")
    for name, run in {"b": {"max_steps": 50}, "c": {"evaluate_every": 1}, "d": {"checkpoint_seconds": 0}}.items():
        assert all(np.array_equal(x, y) for x, y in zip(first, batches_of(name, **run), strict=True))


def test_cadence_changes_no_weight(trainer, tmp_path: Path):
    train(trainer(tmp_path / "seldom", model={"dropout": 0.2}))
    train(trainer(tmp_path / "often", model={"dropout": 0.2}, run={"evaluate_every": 1, "checkpoint_seconds": 0}))
    weights = [RunFolder(tmp_path / name).checkpoint(8) / "model.safetensors" for name in ("seldom", "often")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_the_metrics_hold_every_step_and_every_evaluation(trainer, tmp_path: Path):
    train(trainer(tmp_path, optimiser={"warmup_steps": 3, "schedule": "constant"}))
    entries = list(read_metrics(tmp_path / "metrics.jsonl"))
    steps = [entry for entry in entries if "loss" in entry]
    assert [entry["step"] for entry in steps] == list(range(1, 9))
    assert [entry["rate"] for entry in steps] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1, 1, 1])
    assert [entry["tokens"] for entry in steps] == [64 * step for step in range(1, 9)]
    assert [entry["step"] for entry in entries if "dev_loss" in entry] == [4, 8]


def test_the_best_weights_are_published_with_the_score_that_they_have(trainer, tmp_path: Path):
    made = trainer(
        tmp_path, optimiser={"learning_rate": 0.03, "warmup_steps": 0}, run={"max_steps": 30, "evaluate_every": 2}
    )
    train(made)
    scores = {entry["step"]: entry for entry in read_metrics(tmp_path / "metrics.jsonl") if "dev_loss" in entry}
    best = min(scores, key=lambda step: scores[step]["dev_loss"])
    run = RunFolder(tmp_path)
    assert run.pointer("best") == best and run.pointer("latest") == 30
    model, stream = load_model(run.model), torch.from_numpy(made.dev_tokens)
    nats = sum(
        token_nats(model(stream[None, start : start + 16][:, : 100 - start]), stream[None, start + 1 : start + 17])
        .sum()
        .item()
        for start in range(0, 100, 16)
    )
    assert scores[best]["dev_loss"] == pytest.approx(nats / 100, rel=1e-5)
    text_bytes = sum(len(made_bytes) for made_bytes in token_texts(run.model, made.dev_tokens[1:]))
    assert scores[best]["dev_bits_per_byte"] == pytest.approx(nats / np.log(2) / text_bytes, rel=1e-5)


def token_texts(folder: Path, tokens: np.ndarray) -> list[bytes]:
    from tinytale.data.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(folder)
    return [tokenizer.token_bytes(token) for token in tokens.tolist()]


def test_a_checkpoint_is_due_after_so_many_seconds(trainer, tmp_path: Path):
    made, now = trainer(tmp_path, run={"checkpoint_seconds": 25.0, "evaluate_every": 100, "keep_checkpoints": 99}), 0.0
    batch_at = made.batches.batch_at

    def ten_seconds(step: int):
        nonlocal now
        now += 10
        return batch_at(step)

    made.batches.batch_at = ten_seconds
    made.train(Interrupt(), clock=lambda: now)
    assert RunFolder(tmp_path).steps() == [3, 6, 8]
    assert json.loads((RunFolder(tmp_path).checkpoint(8) / "state.json").read_text())["progress"]["seconds"] == 80


def test_each_line_has_the_time_of_its_own_step_and_time_adds_up_over_interruptions(trainer, tmp_path: Path):
    made = trainer(tmp_path, run={"max_steps": 5, "evaluate_every": 3})
    made.state.progress.seconds = 100.0
    made.train(Interrupt(), clock=lambda: 7.0 + 10 * made.state.progress.step)
    lines = [(entry["step"], entry["seconds"]) for entry in read_metrics(tmp_path / "metrics.jsonl")]
    assert lines == [(1, 110), (2, 120), (3, 130), (3, 130), (4, 140), (5, 150), (5, 150)]
    assert made.state.progress.seconds == 150


def test_without_the_name_of_the_latest_nothing_is_deleted(trainer, tmp_path: Path):
    train(trainer(tmp_path, run={"keep_checkpoints": 3}))
    (tmp_path / "latest").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    newest = RunFolder(tmp_path).checkpoint(8).name
    with pytest.raises(TaleError, match=f"`latest` is gone; to go on from the newest, write {newest} into"):
        trainer(tmp_path, run={"keep_checkpoints": 3})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    RunFolder(tmp_path).point("latest", 8)
    trainer(tmp_path, run={"keep_checkpoints": 3})


def test_the_newest_that_is_advised_is_whole(trainer, tmp_path: Path):
    run = RunFolder(tmp_path)
    train(trainer(tmp_path, run={"keep_checkpoints": 3}))
    (tmp_path / "latest").unlink()
    (run.checkpoint(8) / "model.safetensors").write_bytes(b"torn")
    shutil.copytree(run.checkpoint(8), run.checkpoint(9))
    (run.checkpoint(9) / "state.json").unlink()
    whole = run.steps()[-3]
    with pytest.raises(TaleError, match=f"write {run.checkpoint(whole).name} into"):
        trainer(tmp_path, run={"keep_checkpoints": 3})
    run.point("latest", 9)
    with pytest.raises(TaleError, match=f"; to go on from {run.checkpoint(whole).name}"):
        trainer(tmp_path, run={"max_steps": 10})


def test_the_only_checkpoint_is_set_aside_where_nothing_points_at_it(trainer, tmp_path: Path, capsys):
    run = RunFolder(tmp_path)
    train(trainer(tmp_path, run={"keep_checkpoints": 1}))
    (tmp_path / "latest").unlink()
    for step in run.steps()[:-1]:
        shutil.rmtree(run.checkpoint(step))
    before = outcome(tmp_path, 8)
    trainer(tmp_path, run={"keep_checkpoints": 1})
    assert run.steps() == [] and "the run begins again" in " ".join(capsys.readouterr().err.split())
    (aside,) = run.checkpoints.iterdir()
    aside.rename(run.checkpoint(8))
    run.point("latest", 8)
    train(trainer(tmp_path, run={"keep_checkpoints": 1}))
    assert outcome(tmp_path, 8) == before


def test_a_run_never_goes_back_before_its_checkpoint(trainer, tmp_path: Path):
    train(trainer(tmp_path))
    with pytest.raises(TaleError, match="has already been trained for 8 steps, more than 7 as asked"):
        trainer(tmp_path, run={"max_steps": 7})


def test_a_finished_run_does_nothing_more_and_a_longer_one_goes_on(trainer, tmp_path: Path):
    train(trainer(tmp_path))
    before = outcome(tmp_path, 8)
    train(trainer(tmp_path))
    assert outcome(tmp_path, 8) == before
    train(trainer(tmp_path, run={"max_steps": 10}))
    assert RunFolder(tmp_path).pointer("latest") == 10


@pytest.mark.parametrize("keep", [1, 2])
def test_a_step_back_overwrites_the_damaged_future(keep: int, trainer, tmp_path: Path):
    run = RunFolder(tmp_path / "back")
    changes = {"run": {"checkpoint_seconds": 0.0, "keep_checkpoints": 99, "evaluate_every": 2}}
    train(trainer(run.path, **changes))
    shutil.copytree(run.path, tmp_path / "whole")
    for step in (6, 7, 8):
        (run.checkpoint(step) / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(TaleError, match="go on from step-00000005"):
        trainer(run.path, **changes)
    run.point("latest", 5)
    changes["run"]["keep_checkpoints"] = keep
    train(trainer(run.path, **changes))
    assert len(run.steps()) in (keep, keep + 1)  # and the best
    assert outcome(run.path, 8) == outcome(tmp_path / "whole", 8)


@pytest.mark.parametrize(("spoiled_at", "best"), [(5, 4), (1, None)])
def test_weights_that_score_nothing_finite_are_never_the_best(
    spoiled_at: int, best: int | None, trainer, tmp_path: Path
):
    made = trainer(tmp_path)
    good = made.state.loss

    def spoiled(model, *arguments):
        with torch.no_grad():
            if made.state.progress.step == spoiled_at:
                model.embedding.weight_VC.fill_(float("nan"))
        return good(model, *arguments)

    made.state.loss = spoiled
    train(made)
    run = RunFolder(tmp_path)
    assert run.pointer("best") == best and run.pointer("latest") == 8
    last = list(read_metrics(run.metrics))[-1]
    assert last["dev_loss"] is None and "NaN" not in run.metrics.read_text()
    assert run.model.exists() == (best is not None)


def stop_evaluation(made, batch: int, monkeypatch) -> None:
    """A signal arrives while the dev split is scored, before its batch of that number."""
    interrupt, seen = Interrupt(), iter(range(100))
    windows = loop.windows

    def signalled(*arguments):
        for window in windows(*arguments):
            if next(seen) == batch:
                interrupt.signal_number = signal.SIGTERM
            yield window

    with monkeypatch.context() as patch:
        patch.setattr(loop, "windows", signalled)
        assert made.train(interrupt) == signal.SIGTERM
    assert made.state.model.training


@pytest.mark.parametrize("step", [4, 8])
def test_a_signal_cuts_an_evaluation_short_and_the_resumed_run_does_it_again(
    step: int, trainer, tmp_path: Path, monkeypatch
):
    changes = {"run": {"evaluate_every": step, "keep_checkpoints": 1}, "model": {"dropout": 0.2}}
    train(trainer(tmp_path / "whole", **changes))
    run = RunFolder(tmp_path / "cut")
    for attempt in range(3):  # once while training, twice after a resume
        stop_evaluation(trainer(run.path, **changes), attempt, monkeypatch)
        assert run.pointer("latest") == step and run.pointer("best") is None and not run.model.exists()
        assert not [entry for entry in read_metrics(run.metrics) if "dev_loss" in entry]
    train(trainer(run.path, **changes))
    assert outcome(run.path, 8) == outcome(tmp_path / "whole", 8)
    assert run.steps() == RunFolder(tmp_path / "whole").steps()


@pytest.mark.parametrize("victim", ["save_model", "amend_checkpoint"])
def test_a_kill_after_a_late_evaluation_changes_nothing(victim: str, trainer, tmp_path: Path, monkeypatch):
    train(trainer(tmp_path / "whole"))
    run = RunFolder(tmp_path / "cut")
    stop_evaluation(trainer(run.path), 0, monkeypatch)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(f"tinytale.training.trainer.{victim}", killed)
        trainer(run.path).train(Interrupt())
    train(trainer(run.path))
    assert outcome(run.path, 8) == outcome(tmp_path / "whole", 8)


def test_a_signal_before_an_evaluation_leaves_it_for_later(trainer, tmp_path: Path):
    train(trainer(tmp_path / "whole"))
    train(trainer(tmp_path / "cut"), until=4)
    assert RunFolder(tmp_path / "cut").pointer("best") is None
    train(trainer(tmp_path / "cut"))
    assert outcome(tmp_path / "cut", 8) == outcome(tmp_path / "whole", 8)


def test_a_signal_between_two_micro_batches_gives_the_step_up_and_changes_nothing(trainer, tmp_path: Path):
    train(trainer(tmp_path / "whole", **COURSES["accumulation"]))
    made, interrupt, calls = trainer(tmp_path / "cut", **COURSES["accumulation"]), Interrupt(), iter(range(1, 100))
    loss = made.state.loss

    def signalled(*arguments):
        if next(calls) == 4 * 2 + 2:  # the second micro-batch of the third step
            interrupt.signal_number = signal.SIGTERM
        return loss(*arguments)

    made.state.loss = signalled
    assert made.train(interrupt) == signal.SIGTERM and next(calls) == 4 * 2 + 3
    assert RunFolder(tmp_path / "cut").pointer("latest") == 2
    train(trainer(tmp_path / "cut", **COURSES["accumulation"]))
    assert outcome(tmp_path / "cut", 8) == outcome(tmp_path / "whole", 8)


@pytest.mark.parametrize("average", [0.0, 0.5])
def test_what_a_killed_save_published_gives_way_to_the_best_that_is_known(
    average: float, trainer, tmp_path: Path, monkeypatch
):
    changes = {"optimiser": {"average_decay": average}}
    run = RunFolder(tmp_path / "run")
    train(trainer(run.path, **changes, run={"max_steps": 4}))
    known = (run.model / "model.safetensors").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        point = RunFolder.point

        def killed(self, name: str, step: int) -> None:
            if name == "latest":
                raise KeyboardInterrupt
            point(self, name, step)

        patch.setattr(RunFolder, "point", killed)
        train(trainer(run.path, **changes))
    assert (run.pointer("best"), run.pointer("latest")) == (8, 4)
    assert (run.model / "model.safetensors").read_bytes() != known
    made = trainer(run.path, **changes)
    assert run.pointer("best") == 4 and (run.model / "model.safetensors").read_bytes() == known
    train(trainer(tmp_path / "whole", **changes))
    train(made)
    assert outcome(run.path, 8) == outcome(tmp_path / "whole", 8)


def test_the_metrics_are_on_the_disk_before_latest_moves(trainer, tmp_path: Path, monkeypatch):
    made, events = trainer(tmp_path), []
    point, sync = RunFolder.point, MetricsWriter.sync
    monkeypatch.setattr(RunFolder, "point", lambda self, name, step: (events.append(name), point(self, name, step)))
    monkeypatch.setattr(MetricsWriter, "sync", lambda self: (events.append("sync"), sync(self)))
    train(made)
    assert events == ["sync", "best", "latest"] * 2


def flip_a_bit(path: Path, line: int) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    lines[line - 1] = bytes([lines[line - 1][0] ^ 1]) + lines[line - 1][1:]
    path.write_bytes(b"".join(lines))


def test_one_flipped_bit_costs_one_line_of_the_curve_and_is_told(trainer, tmp_path: Path, monkeypatch):
    train(trainer(tmp_path), until=6)
    whole = list(read_metrics(tmp_path / "metrics.jsonl"))
    flip_a_bit(tmp_path / "metrics.jsonl", 3)
    damaged = (tmp_path / "metrics.jsonl").read_bytes()
    made, notes = trainer(tmp_path), []
    monkeypatch.setattr(made.display, "note", notes.append)
    train(made)
    assert list(read_metrics(tmp_path / "metrics.jsonl"))[: len(whole) - 1] == whole[:2] + whole[3:]
    assert (tmp_path / "damaged-metrics.jsonl").read_bytes() == damaged
    assert "is damaged in line 3" in notes[0] and "damaged-metrics.jsonl" in notes[0]
    assert "lacks 1 of its 6 steps, from step 3 on" in notes[1] and len(notes) == 2


def test_a_curve_that_has_lost_its_end_is_told(trainer, tmp_path: Path, monkeypatch):
    train(trainer(tmp_path), until=6)
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:4]))
    made, notes = trainer(tmp_path), []
    monkeypatch.setattr(made.display, "note", notes.append)
    train(made)
    assert len(notes) == 1 and "lacks 2 of its 6 steps, from step 5 on" in notes[0]


def test_where_compiling_fails_the_settings_say_so(trainer, tmp_path: Path, monkeypatch):
    def broken(*_: object):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda function, **_: broken)
    train(trainer(tmp_path, run={"compile": True}))
    assert RunFolder(tmp_path).read_config().run.compile is False
    assert settings_of(RunFolder(tmp_path), 8) == RunFolder(tmp_path).read_config()
