"""What the project ships works right after a clone, here and in transformers."""

import json
import math
from pathlib import Path

import pytest
import torch
import transformers

from tinytale.addons.builtin.stories import story
from tinytale.data.tokenizer import load_tokenizer
from tinytale.files import sha256_of
from tinytale.model.cache import KVCache
from tinytale.model.folder import load_model
from tinytale.runs import shipped_weights
from tinytale.training.loss import token_nats

LIMIT = 40_000_000


@pytest.fixture
def small() -> Path:
    return shipped_weights()["small"]


def test_small_is_a_run_without_checkpoints_in_bfloat16(small: Path):
    assert {path.name for path in small.iterdir()} == {
        "before",
        "config.toml",
        "evaluation",
        "metrics.jsonl",
        "model",
        "samples.json",
        "samples.jsonl",
    }
    assert sum(path.stat().st_size for path in small.rglob("*")) <= LIMIT
    assert json.loads((small / "model" / "config.json").read_text())["dtype"] == "bfloat16"


def test_small_names_its_sha256(small: Path):
    found = sha256_of(small / "model" / "model.safetensors")
    assert (small / "model" / "model.safetensors.sha256").read_text() == f"{found}  model.safetensors\n"


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


def test_small_is_used_by_transformers_as_it_must_be(small: Path):
    """No token types, which transformers 4 would add to the embedding; padding; a conversation as one story."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(small / "model")
    padded = tokenizer(["One day", "One day, a little fox"], padding=True)
    assert set(padded) == {"input_ids", "attention_mask"}
    assert padded["attention_mask"][0][-1] == 0 and padded["attention_mask"][1][-1] == 1
    turns = [{"role": "user", "content": "One day,"}, {"role": "assistant", "content": " a fox"}]
    story = tokenizer.apply_chat_template(turns, tokenize=False)
    assert story == "<|endoftext|>One day, a fox"
    ours = load_tokenizer(small / "model")
    assert tokenizer(story)["input_ids"] == [ours.end_of_text, *ours.encode("One day, a fox")]


def test_small_exported_and_imported_again_tells_the_same_stories_in_transformers(tale, small: Path, tmp_path: Path):
    """Equal logits, and equal greedy text for 200 prompts; all in float64, where rounding hides nothing."""
    exported, back = tmp_path / "exported", tmp_path / "back"
    assert tale("export", "small", "--to=huggingface", "--out", exported).code == 0
    assert tale("import", exported, "--out", back, "--dtype=bfloat16").code == 0
    assert sha256_of(back / "model.safetensors") == sha256_of(small / "model" / "model.safetensors")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(exported, dtype=torch.float64)
    ours, tokenizer = load_model(small / "model", dtype=torch.float64), load_tokenizer(small / "model")
    end = tokenizer.end_of_text
    prompts_BT = torch.tensor([[end, *tokenizer.encode(story(3, index))[:11]] for index in range(200)])
    assert len(prompts_BT.unique(dim=0)) > 150
    with torch.no_grad():
        logits_BTV = theirs(prompts_BT).logits
        torch.testing.assert_close(ours(prompts_BT), logits_BTV, rtol=0, atol=1e-10)
        told = theirs.generate(prompts_BT, do_sample=False, max_new_tokens=20, pad_token_id=end)
    cache = KVCache(ours.config, 200, dtype=torch.float64)
    tokens_BT, new_BT = prompts_BT, prompts_BT
    for _ in range(20):
        with torch.no_grad():
            new_BT = ours(new_BT, cache)[:, -1:].argmax(-1)
        new_BT[(tokens_BT[:, 1:] == end).any(1)] = end  # as transformers pads what has ended
        tokens_BT = torch.cat((tokens_BT, new_BT), 1)
    assert torch.equal(tokens_BT[:, : told.shape[1]], told)
