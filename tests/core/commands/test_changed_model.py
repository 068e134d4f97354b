"""Somebody has changed one line of the model: whatever generates stories uses the changed one, and says so."""

import io
import json
from pathlib import Path

import pytest
import torch

import tinytale
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.generation import choosing
from tinytale.generation.decoding import Decoding, generate, random_numbers
from tinytale.generation.native_decoder import NativeDecoder
from tinytale.generation.short_stories import short_stories
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model import layers
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2
from tinytale.native.build import compiler

pytestmark = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
SAID = "No native decoder: it does not compute what src/tinytale/model does"


@pytest.fixture
def folder(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GPT-2 folder; and the model's code is changed now."""
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=32, layers=1, heads=2, width=16))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    save_model(
        tmp_path / "model", model, load_tokenizer(dataset).end_of_text, (dataset / "tokenizer.json").read_bytes()
    )
    monkeypatch.setattr(layers, "fused_gelu", lambda x: torch.sin(3 * x))
    choosing._tell.cache_clear()
    return tmp_path / "model"


def reference(folder: Path, prompt: str, new: int) -> str:
    """The likeliest story, as the changed model tells it."""
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    ids, likeliest = [tokenizer.end_of_text, *tokenizer.encode(prompt)], Decoding(greedy=True).choice()
    return tokenizer.decode(generate(model, ids, likeliest, random_numbers(0, 0), new, tokenizer.end_of_text))


@pytest.mark.parametrize("option", ["--decoder=auto", "--decoder=torch"])
def test_generate(tale, folder: Path, option: str):
    ended = tale("generate", folder, "One", "--greedy", "--max-new-tokens=12", "--json", option)
    assert json.loads(ended.out)["stories"] == [reference(folder, "One", 12)]
    assert ended.err.count(SAID) == (option == "--decoder=auto")
    shown = tale("generate", folder, "One", "--greedy", "--max-new-tokens=12", option)
    assert shown.out == f"One{reference(folder, 'One', 12)}\n"


def test_generate_by_the_native_decoder_alone_is_refused(tale, folder: Path):
    ended = tale("generate", folder, "One", "--decoder=native")
    assert (ended.code, ended.out) == (2, "") and "take decoder auto or torch" in ended.err


def test_chat(tale, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("One\n"))
    auto = tale("chat", folder, "--max-new-tokens=12")
    monkeypatch.setattr("sys.stdin", io.StringIO("One\n"))
    torch_alone = tale("chat", folder, "--max-new-tokens=12", "--decoder=torch")
    assert SAID in auto.err and SAID not in torch_alone.err and auto.out == torch_alone.out != "\n"


def test_serve_and_python(folder: Path, capsys):
    from tinytale.addons.serve.server import ServerSettings, load

    settings = ServerSettings(host="127.0.0.1", port=8000, key=None, slots=2, waiting_room=2)
    models = load({"m": folder}, settings, "cpu")
    assert isinstance(models["m"].scheduler.decoder, TorchDecoder) and SAID in capsys.readouterr().err
    models["m"].scheduler.close(1.0)
    (story,) = tinytale.load(folder).generate("One", greedy=True, max_new_tokens=12)
    assert story.text == reference(folder, "One", 12)


def test_samples_of_a_model_in_training(folder: Path, dataset: Path, capsys, monkeypatch: pytest.MonkeyPatch):
    changed = short_stories(load_model(folder), load_tokenizer(dataset))
    assert SAID in capsys.readouterr().err
    monkeypatch.undo()
    assert isinstance(tinytale.load(folder).decoder(1), NativeDecoder)
    assert changed != short_stories(load_model(folder), load_tokenizer(dataset))


@pytest.mark.parametrize("to", ["huggingface", "gguf"])
def test_export_in_the_name_of_gpt2_is_refused(tale, folder: Path, tmp_path: Path, to: str):
    out = tmp_path / "out.gguf"
    ended = tale("export", folder, f"--to={to}", "--out", out)
    assert ended.code == 2 and "is not GPT-2 any more" in " ".join(ended.err.split()) and not out.exists()
