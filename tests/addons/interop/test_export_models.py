"""`tinytale export --to huggingface|gguf|onnx`."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    """A GPT-2 folder."""
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=2, heads=2, width=32))
    tokenizer = load_tokenizer(dataset)
    save_model(tmp_path / "model", model, tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    return tmp_path / "model"


@pytest.fixture
def run(folder: Path, tmp_path: Path) -> Path:
    """As much of a run as its export reads."""
    from tinytale.config import DataConfig, TrainConfig

    config = TrainConfig(model=load_model(folder).config, data=DataConfig(folder=str(tmp_path / "data" / "tiny")))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").write_text(config.to_toml())
    shutil.copytree(folder, tmp_path / "run" / "model")
    return tmp_path / "run"


def test_a_folder_for_hugging_face_is_the_same_model(tale, folder: Path, tmp_path: Path):
    ended = tale("export", folder, "--to=huggingface", "--out", tmp_path / "out")
    assert ended.code == 0 and "its logits differ by 0 at most" in ended.err
    assert {path.name for path in tmp_path.iterdir()} == {"model", "out"}
    before, after = load_model(folder).state_dict(), load_model(tmp_path / "out").state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert (tmp_path / "out" / "tokenizer.json").read_text() == (folder / "tokenizer.json").read_text()


def test_a_folder_of_a_run_has_a_card_that_names_it_and_no_path(tale, run: Path, tmp_path: Path):
    out = tmp_path / "dog-tales"
    ended = tale("export", run, "--to=huggingface", "--out", out, "--dtype=bfloat16", "--license=mit")
    assert ended.code == 0 and f"Next: read {out / 'README.md'}" in ended.err
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "config.json",
        "config.toml",
        "generation_config.json",
        "model.safetensors",
        "model.safetensors.sha256",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    card = (out / "README.md").read_text(encoding="utf-8")
    assert 'from_pretrained("dog-tales"' in card and 'license: "mit"' in card
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in out.iterdir())
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert tale("generate", out, "--max-new-tokens=3").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model", "run", "dog-tales"}


def test_a_card_goes_along_with_its_address_changed_unless_the_format_is_another(tale, run: Path, tmp_path: Path):
    tale("export", run, "--out", tmp_path / "shipped", "--license=mit")
    for number, options in enumerate([(), ("--dtype=float32",)]):
        out = tmp_path / f"folder-{number}"
        assert tale("export", tmp_path / "shipped", "--to=huggingface", "--out", out, *options).code == 0
    card = (tmp_path / "folder-0" / "README.md").read_text(encoding="utf-8")
    assert 'from_pretrained("folder-0"' in card and 'license: "mit"' in card and "weights in bfloat16" in card
    assert json.loads((tmp_path / "folder-0" / "config.json").read_text())["dtype"] == "bfloat16"
    assert (tmp_path / "folder-0" / "config.toml").is_file()
    assert not (tmp_path / "folder-1" / "README.md").exists()


def test_a_variant_is_said_to_be_tinytales_alone(tale, dataset: Path, tmp_path: Path):
    model = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=32, norm="post"))
    save_model(tmp_path / "post", model, 0, (dataset / "tokenizer.json").read_bytes())
    ended = tale("export", tmp_path / "post", "--to=huggingface", "--out", tmp_path / "out")
    assert ended.code == 0 and "a variant (norm: post, positions: learned)" in ended.err
    ended = tale("export", tmp_path / "post", "--to=gguf", "--out", tmp_path / "post.gguf")
    assert ended.code == 2 and "the model has norm: post" in ended.err and not (tmp_path / "post.gguf").exists()


@pytest.mark.parametrize("dtype", ["float32", "q8_0"])
def test_a_gguf_file_is_written_from_the_command_line(dtype: str, tale, run: Path, tmp_path: Path):
    gguf = pytest.importorskip("gguf")
    ended = tale("export", run, "--to=gguf", "--out", tmp_path / "tiny.gguf", "--dtype", dtype)
    assert ended.code == 0 and "tiny.gguf" in ended.err
    reader = gguf.GGUFReader(tmp_path / "tiny.gguf")
    assert reader.fields["general.name"].contents() == "run"
    assert ("Q8_0" in {tensor.tensor_type.name for tensor in reader.tensors}) == (dtype == "q8_0")


def test_an_onnx_folder_says_how_close_its_graphs_are(tale, folder: Path, tmp_path: Path, monkeypatch):
    """What is in it: tests/addons/interop/test_onnx_folder.py."""
    written = []
    monkeypatch.setattr(
        "tinytale.addons.interop.onnx_folder.write_onnx_folder",
        lambda out, model, tokenizer: written.append((out, tokenizer.vocab_size)) or (0.00001, 0.25),
    )
    ended = tale("export", folder, "--to=onnx", "--out", tmp_path / "tales")
    assert ended.code == 0 and written == [(tmp_path / "tales", 300)]
    assert "by 1e-05 at most in onnx/model.onnx, and by 0.25 in onnx/model_quantized.onnx" in ended.err


WRONG = {
    ("--to=gguf", "--out=x.bin"): "expected a file whose name ends in .gguf",
    ("--to=onnx", "--out=x.onnx"): "name a folder, in which the graph will be onnx/model.onnx",
    ("--to=onnx", "--out=model"): "exists and is not an empty folder",
    ("--to=huggingface", "--out=x", "--dtype=q8_0"): "--to huggingface can hold: float32, bfloat16",
    ("--to=onnx", "--out=x", "--dtype=bfloat16"): "--to onnx can hold: float32",
    ("--to=gguf", "--out=x.gguf", "--license=mit"): "are for a new card, which only a run without one gets",
    ("--to=huggingface", "--out=x", "--language=en"): "are for a new card, which only a run without one gets",
    ("--out=x",): "is not a run; expected a folder with config.toml and model/, or another --to",
    ("--to=huggingface", "--out=."): "name a new folder",
    ("--to=huggingface", "--out=model"): "exists and is not an empty folder",
}


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_what_cannot_be_is_said_in_a_line(options: tuple[str, ...], tale, folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ended = tale("export", folder, *options)
    assert ended.code == 2 and WRONG[options] in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_library_that_is_not_installed_is_named(tale, folder: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda name: None)
    ended = tale("export", folder, "--to=gguf", "--out", tmp_path / "x.gguf")
    assert ended.code == 1 and "'onnxscript>=" in ended.err


def test_a_disk_that_refuses_leaves_nothing(tale, folder: Path, tmp_path: Path, monkeypatch):
    def refuse(*_: object):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    ended = tale("export", folder, "--to=huggingface", "--out", tmp_path / "out")
    assert ended.code == 1 and "No space left" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
