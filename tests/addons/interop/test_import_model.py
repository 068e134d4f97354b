"""`tinytale import`: folders as other programs leave them."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2

transformers = pytest.importorskip("transformers")

SHAPE = {"n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 2}


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    """As transformers writes one, in pieces, with a padded vocabulary and GPT-2's own files for a tokenizer."""
    torch.manual_seed(0)
    end = load_tokenizer(dataset).end_of_text
    config = transformers.GPT2Config(vocab_size=320, **SHAPE, bos_token_id=end, eos_token_id=end)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "foreign", max_shard_size="20KB")
    assert (tmp_path / "foreign" / "model.safetensors.index.json").is_file()
    settings = json.loads((dataset / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "foreign" / "vocab.json").write_text(json.dumps(settings["vocab"]), encoding="utf-8")
    merges = "\n".join(merge if isinstance(merge, str) else " ".join(merge) for merge in settings["merges"])
    (tmp_path / "foreign" / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    (tmp_path / "foreign" / "README.md").write_text("# Made elsewhere\n")
    return tmp_path / "foreign"


def same_weights(one: Path, other: Path) -> bool:
    before, after = (load_model(path).state_dict() for path in (one, other))
    return all(torch.equal(before[name], tensor) for name, tensor in after.items())


def test_a_foreign_folder_becomes_one_of_ours(tale, folder: Path, dataset: Path, tmp_path: Path):
    out = tmp_path / "ours"
    ended = tale("import", folder, "--out", out)
    assert ended.code == 0 and ended.out == ""
    assert "2 layers, width 16, 300 tokens, 20 rows of padding cut from its vocabulary" in ended.err
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "model.safetensors.sha256",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    tokenizer, ids = load_tokenizer(out), torch.randint(300, (2, 16))
    text = "Once upon a time, there was a café. It's 12!\n"
    assert tokenizer.encode(text) == load_tokenizer(dataset).encode(text)
    with torch.no_grad():
        theirs = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32)(ids).logits[..., :300]
        ours = transformers.GPT2LMHeadModel.from_pretrained(out, dtype=torch.float32)(ids).logits
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
        torch.testing.assert_close(load_model(out)(ids), theirs, atol=1e-5, rtol=0)
    assert tale("generate", out, "--max-new-tokens=3").code == 0


def test_a_padded_folder_tells_tokens_of_its_tokenizer_alone(tale, folder: Path, dataset: Path, tmp_path: Path):
    """The rows of padding are made the likeliest, as those of a model that never learned to avoid them may be."""
    model, tokenizer_json = load_model(folder), (dataset / "tokenizer.json").read_bytes()
    with torch.no_grad():
        rows_VC = model.embedding.weight_VC
        rows_VC[300:310], rows_VC[310:] = 50.0 * rows_VC[:10], -50.0 * rows_VC[:10]
    save_model(tmp_path / "padded", model, load_tokenizer(dataset).end_of_text, tokenizer_json)
    for options in (["--greedy"], ["--beams=2"], ["--samples=2", "--json"]):
        ended = tale("generate", tmp_path / "padded", "--max-new-tokens=8", *options)
        assert ended.code == 0, ended.err
    ended = tale("inspect", tmp_path / "padded", "Once", "--json")
    assert ended.code == 0 and json.loads(ended.out)["layers"] == 2


def test_a_folder_that_is_called_gpt2_has_its_own_tokenizer(
    tale, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(folder, tmp_path / "here" / "gpt2")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert tale("generate", "gpt2", "--max-new-tokens=3").code == 0
    ended = tale("import", "gpt2", "--out", tmp_path / "ours")
    assert ended.code == 0 and "300 tokens" in ended.err


def test_exported_and_imported_again_it_is_the_same(tale, folder: Path, tmp_path: Path):
    first, exported, second = (tmp_path / name for name in ("first", "exported", "second"))
    assert tale("import", folder, "--out", first).code == 0
    assert tale("export", first, "--to=huggingface", "--out", exported).code == 0
    ended = tale("import", exported, "--out", second)
    assert ended.code == 0 and "300 tokens; the logits of random texts differ by 0 at most" in ended.err
    assert same_weights(first, second)
    assert {path.name: path.read_bytes() for path in first.iterdir()} == {
        path.name: path.read_bytes() for path in second.iterdir()
    }


@pytest.mark.parametrize("vocab_size", [299, 300 + 1025])
def test_a_tokenizer_of_another_model_is_refused(vocab_size: int, tale, dataset: Path, tmp_path: Path):
    model = GPT2(ModelConfig(vocab_size=vocab_size, context_length=16, layers=1, heads=2, width=16))
    save_model(tmp_path / "model", model, 0, (dataset / "tokenizer.json").read_bytes())
    ended = tale("import", tmp_path / "model", "--out", tmp_path / "out")
    assert ended.code == 1 and "belongs to another model" in ended.err
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_may_come_from_elsewhere(tale, folder: Path, dataset: Path, tmp_path: Path):
    (folder / "vocab.json").unlink()
    ended = tale("import", folder, "--out", tmp_path / "out")
    assert ended.code == 2 and "no tokenizer in" in ended.err
    assert tale("import", folder, "--out", tmp_path / "out", "--tokenizer", dataset).code == 0


def test_a_pickle_is_refused_with_the_way_to_convert_it(tale, folder: Path, tmp_path: Path):
    weights = folder / "pytorch_model.bin"
    for path in folder.glob("model*"):
        path.unlink()
    torch.save({}, weights)
    for typed in (folder, weights):
        ended = tale("import", typed, "--out", tmp_path / "out")
        assert ended.code == 1 and "is a pickle, which is never opened" in ended.err and "python -c" in ended.err


def test_what_cannot_be_imported_is_said_in_a_line(tale, folder: Path, tmp_path: Path):
    ended = tale("import", folder / "config.json", "--out", tmp_path / "out")
    assert ended.code == 2 and "is a file; expected its folder" in ended.err
    ended = tale("import", folder, "--out", folder)
    assert ended.code == 2 and "exists and is not an empty folder" in ended.err
    ended = tale("import", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert ended.code == 2 and "there is no folder" in ended.err


def test_weights_that_have_run_away_are_not_imported(tale, folder: Path, tmp_path: Path):
    path = max(folder.glob("*.safetensors"))
    save_file({name: torch.full_like(tensor, torch.inf) for name, tensor in load_file(path).items()}, path)
    ended = tale("import", folder, "--out", tmp_path / "out")
    assert ended.code == 1 and "its weights are damaged" in ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"foreign"}


def test_gpt2s_own_tokenizer_comes_along(tale, tmp_path: Path):
    """OpenAI's files, a vocabulary padded from 50,257 to 50,304."""
    files = os.environ.get("TINYTALE_GPT2_TOKENIZER")
    if not files:
        pytest.skip("TINYTALE_GPT2_TOKENIZER does not name a folder with GPT-2's vocab.json and merges.txt")
    save_model(
        tmp_path / "model", GPT2(ModelConfig(vocab_size=50_304, context_length=8, width=4, heads=1, layers=1)), 50_256
    )
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(files) / name, tmp_path / "model")
    ended = tale("import", tmp_path / "model", "--out", tmp_path / "out")
    assert ended.code == 0 and "50,257 tokens, 47 rows of padding cut" in ended.err
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("Hello world's 2nd  day")["input_ids"] == load_tokenizer(files).encode("Hello world's 2nd  day")


def test_added_tokens_in_a_file_of_their_own_are_kept(tale, folder: Path, tmp_path: Path):
    """Rows that were trained: not padding, though the vocabulary does not name them."""
    (folder / "added_tokens.json").write_text(json.dumps({"<|happy|>": 300, "<|sad|>": 301, "Zoë": 302}))
    out = tmp_path / "out"
    ended = tale("import", folder, "--out", out)
    assert ended.code == 0 and "303 tokens, 17 rows of padding cut" in ended.err
    ids = load_tokenizer(out).encode("<|happy|> Zoë")
    assert ids[0] == 300 and ids[-1] == 302
    assert transformers.AutoTokenizer.from_pretrained(out)("<|happy|> Zoë")["input_ids"] == ids
    assert tale("generate", out, "<|happy|> Zoë", "--max-new-tokens=3").code == 0


def test_a_pad_token_without_a_row_is_left_out(tale, dataset: Path, tmp_path: Path):
    """`add_special_tokens`, and an embedding that was not resized: transformers loads such a folder, and so do we."""
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=16))
    save_model(tmp_path / "model", model, 0, (dataset / "tokenizer.json").read_bytes())
    padded = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    padded.add_special_tokens({"pad_token": "[PAD]"})
    padded.save_pretrained(tmp_path / "model")
    assert tale("generate", tmp_path / "model", "[PAD] Once", "--max-new-tokens=3").code == 0
    ended = tale("import", tmp_path / "model", "--out", tmp_path / "out")
    assert ended.code == 0 and "300 tokens;" in ended.err
    ended = tale("prepare", "builtin", "--stories=9", "--tokenizer", tmp_path / "model", "--out", tmp_path / "data")
    assert ended.code == 0 and load_tokenizer(tmp_path / "data").vocab_size == 301


