import json
import math
import time
from pathlib import Path

import pytest
import torch

from tinytale.bench.flagship import CANDIDATES, join, pack, rows, search
from tinytale.config import override
from tinytale.errors import TaleError
from tinytale.model.folder import load_model
from tinytale.recipes import recipe
from tinytale.runs import RunFolder

TINY = {
    "model": {"layers": 1, "width": 8, "heads": 2, "context_length": 16},
    "data": {"batch_size": 4, "micro_batch_size": None},
    "run": {"max_steps": 6, "evaluate_every": 3, "evaluate_tokens": 50, "precision": "float32", "compile": False},
}
TWO = {"first": TINY, "second": {**TINY, "optimiser": {"matrix_learning_rate": 0.05}}}


def test_every_candidate_is_a_course_that_could_be_run():
    configs = [override(recipe("course"), changes) for changes in CANDIDATES.values()]
    assert all(config.run.epochs >= 5 and config.model.context_length == 512 for config in configs)


def test_the_best_of_all_is_scored_packed_and_comes_home_whole(dataset: Path, tmp_path: Path, tale):
    assert search(dataset, tmp_path / "runs", tmp_path / "out", math.inf, TWO)
    results = json.loads((tmp_path / "out/results.json").read_text())
    assert list(results) == ["first", "second"]
    best = min(results, key=lambda name: results[name]["dev"]["bits_per_byte"])
    assert [row.endswith("<- best") for row in rows(results)] == [name == best for name in results]
    scored = json.loads(tale("evaluate", tmp_path / "runs" / best, "--data", dataset, "--split=dev", "--json").out)
    assert results[best]["dev"]["bits_per_byte"] == pytest.approx(scored["views"]["stories"]["bits_per_byte"], rel=1e-6)
    join(tmp_path / "out", tmp_path / "out/model/model.safetensors")
    home, there = load_model(tmp_path / "out/model"), load_model(tmp_path / "runs" / best / "model")
    for name, tensor in home.state_dict().items():
        assert torch.equal(tensor, there.state_dict()[name].bfloat16().float())


def test_when_the_time_is_up_it_goes_on_where_it_was(dataset: Path, tmp_path: Path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    search(dataset, whole, tmp_path / "a", math.inf, {"first": TINY})
    assert not search(dataset, parts, tmp_path / "b", time.monotonic() - 1, {"first": TINY})
    assert RunFolder(parts / "first").pointer("latest") == 1 and not (tmp_path / "b/pieces.json").exists()
    assert search(dataset, parts, tmp_path / "b", math.inf, {"first": TINY})
    weights = [(runs / "first/model/model.safetensors").read_bytes() for runs in (whole, parts)]
    assert weights[0] == weights[1]


def test_a_piece_that_is_altered_is_named(dataset: Path, tmp_path: Path):
    search(dataset, tmp_path / "runs", tmp_path / "out", math.inf, {"first": TINY})
    pieces = pack(tmp_path / "runs/first/model", tmp_path / "out", 1000)
    assert len(pieces) > 3 and max(piece["bytes"] for piece in pieces) == 1000
    third = tmp_path / "out" / pieces[2]["file"]
    third.write_bytes(third.read_bytes()[:-1] + b"?")
    with pytest.raises(TaleError, match="piece-002 is missing or has been altered"):
        join(tmp_path / "out", tmp_path / "joined")
    assert not (tmp_path / "joined").exists()
