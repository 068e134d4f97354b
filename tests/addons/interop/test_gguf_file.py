"""GGUF files, read back by the official reader, and by transformers as by a stranger. llama.cpp itself: tests/peers."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tinytale.addons.interop.gguf_file import gguf_name, tensors, write_gguf
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.model.folder import CHAT_TEMPLATE
from tinytale.model.gpt2 import GPT2

gguf = pytest.importorskip("gguf")

WIDTH = 64
"""A multiple of q8_0's block."""


@pytest.fixture(scope="module")
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


def random_model(**changes: object) -> GPT2:
    settings = {"vocab_size": 300, "context_length": 24, "layers": 2, "heads": 2, "width": WIDTH} | changes
    torch.manual_seed(3)
    model = GPT2(ModelConfig(**settings), "fused").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@pytest.fixture
def written(tmp_path: Path, tokenizer: Tokenizer) -> Callable:
    """`written(model, stored)`: a reader of the file that was written."""

    def write(model: GPT2, stored: str = "float32"):
        write_gguf(tmp_path / "model.gguf", model, tokenizer, "tiny", stored)
        return gguf.GGUFReader(tmp_path / "model.gguf")

    return write


def numbers(reader) -> dict[str, np.ndarray]:
    return {t.name: gguf.dequantize(t.data, t.tensor_type).reshape(t.shape[::-1]) for t in reader.tensors}


def room(numbers: np.ndarray, stored: str) -> np.ndarray:
    """How far off a format may be: not at all; half a unit in the last place; half an integer, and the scale's own."""
    if stored == "float32":
        return np.zeros_like(numbers)
    if stored == "bfloat16":
        return np.abs(numbers) * 2**-8
    largest = np.abs(numbers).reshape(-1, 32).max(-1)
    return np.repeat(largest, 32).reshape(numbers.shape) * 0.6 / 127


@pytest.mark.parametrize("stored", ["float32", "bfloat16", "q8_0"])
def test_every_tensor_comes_back_within_what_its_format_allows(stored: str, written: Callable):
    model = random_model()
    read = numbers(written(model, stored))
    assert read.keys() == {gguf_name(name) for name in model.state_dict()}
    for name, parameter in model.state_dict().items():
        ours, theirs = parameter.numpy(), read[gguf_name(name)]
        exact = ours.ndim == 1 or "positions" in name
        assert (np.abs(ours - theirs) <= room(ours, "float32" if exact else stored)).all(), name
        assert exact or stored == "float32" or not np.array_equal(ours, theirs), name


def test_the_names_are_those_that_llama_cpp_looks_for(written: Callable):
    arch = gguf.MODEL_ARCH.GPT2
    expected = [gguf.TENSOR_NAMES[kind].format(bid=0) for kind in gguf.MODEL_TENSORS[arch]]
    parts = {name.rpartition(".")[0] for name in numbers(written(random_model(layers=1)))}
    assert parts == set(expected) - {"output"}


def test_the_header_says_what_the_model_is(written: Callable):
    reader = written(random_model(layer_norm_epsilon=1e-3), "q8_0")
    found = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("tokenizer")}
    assert found.pop("gpt2.attention.layer_norm_epsilon") == pytest.approx(1e-3)
    assert {name: value for name, value in found.items() if not name.startswith("GGUF")} == {
        "general.architecture": "gpt2",
        "general.name": "tiny",
        "general.file_type": gguf.LlamaFileType.MOSTLY_Q8_0,
        "general.quantization_version": gguf.GGML_QUANT_VERSION,
        "gpt2.block_count": 2,
        "gpt2.context_length": 24,
        "gpt2.embedding_length": WIDTH,
        "gpt2.feed_forward_length": 4 * WIDTH,
        "gpt2.attention.head_count": 2,
    }