EVIL = {
    "one that takes forever": r"(x+x+)+y",
    "one that the engine panics on": r"(?<=(\\s|x){0,99}){9999}",
    "one that is broken": r"(((",
}


@pytest.mark.parametrize("pattern", EVIL)
def test_a_pattern_of_a_stranger_never_runs(pattern: str, tale, dataset: Path, tmp_path: Path):
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=16))
    settings = json.loads((dataset / "tokenizer.json").read_text(encoding="utf-8"))
    split = {"type": "Split", "pattern": {"Regex": EVIL[pattern]}, "behavior": "Isolated", "invert": False}
    settings["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, settings["pre_tokenizer"]]}
    save_model(tmp_path / "model", model, 0, json.dumps(settings).encode())
    ended = tale("generate", tmp_path / "model", "x" * 200)
    assert ended.code == 1 and "the tokenizer splits text by" in ended.err


def test_a_long_context_takes_no_forever(tale, dataset: Path, tmp_path: Path):
    """The logits of 32,768 tokens, each of which looks at all before it, would take minutes."""
    config = ModelConfig(vocab_size=300, context_length=2**15, layers=1, heads=1, width=4, positions="sinusoidal")
    save_model(tmp_path / "model", GPT2(config), 0, (dataset / "tokenizer.json").read_bytes())
    begun = time.monotonic()
    assert tale("import", tmp_path / "model", "--out", tmp_path / "out").code == 0
    assert time.monotonic() - begun < 10
