"""ONNX graphs, run by ONNX Runtime at other batches and lengths than they were made with."""

from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.errors import TaleError, UsageError
from tinytale.interop.onnx_file import write_onnx
from tinytale.model.cache import KVCache
from tinytale.model.gpt2 import GPT2

onnxruntime = pytest.importorskip("onnxruntime")


def random_model(**changes: object) -> GPT2:
    settings = {"vocab_size": 60, "context_length": 24, "layers": 1, "heads": 2, "width": 16} | changes
    torch.manual_seed(3)
    model = GPT2(ModelConfig(**settings), "fused").eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(scope="module", autouse=True)
def unchecked() -> Iterator[None]:
    """While the exporter reads the model, sizes are symbols, which the runtime checker would not take for integers."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT2, Path]:
    """Of a variant that GPT-2 does not have: a graph can hold any."""
    path = tmp_path_factory.mktemp("plain") / "model.onnx"
    write_onnx(path, model := random_model(norm="post", positions="sinusoidal"), cache=False)
    return model, path


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT2, Path]:
    path = tmp_path_factory.mktemp("cached") / "model.onnx"
    write_onnx(path, model := random_model(layers=2), cache=True)
    return model, path


def session(path: Path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_logits_are_ours_at_any_batch_and_length(plain: tuple[GPT2, Path]):
    model, path = plain
    run = session(path)
    for shape in [(1, 1), (1, 24), (2, 3), (5, 7), (1, 2), (3, 1)]:
        tokens_BT = torch.randint(60, shape)
        (logits_BTV,) = run.run(["logits"], {"input_ids": tokens_BT.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.tensor(logits_BTV), model(tokens_BT), atol=1e-4, rtol=0)


def test_a_text_read_in_parts_gives_the_logits_of_the_whole(cached: tuple[GPT2, Path]):
    model, path = cached
    run, tokens_BT = session(path), torch.randint(60, (3, 24))
    with torch.no_grad():
        whole_BTV = model(tokens_BT)
    names = [each.name for each in run.get_outputs()]
    past = [np.zeros((3, 2, 0, 8), np.float32)] * 4
    start = 0
    for length in (1, 7, 1, 3, 12):
        inputs = {"input_ids": tokens_BT[:, start : start + length].numpy()}
        keys = [each.name for each in run.get_inputs()][1:]
        logits_BTV, *past = run.run(names, inputs | dict(zip(keys, past, strict=True)))
        part_BTV = whole_BTV[:, start : start + length]
        torch.testing.assert_close(torch.tensor(logits_BTV), part_BTV, atol=1e-4, rtol=0)
        start += length
    cache = KVCache(model.config, 3)
    with torch.no_grad():
        model(tokens_BT, cache)
    ours = [tensor for layer in cache.layers for tensor in (layer.k_BHSD, layer.v_BHSD)]
    for one, other in zip(past, ours, strict=True):
        torch.testing.assert_close(torch.tensor(one), other, atol=1e-4, rtol=0)


def test_names_and_dimensions_are_those_that_optimum_gives(cached: tuple[GPT2, Path], plain: tuple[GPT2, Path]):
    run = session(cached[1])
    inputs = {each.name: each.shape for each in run.get_inputs()}
    outputs = {each.name: each.shape for each in run.get_outputs()}
    parts = [f"{layer}.{part}" for layer in range(2) for part in ("key", "value")]
    assert inputs == {
        "input_ids": ["batch", "length"],
        **{f"past_key_values.{part}": ["batch", 2, "past", 8] for part in parts},
    }
    assert list(outputs) == ["logits", *(f"present.{part}" for part in parts)]
    assert outputs["logits"] == ["batch", "length", 60]
    assert {each.name: each.shape for each in session(plain[1]).get_inputs()} == {"input_ids": ["batch", "length"]}


def test_no_path_of_this_machine_is_inside(cached: tuple[GPT2, Path], plain: tuple[GPT2, Path], repository: Path):
    for _, path in (cached, plain):
        content = path.read_bytes()
        assert str(repository).encode() not in content and b"site-packages" not in content


def test_the_file_is_one_and_takes_the_place_of_an_earlier_one(plain: tuple[GPT2, Path], cached: tuple[GPT2, Path]):
    for model, path in (plain, cached):
        assert list(path.parent.iterdir()) == [path]
        assert path.stat().st_size > 4 * model.parameter_count()


def test_what_one_file_cannot_hold_is_refused(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("tinytale.interop.onnx_file.LARGEST", 1000)
    with pytest.raises(UsageError, match="an ONNX file holds at most 1,000"):
        write_onnx(tmp_path / "model.onnx", random_model(), cache=False)


def test_a_full_disk_leaves_the_file_that_was_there(tmp_path: Path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_text("old")

    class Program:
        model = None

        def save(self, *_: object, **__: object):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tinytale.interop.onnx_file._without_cache", lambda model: Program())
    monkeypatch.setattr("tinytale.interop.onnx_file.ClearMetadataAndDocStringPass", lambda: lambda model: None)
    with pytest.raises(TaleError, match="No space left"):
        write_onnx(path, random_model(), cache=False)
    assert path.read_text() == "old"
