"""`tinytale compare`: runs and other models side by side, evaluated by the same command."""

import json
from pathlib import Path

import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2


@pytest.fixture
def runs(dataset: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run with a curve, and a GPT-2 folder of somebody else."""
    manifest, tokenizer = Manifest.load(dataset), (dataset / "tokenizer.json").read_bytes()
    shape = ModelConfig(vocab_size=300, context_length=16, layers=1, heads=1, width=8)
    for seed, folder in enumerate((tmp_path / "run" / "model", tmp_path / "peer")):
        torch.manual_seed(seed)
        save_model(folder, GPT2(shape), manifest.end_of_text, tokenizer)
    settings = "\n".join(f"{name} = {getattr(shape, name)}" for name in ("vocab_size", "layers", "heads", "width"))
    data = f'[data]\nfolder = "{dataset.as_posix()}"\ndigest = "{manifest.digest}"\n'
    (tmp_path / "run" / "config.toml").write_text(f"[model]\ncontext_length = 16\n{settings}\n{data}")
    lines = [
        {"step": 1, "loss": 5.0, "tokens": 512, "seconds": 2.0},
        {"step": 1, "dev_loss": 5.0, "dev_bits_per_byte": 5.5, "seconds": 2.0},
    ]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path / "run", tmp_path / "peer"


def test_a_run_and_a_peer_evaluated_by_the_same_command(tale, runs, dataset: Path, tmp_path: Path):
    run, peer = runs
    results = tmp_path / "results"
    assert tale("evaluate", run).code == 0
    assert tale("evaluate", peer, "--data", dataset, "--out", results).code == 0
    ended = tale("compare", run, results, "--json", "--out", tmp_path / "new" / "curves.svg")
    assert ended.code == 0 and (tmp_path / "new" / "curves.svg").read_bytes().startswith(b"<?xml")
    compared = json.loads(ended.out)
    (scored,) = compared["scored"]
    bits = {name: score["bits_per_byte"] for name, score in scored["bits_per_byte"].items()}
    difference = scored["difference"]["results"]
    assert difference["bits_per_byte"] == pytest.approx(bits["results"] - bits["run"], abs=1e-5)
    low, high = difference["interval_95"]
    widths = [score["interval_95"][1] - score["interval_95"][0] for score in scored["bits_per_byte"].values()]
    assert 0 < high - low < min(widths), "a paired interval is sharper than either score's"
    assert [one["parameters"] for one in compared["contenders"]] == [GPT2(run_shape(run)).parameter_count()] * 2
    assert compared["missing"] == []


def run_shape(run: Path) -> ModelConfig:
    from tinytale.runs import RunFolder

    return RunFolder(run).read_config().model


def test_a_person_sees_tables_and_how_to_fill_the_gaps(tale, runs):
    run, _ = runs
    ended = tale("compare", run)
    assert ended.code == 0 and ended.out == ""
    assert "training time" in ended.err and f"tinytale evaluate {run}" in ended.err


def test_one_run_alone_lacks_no_pair(tale, runs):
    run, _ = runs
    tale("evaluate", run)
    for path in (run / "evaluation").glob("*.safetensors"):
        path.unlink()
    assert "To fill the gaps" not in tale("compare", run).err


def test_an_exported_run_keeps_what_each_story_cost(tale, runs, tmp_path: Path):
    run, _ = runs
    tale("evaluate", run)
    assert tale("export", run, "--out", tmp_path / "shipped").code == 0
    compared = json.loads(tale("compare", run, tmp_path / "shipped", "--json").out)
    assert compared["scored"][0]["difference"]["shipped"]["bits_per_byte"] == 0


def test_what_cannot_be_compared_is_said(tale, runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run, peer = runs
    for options, message, code in (
        ([], "nothing to compare", 2),
        ([run, tmp_path / "none"], "there is no folder", 2),
        ([run, run], "named twice", 2),
        ([peer], "--out RESULTS", 2),
        ([run, "--out", tmp_path / "figure.pdf"], "ends in .png or .svg", 2),
    ):
        ended = tale("compare", *options)
        assert ended.code == code and message in ended.err
    (run / "metrics.jsonl").unlink()
    ended = tale("compare", run, "--out", tmp_path / "figure.png")
    assert ended.code == 1 and "no curve to draw" in ended.err
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda name: None)
    ended = tale("compare", run, "--out", tmp_path / "figure.png")
    assert ended.code == 1 and "'matplotlib>=" in ended.err
