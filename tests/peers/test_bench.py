"""The benchmark with the real nanoGPT, and with torch.compile: needs a C++ compiler and TINYTALE_NANOGPT, its folder.

TINYTALE_NANOGPT=... python3 run.py test --peers tests/peers/test_bench.py
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import sizes
from bench.contenders import CONTENDERS
from bench.sizes import Size

pytestmark = pytest.mark.peers

TINY = Size(layers=2, width=64, heads=2, context_length=32, vocab_size=300, batch_size=4)


@pytest.fixture
def nanogpt() -> str:
    if "TINYTALE_NANOGPT" not in os.environ:
        pytest.skip("TINYTALE_NANOGPT is not set")
    return os.environ["TINYTALE_NANOGPT"]


def test_all_contenders_train_the_same_thing(
    tale: Callable, dataset: Path, nanogpt: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sizes.SIZES, "S", TINY)
    done = tale(*("bench", "train", dataset, "--nanogpt", nanogpt), "--threads=1", "--rounds=2", "--steps=2", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)["contenders"]
    assert list(found) == list(CONTENDERS)
    losses = {name: one["loss"] for name, one in found.items()}
    assert losses["nanogpt"] == pytest.approx(losses["transformers"], abs=1e-4)
    assert losses["nanogpt"] == pytest.approx(losses["tinytale-float32"], abs=1e-4)
    for name in set(losses) - {"tinytale"}:  # whose optimiser is another
        assert losses[name] == pytest.approx(losses["nanogpt"], abs=0.02), name
