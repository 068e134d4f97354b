"""What came before a run stays with it, and is counted."""

import json
from dataclasses import replace
from pathlib import Path

from tinytale.config import DataConfig, TrainConfig
from tinytale.runs import RunFolder
from tinytale.training.history import Cost, copy_record, cost_before


def run_folder(path: Path, data: str, *lines: dict[str, object]) -> RunFolder:
    run = RunFolder(path)
    path.mkdir(parents=True)
    run.config.write_text(TrainConfig(data=DataConfig(folder=data)).to_toml(), encoding="utf-8")
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return run


def steps(*looks: tuple[int, float, bool]) -> list[dict[str, object]]:
    """A line for each step, and after it one for a look at dev: its loss, and whether it may be the best."""
    lines: list[dict[str, object]] = []
    for step, loss, eligible in looks:
        lines.append({"step": step, "loss": 1.0, "tokens": 100 * step, "seconds": 2.0 * step})
        lines.append({"step": step, "dev_loss": loss, "may_be_best": eligible})
    return lines


def test_what_the_first_weights_cost_is_what_their_runs_had_cost_when_they_were_best(tmp_path: Path):
    first = run_folder(tmp_path / "first", "a", *steps((1, 3.0, True), (2, 2.0, True), (3, 2.5, True)))
    second = run_folder(tmp_path / "second", "b", *steps((1, 2.5, True), (2, 1.0, False), (3, 1.5, True)))
    assert cost_before(first) == Cost(0, 0.0)
    copy_record(first, second.before)
    assert cost_before(second) == Cost(200, 4.0)
    third = run_folder(tmp_path / "third", "c", {"step": 1, "loss": 1.0, "tokens": 5, "seconds": 1.0})
    copy_record(second, third.before)
    assert cost_before(third) == Cost(500, 10.0)
    fourth = run_folder(tmp_path / "fourth", "d")
    copy_record(third, fourth.before)
    assert cost_before(fourth) == Cost(505, 11.0)
    assert fourth.before.before.metrics.read_bytes() == second.metrics.read_bytes()
    assert fourth.before.before.before.read_config() == first.read_config()


def test_settings_are_copied_as_they_are_asked_for(tmp_path: Path):
    first, second = run_folder(tmp_path / "first", "a"), run_folder(tmp_path / "second", "b")
    copy_record(first, second.before)
    third = RunFolder(tmp_path / "third")
    copy_record(second, third.before, lambda settings: replace(settings, recipe=f"of {settings.data.folder}"))
    assert [folder.read_config().recipe for folder in (third.before, third.before.before)] == ["of b", "of a"]


def test_of_a_model_folder_there_is_no_record(tmp_path: Path):
    (tmp_path / "model").mkdir()
    copy_record(RunFolder(tmp_path / "model"), RunFolder(tmp_path / "run").before)
    assert not (tmp_path / "run").exists()
