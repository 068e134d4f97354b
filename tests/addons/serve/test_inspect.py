import json
from pathlib import Path

import pytest

from tinytale.runs import RunFolder


@pytest.fixture
def model(trainer, tmp_path: Path) -> Path:
    from tinytale.training.interrupt import Interrupt

    trainer(tmp_path / "run", run={"max_steps": 2, "evaluate_every": 2}).train(Interrupt())
    return RunFolder(tmp_path / "run").model


def test_a_text_is_looked_at_in_every_form(tale, model: Path, tmp_path: Path):
    data = json.loads(tale("inspect", model, "The cat.", "--json").out)
    assert "".join(token["text"] for token in data["tokens"]) == "<|endoftext|>The cat."
    said = tale("inspect", model, "The cat.", "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert said.code == 0 and json.dumps(data["attention"]) in page and "2 layers" in page
    figure = tmp_path / "figure.png"
    said = tale("inspect", model, "The cat.", "--png", figure)
    assert said.code == 0 and figure.read_bytes().startswith(b"\x89PNG") and "expected" not in said.err
    table = tale("inspect", model, "The cat.").err
    assert "expected" in table and f"{data['tokens'][1]['bits']:.1f}" in table


def test_what_cannot_be_looked_at_is_refused(tale, model: Path, tmp_path: Path):
    assert "there is no text" in tale("inspect", model, "").err
    long = tale("inspect", model, "a long story " * 30)
    assert long.code == 2 and "but the model's context is 16" in long.err
    assert tale("inspect", model, "The", "--html", tmp_path).code == 2
    assert "name a file for the figure" in tale("inspect", model, "The", "--png", tmp_path).err