def test_the_tokenizer_is_inside(written: Callable, tokenizer: Tokenizer):
    """Merged by hand from what the file holds, words give our tokens; rows beyond the tokenizer's get odd names."""
    reader = written(random_model(vocab_size=303))
    found = {
        name.removeprefix("tokenizer.").removeprefix("ggml."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith("tokenizer")
    }
    tokens, kinds, merges = (found.pop(name) for name in ("tokens", "token_type", "merges"))
    end = tokenizer.end_of_text
    assert found == {
        "model": "gpt2",
        "pre": "gpt-2",
        "bos_token_id": end,
        "eos_token_id": end,
        "add_bos_token": True,
        "add_eos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    assert tokens[end] == END_OF_TEXT and tokens[300:] == ["[PAD300]", "[PAD301]", "[PAD302]"]
    assert [kinds[end], kinds[end + 1], *kinds[300:]] == [3, 1, 5, 5, 5]  # control, normal, unused
    rank = {tuple(merge.split(" ")): place for place, merge in enumerate(merges)}
    for word in ("Once", "Ġupon", "Ġlittle", "<|endoftext|>", "ĠÃ©"):
        symbols = list(word)
        while found := [pair for pair in pairwise(symbols) if pair in rank]:
            place = list(pairwise(symbols)).index(min(found, key=rank.__getitem__))
            symbols[place : place + 2] = ["".join(symbols[place : place + 2])]
        text = word.replace("Ġ", " ").replace("Ã©", "é")
        assert [tokens.index(symbol) for symbol in symbols] == tokenizer.encode(text), word


def test_the_same_model_gives_the_same_bytes(tokenizer: Tokenizer, tmp_path: Path):
    for file in ("one", "two"):
        write_gguf(tmp_path / file, random_model(), tokenizer, "tiny", "q8_0")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("changes", [{}, {"positions": "sinusoidal"}], ids=str)
def test_transformers_reads_the_same_model_and_tokenizer(
    changes: dict, tmp_path: Path, tokenizer: Tokenizer, monkeypatch
):
    """It takes the context from its own default (1024), unless told."""
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr("transformers.modeling_utils.is_accelerate_available", lambda: True)
    model = random_model(**changes)
    write_gguf(tmp_path / "model.gguf", model, tokenizer, "tiny", "float32")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file="model.gguf", dtype=torch.float32, n_positions=24
    )
    tokens_BT = torch.randint(300, (3, 24))
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens_BT).logits, model(tokens_BT), atol=1e-5, rtol=0)
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path, gguf_file="model.gguf")
    text = "Once upon a time, there was a café.\n\n  It's 12 o'clock 🍰"
    assert reader(text)["input_ids"] == [tokenizer.end_of_text, *tokenizer.encode(text)]


def test_sinusoids_become_positions_and_two_matrices():
    found = tensors(model := random_model(positions="sinusoidal"))
    embedding = model.embedding.weight_VC.detach()
    assert found["position_embd.weight"].shape == (24, WIDTH)
    assert np.array_equal(found["output.weight"], embedding.numpy())
    assert np.array_equal(found["token_embd.weight"], (WIDTH**0.5 * embedding).numpy())


def test_rows_that_are_no_multiple_of_a_block_stay_float32_and_are_named(tmp_path: Path, tokenizer: Tokenizer):
    model = random_model(width=24, heads=3)  # rows of the last matrix have 96 numbers
    named = write_gguf(tmp_path / "model.gguf", model, tokenizer, "tiny", "q8_0")
    kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert {name for name, kind in kinds.items() if kind == "Q8_0"} == {
        "blk.0.ffn_down.weight",
        "blk.1.ffn_down.weight",
    }
    parts = ("attn_qkv", "attn_output", "ffn_up")
    assert set(named) == {"token_embd.weight", *(f"blk.{n}.{part}.weight" for n in range(2) for part in parts)}


def test_what_llama_cpp_would_compute_otherwise_is_refused(tmp_path: Path, tokenizer: Tokenizer, monkeypatch):
    path = tmp_path / "model.gguf"
    with pytest.raises(UsageError, match="norm: post"):
        write_gguf(path, random_model(norm="post"), tokenizer, "tiny", "float32")
    with pytest.raises(TaleError, match="the tokenizer has 300 tokens, the model knows 299"):
        write_gguf(path, random_model(vocab_size=299), tokenizer, "tiny", "float32")
    monkeypatch.setattr("tinytale.addons.interop.gguf_file.splits_like_gpt2", lambda settings: False)
    with pytest.raises(UsageError, match="does not split text by GPT-2's pattern"):
        write_gguf(path, random_model(), tokenizer, "tiny", "float32")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, tokenizer: Tokenizer, monkeypatch):
    path = tmp_path / "model.gguf"
    path.write_text("old")

    def full(*_: object):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gguf.GGUFWriter, "write_tensors_to_file", full)
    with pytest.raises(TaleError, match=r"cannot write .*model\.gguf: No space left"):
        write_gguf(path, random_model(), tokenizer, "tiny", "float32")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("weight", "stored", "told"),
    [
        (1e8, "q8_0", "the largest is 1e+08; give --dtype float32"),
        (3.4e38, "bfloat16", "give --dtype float32"),
        (float("nan"), "float32", "some are not finite"),
        (float("inf"), "q8_0", "some are not finite"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_weights_that_the_format_cannot_hold_are_refused(tmp_path: Path, tokenizer: Tokenizer, weight, stored, told):
    model = random_model()
    with torch.no_grad():
        model.blocks[0].attention.output.weight[0, 0] = weight
    with pytest.raises(TaleError, match=re.escape(told)):
        write_gguf(tmp_path / "a.gguf", model, tokenizer, "tiny", stored)
    assert not list(tmp_path.iterdir())
