"""`train --dry-run` foretells a run and leaves nothing behind."""

import json
import time
from pathlib import Path

import pytest

from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

TEACHER = ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=32)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tinytale.addons.dry_run.rehearsal.MEASURED_SECONDS", 0.1)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "run"


def test_steps_tokens_and_cost_are_exact(tale, dataset: Path, out: Path, train_options: list[str]):
    options = ["--run.epochs=2", "--dry-run", "--json", "--price-per-hour=7.2"]
    ended = tale("train", dataset, "--out", out, *train_options, *options)
    found = json.loads(ended.out)
    windows = (Manifest.load(dataset).splits["train"].tokens - 16) // 16
    steps = 2 * -(-windows // 4)
    assert ended.code == 0 and found["steps"] == steps and found["tokens"] == steps * 4 * 16
    assert found["flop"] == found["tokens"] * found["flop_per_token"] > 0
    assert found["parameters"] == 300 * 16 + 16 * 16 + 2 * (12 * 16**2 + 13 * 16) + 32
    assert found["cost"] == pytest.approx(found["seconds"]["total"] * 0.002)
    assert found["memory"]["estimated"] > 16 * found["parameters"] and found["memory"]["measured"] > 2**20
    assert found["measured_on"] == {"sequences": 4, "of": 4, "compiled": False}
    assert not out.parent.exists() and not list(out.parent.parent.iterdir())


def test_a_person_sees_a_table(tale, dataset: Path, out: Path, train_options: list[str]):
    ended = tale("train", dataset, "--out", out, *train_options, "--max-steps=9", "--dry-run", "--price-per-hour=2")
    assert ended.code == 0 and ended.out == ""
    for words in ("576", "tokens/s", "GiB measured", "by the formula", "at 2.00 an hour"):
        assert words in ended.err
    assert "cost" not in tale("train", dataset, "--out", out, *train_options, "--max-steps=9", "--dry-run").err


@pytest.mark.timed
def test_the_time_is_about_that_of_the_run(tale, dataset: Path, out: Path, train_options: list[str], monkeypatch):
    monkeypatch.setattr("tinytale.addons.dry_run.rehearsal.MEASURED_SECONDS", 0.5)
    options = [*train_options, "--max-steps=400", "--run.evaluate-every=100"]
    told = json.loads(tale("train", dataset, "--out", out, *options, "--dry-run", "--json").out)["seconds"]["total"]
    begun = time.perf_counter()
    assert tale("train", dataset, "--out", out, *options).code == 0
    took = time.perf_counter() - begun
    assert told / 3 < took < told * 3 + 1


def test_of_a_run_that_goes_on_the_rest_is_foretold(tale, dataset: Path, out: Path, train_options: list[str]):
    tale("train", dataset, "--out", out, *train_options, "--max-steps=3")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    ended = tale("train", dataset, "--out", out, *train_options, "--max-steps=10", "--resume", "--dry-run", "--json")
    assert json.loads(ended.out)["steps"] == 7
    assert {path: path.read_bytes() for path in out.parent.rglob("*") if path.is_file()} == before
    ended = tale("train", dataset, "--out", out, *train_options, "--dry-run")
    assert ended.code == 2 and "already holds a run" in ended.err


def test_a_teacher_is_counted(tale, dataset: Path, out: Path, train_options: list[str]):
    teacher = out.parent.parent / "teacher"
    save_model(teacher, GPT2(TEACHER), 0, (dataset / "tokenizer.json").read_bytes())
    options = ["train", dataset, "--out", out, *train_options, "--max-steps=9", "--dry-run", "--json"]
    alone, taught = (json.loads(tale(*options, *more).out) for more in ([], [f"--run.teacher={teacher}"]))
    weights = 300 * 32 + (12 * 32**2 + 13 * 32) + 64
    assert taught["flop_per_token"] - alone["flop_per_token"] == 2 * weights + 2 * 16 * 32
    assert taught["memory"]["estimated"] > alone["memory"]["estimated"] and taught["parameters"] == alone["parameters"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json"], "give that too"),
        (["--price-per-hour=1"], "give that too"),
        (["--dry-run", "--price-per-hour=-1"], "price-per-hour is -1.0"),
        (["--dry-run", "--price-per-hour=nan"], "price-per-hour is nan"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    options: list[str], message: str, tale, dataset: Path, out: Path, train_options: list[str]
):
    ended = tale("train", dataset, "--out", out, *train_options, *options)
    assert (ended.code, ended.out) == (2, "") and message in ended.err and not out.exists()
