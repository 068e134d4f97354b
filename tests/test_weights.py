"""What the project ships works right after a clone, here and in transformers."""

import json
import math
from pathlib import Path

import pytest
import torch
import transformers

from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import load_model
from tinytale.runs import shipped_weights
from tinytale.training.loss import token_nats

LIMIT = 40_000_000


@pytest.fixture
def small() -> Path:
    return shipped_weights()["small"]


def test_small_is_a_run_without_checkpoints_in_bfloat16(small: Path):
    assert {path.name for path in small.iterdir()} == {
        "config.toml",
        "evaluation",
        "metrics.jsonl",
        "model",
        "samples.json",
    }
    assert sum(path.stat().st_size for path in small.rglob("*")) <= LIMIT
    assert json.loads((small / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_small_tells_a_story(tale, small: Path):
    told = json.loads(tale("generate", "small", "One day", "--json").out)
    assert len(told["stories"][0].split()) > 20


def test_small_has_equal_logits_in_transformers_and_knows_stories(small: Path):
    tokenizer = load_tokenizer(small / "model")
    ids = [tokenizer.end_of_text, *tokenizer.encode("Once upon a time, there was a little girl named Lily.")]
    tokens_BT = torch.tensor([ids])
    theirs = transformers.GPT2LMHeadModel.from_pretrained(small / "model", dtype=torch.float32)
    ours = load_model(small / "model")
    with torch.no_grad():
        logits_BTV = ours(tokens_BT)
        torch.testing.assert_close(logits_BTV, theirs(tokens_BT).logits, rtol=0, atol=1e-4)
    assert token_nats(logits_BTV[:, :-1], tokens_BT[:, 1:]).mean() < 0.3 * math.log(4096)
