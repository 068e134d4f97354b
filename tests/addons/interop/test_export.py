"""A run that was exported, moved and named like the ones that tinytale ships."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tinytale.config import TrainConfig
from tinytale.data.shards import Manifest
from tinytale.files import PARTIAL, sha256_of


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory, train_options: list[str]) -> Path:
    """A tiny run, trained and evaluated; not to be changed."""
    from tinytale.cli import app

    run = tmp_path_factory.mktemp("trained") / "run"
    app(["train", str(dataset), "--out", str(run), *train_options, "--max-steps=6", "--run.evaluate-every=2"])
    app(["evaluate", str(run)])
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_is_the_run_without_checkpoints_and_paths(tale, run: Path, dataset: Path, tmp_path: Path):
    out = tmp_path / "weights" / "tiny"
    ended = tale("export", run, "--out", out)
    assert ended.code == 0 and ended.out == "" and "weights in bfloat16" in ended.err
    (results,) = [name for name in contents(out) if name.startswith("evaluation") and name.endswith(".json")]
    assert set(contents(out)) == {
        "config.toml",
        "metrics.jsonl",
        "samples.jsonl",
        results,
        results.replace(".json", "-test.safetensors"),
        *(
            str(Path("model") / name)
            for name in (
                "README.md",
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "model.safetensors.sha256",
                "tokenizer.json",
                "tokenizer_config.json",
            )
        ),
    }
    for name, content in contents(out).items():
        assert str(tmp_path).encode() not in content and str(dataset.parent).encode() not in content, name
    config, before = (TrainConfig.from_toml(folder / "config.toml") for folder in (out, run))
    assert config.data.folder == dataset.name and config.data.digest == before.data.digest != ""
    assert (config.model, config.optimiser, config.run) == (before.model, before.optimiser, before.run)
    began = replace(
        before,
        run=replace(
            before.run,
            start_from=str(tmp_path / "runs" / "first"),
            start_digest="ab" * 32,
            teacher=str(tmp_path / "runs" / "large"),
        ),
    )
    (run / "config.toml").write_text(began.to_toml())
    (run / "before").mkdir()
    for name in ("config.toml", "metrics.jsonl"):
        shutil.copy(run / name, run / "before")
    assert tale("export", run, "--out", tmp_path / "of-began").code == 0
    shipped = TrainConfig.from_toml(tmp_path / "of-began" / "config.toml").run
    assert (shipped.start_from, shipped.teacher) == ("first", "large")
    for name, content in contents(tmp_path / "of-began").items():
        assert str(tmp_path).encode() not in content, name
    assert (tmp_path / "of-began" / "before" / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    assert tale("export", run, "--out", tmp_path / "of-began").code == 0
    shutil.rmtree(run / "before")
    for name in ("metrics.jsonl", "samples.jsonl"):
        assert (out / name).read_bytes() == (run / name).read_bytes()
    scored, kept = (json.loads((folder / results).read_text())["test"] for folder in (run, out))
    assert kept == scored | {"data": dataset.name}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_weights_are_those_of_the_run_rounded_once(dtype: str, tale, run: Path, tmp_path: Path):
    tale("export", run, "--out", tmp_path / "out", "--dtype", dtype)
    before = load_file(run / "model" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], before[name].to(getattr(torch, dtype))) for name in before)
    assert json.loads((tmp_path / "out" / "model" / "config.json").read_text())["dtype"] == dtype


def test_results_and_samples_of_other_weights_stay_behind(tale, run: Path, tmp_path: Path):
    (path,) = (run / "evaluation").glob("*.json")
    result = json.loads(path.read_text())["test"]
    path.write_text(json.dumps({"test": result, "dev": result | {"weights": "0" * 64}}))
    (run / "samples.json").write_text(json.dumps({"weights": "0" * 64, "stories": ["Once."]}))
    ended = tale("export", run, "--out", tmp_path / "out")
    assert "Left out" in ended.err and f"{path.name} (dev), samples.json" in ended.err
    assert set(json.loads((tmp_path / "out" / "evaluation" / path.name).read_text())) == {"test"}
    assert not (tmp_path / "out" / "samples.json").exists()
    mark = sha256_of(run / "model" / "model.safetensors")
    samples = {"weights": mark, "settings": {"temperature": 0.8, "seed": 0}, "stories": ["Once."]}
    (run / "samples.json").write_text(json.dumps(samples))
    tale("export", run, "--out", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "samples.json").read_text()) == samples
    assert "> Once." in (tmp_path / "out" / "model" / "README.md").read_text()


def test_an_earlier_export_is_replaced_whole(tale, run: Path, tmp_path: Path):
    out = tmp_path / "out"
    tale("export", run, "--out", out, "--dtype=float32")
    tale("export", run, "--out", tmp_path / "once", "--license=mit")
    shutil.rmtree(run / "evaluation")
    assert tale("export", run, "--out", out).code == 0
    assert not (out / "evaluation").exists()
    assert json.loads((out / "model" / "config.json").read_text())["dtype"] == "bfloat16"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out", "once"}


FOREIGN = {
    "a run": lambda run, out: shutil.copytree(run, out),
    "a run without checkpoints": lambda run, out: shutil.copytree(
        run, out, ignore=shutil.ignore_patterns("checkpoints", "latest", "best")
    ),
    "other files": lambda run, out: (out.mkdir(), (out / "thesis.txt").write_text("mine")),
    "a file": lambda run, out: out.write_text("mine"),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_what_is_no_export_is_left_alone(foreign: str, tale, run: Path, tmp_path: Path):
    out = tmp_path / "out"
    FOREIGN[foreign](run, out)
    before = contents(tmp_path)
    ended = tale("export", run, "--out", out)
    assert ended.code == 2 and "exists and is not an exported run" in ended.err
    assert contents(tmp_path) == before


def test_an_export_with_a_file_of_mine_in_it_is_left_alone(tale, run: Path, tmp_path: Path):
    tale("export", run, "--out", tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert tale("export", run, "--out", tmp_path / "out").code == 2


@pytest.mark.parametrize("when", ["writing", "moving"])
def test_a_disk_that_refuses_leaves_the_earlier_export(when: str, tale, run: Path, tmp_path: Path, monkeypatch):
    out = tmp_path / "out"
    tale("export", run, "--out", out, "--dtype=float32")
    before = contents(tmp_path)
    rename = Path.rename

    def refuse(*_: object):
        raise OSError(28, "No space left on device")

    def refuse_partial(self: Path, target: Path):
        return refuse() if self.name == f"out{PARTIAL}" else rename(self, target)

    if when == "writing":
        monkeypatch.setattr("os.fsync", refuse)
    else:
        monkeypatch.setattr(Path, "rename", refuse_partial)
    ended = tale("export", run, "--out", out)
    monkeypatch.undo()
    assert ended.code == 1 and "No space left on device" in ended.err
    assert contents(tmp_path) == before


def test_an_export_that_was_killed_is_cleared_up_by_the_next(tale, run: Path, tmp_path: Path):
    out = tmp_path / "out"
    tale("export", run, "--out", out)
    shutil.copytree(out, tmp_path / f"out{PARTIAL}")
    out.rename(tmp_path / f"out.replaced{PARTIAL}")
    assert tale("export", run, "--out", out).code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}


def test_only_a_run_with_weights_is_exported(tale, run: Path, tmp_path: Path):
    ended = tale("export", run / "model", "--out", tmp_path / "out")
    assert ended.code == 2 and "is not a run; expected a folder with config.toml and model/" in ended.err
    shutil.rmtree(run / "model")
    ended = tale("export", run, "--out", tmp_path / "out")
    assert ended.code == 2 and "is a run without weights yet" in ended.err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def shipped(tale, run: Path, tmp_path: Path, monkeypatch) -> Path:
    """An export that tinytale ships under the name tiny-tale."""
    tale("export", run, "--out", tmp_path / "weights" / "tiny-tale")
    (tmp_path / "weights" / f"x{PARTIAL}").mkdir()
    monkeypatch.setattr("tinytale.runs.__file__", str(tmp_path / "src" / "tinytale" / "runs.py"))
    return tmp_path / "weights" / "tiny-tale"


def test_shipped_weights_are_found_by_name(tale, shipped: Path):
    ended = tale("generate", "tiny-tale", "Once", "--max-new-tokens=5", "--json")
    assert ended.code == 0 and len(json.loads(ended.out)["stories"]) == 1
    assert "shipped with tinytale: tiny-tale\n" in tale("generate", "tiny").err


@pytest.mark.parametrize("by", ["name", "path"])
def test_shipped_weights_are_evaluated_and_never_written_into(
    by: str, tale, shipped: Path, dataset: Path, tmp_path: Path
):
    before = contents(shipped)
    typed = "tiny-tale" if by == "name" else shipped
    ended = tale("evaluate", typed, "--data", dataset, "--json")
    assert ended.code == 0 and "Written" not in ended.err and json.loads(ended.out)["split"] == "test"
    assert tale("evaluate", typed, "--data", dataset, "--out", tmp_path / "results").code == 0
    assert len(list((tmp_path / "results").glob("*.json"))) == 1
    assert contents(shipped) == before


def test_shipped_weights_alone_do_not_know_where_their_dataset_is(tale, shipped: Path, dataset: Path):
    ended = tale("evaluate", "tiny-tale")
    digest = Manifest.load(dataset).digest
    assert ended.code == 2 and "was trained on the dataset 'tiny'" in ended.err
    assert digest[:16] in ended.err and "--data DATASET" in ended.err


def test_the_card_loads_the_model_in_transformers_as_it_says(tale, run: Path, tmp_path: Path, monkeypatch, capsys):
    pytest.importorskip("transformers")
    tale("export", run, "--out", tmp_path / "tiny")
    card = (tmp_path / "tiny" / "model" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().out.strip()
