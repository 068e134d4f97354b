"""ONNX folders, run by ONNX Runtime at other batches and lengths than they were made with. transformers.js: peers."""

import json
from collections.abc import Iterator
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from tinytale.addons.interop.onnx_folder import GRAPH, QUANTIZED, empty_past, write_onnx_folder
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.model.gpt2 import GPT2

onnxruntime = pytest.importorskip("onnxruntime")

LAYERS, HEADS, HEAD_SIZE, CONTEXT = 2, 2, 8, 24


def random_model(**changes: object) -> GPT2:
    settings = {"vocab_size": 300, "context_length": CONTEXT, "layers": LAYERS, "heads": HEADS, "width": 16} | changes
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
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


@pytest.fixture(scope="module", params=[{}, {"layers": 1, "norm": "post", "positions": "sinusoidal"}], ids=str)
def written(request, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tuple[GPT2, Path]:
    """A GPT-2, and a variant that GPT-2 does not have: a graph can hold any."""
    folder = tmp_path_factory.mktemp("onnx") / "tales"
    exact, rounded = write_onnx_folder(folder, model := random_model(**request.param), tokenizer)
    assert exact < 1e-4 < rounded < 3
    return model, folder


def session(path: Path):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def read(run, tokens_BT, mask_BS, past: dict[str, np.ndarray]) -> tuple[torch.Tensor, dict[str, np.ndarray]]:
    """Logits of the last tokens of a text, and the past with them, with positions as transformers counts them."""
    positions_BS = (mask_BS.cumsum(1) - 1).clip(0)
    inputs = {
        "input_ids": np.asarray(tokens_BT),
        "attention_mask": mask_BS,
        "position_ids": positions_BS[:, -tokens_BT.shape[1] :],
    }
    logits_BTV, *present = run.run(None, inputs | past)
    return torch.tensor(logits_BTV), dict(zip(past, present, strict=True))


def test_a_text_read_in_parts_gives_the_logits_of_the_whole_at_any_batch(written: tuple[GPT2, Path]):
    model, folder = written
    run = session(folder / GRAPH)
    for batch, *lengths in [(3, 1, 7, 1, 3, 12), (1, 1, 1), (1, 24), (2, 3), (5, 7)]:
        tokens_BT, past, end = torch.randint(300, (batch, sum(lengths))), empty_past(model, batch), 0
        with torch.no_grad():
            whole_BTV = model(tokens_BT)
        for length in lengths:
            start, end = end, end + length
            logits_BTV, past = read(run, tokens_BT[:, start:end], np.ones((batch, end), np.int64), past)
            torch.testing.assert_close(logits_BTV, whole_BTV[:, start:end], atol=1e-4, rtol=0)


def test_a_padded_text_gives_what_it_gives_alone(written: tuple[GPT2, Path]):
    """Padding on the left, as whoever generates pads; then two more tokens, one by one."""
    model, folder = written
    run, lengths, more = session(folder / GRAPH), (9, 4, 1), 2
    tokens_BT = torch.randint(300, (len(lengths), max(lengths) + more))
    mask_BS = np.array([[0] * (9 - length) + [1] * (length + more) for length in lengths])
    past, parts = empty_past(model, len(lengths)), []
    for start, end in ((0, 9), (9, 10), (10, 11)):
        logits_BTV, past = read(run, tokens_BT[:, start:end], mask_BS[:, :end], past)
        parts.append(logits_BTV)
    together_BTV = torch.cat(parts, 1)
    for row, length in enumerate(lengths):
        with torch.no_grad():
            alone_TV = model(tokens_BT[row : row + 1, 9 - length :])[0]
        torch.testing.assert_close(together_BTV[row, 9 - length :], alone_TV, atol=1e-4, rtol=0)


def test_names_and_dimensions_are_those_that_optimum_gives(written: tuple[GPT2, Path]):
    """transformers.js sets a dimension whose name it does not know to 0."""
    model, folder = written
    whole = "past_sequence_length + sequence_length"
    parts = [f"{layer}.{part}" for layer in range(model.config.layers) for part in ("key", "value")]
    for path in (GRAPH, QUANTIZED):
        run = session(folder / path)
        assert {each.name: each.shape for each in run.get_inputs()} == {
            "input_ids": ["batch_size", "sequence_length"],
            "attention_mask": ["batch_size", whole],
            "position_ids": ["batch_size", "sequence_length"],
            **{f"past_key_values.{part}": ["batch_size", HEADS, "past_sequence_length", HEAD_SIZE] for part in parts},
        }
        outputs = {each.name: each.shape for each in run.get_outputs()}
        assert list(outputs) == ["logits", *(f"present.{part}" for part in parts)]
        assert outputs["logits"] == ["batch_size", "sequence_length", 300]
        assert outputs["present.0.key"] == ["batch_size", HEADS, whole, HEAD_SIZE]


def test_the_folder_holds_what_transformers_js_asks_for_and_no_path_of_this_machine(
    written: tuple[GPT2, Path], tokenizer: Tokenizer, repository: Path
):
    model, folder = written
    settings = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    assert found == {*map(Path, settings), GRAPH, QUANTIZED}
    assert [path.name for path in folder.parent.iterdir()] == ["tales"]
    assert (folder / "tokenizer.json").read_text(encoding="utf-8") == tokenizer.to_json()
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float32"
    assert (folder / GRAPH).stat().st_size > 4 * model.parameter_count()
    for path in (GRAPH, QUANTIZED):
        content = (folder / path).read_bytes()
        assert str(repository).encode() not in content and b"site-packages" not in content


def test_what_one_file_cannot_hold_is_refused(tmp_path: Path, tokenizer: Tokenizer, monkeypatch):
    monkeypatch.setattr("tinytale.addons.interop.onnx_folder.LARGEST", 1000)
    with pytest.raises(UsageError, match="an ONNX file holds at most 1,000"):
        write_onnx_folder(tmp_path / "tales", random_model(), tokenizer)


class Program:
    """Stands in for what the exporter makes."""

    def __init__(self, error: OSError | None = None):
        self.error = error

    def save(self, path: Path, **_: object):
        if self.error:
            raise self.error
        path.write_bytes(b"graph")


@pytest.mark.parametrize(
    ("error", "said"),
    [(OSError(28, "No space left on device"), "No space left"), (None, "logits that differ by 0.25 from the model's")],
    ids=["a full disk", "another function"],
)
def test_what_went_wrong_leaves_nothing(error, said: str, tmp_path: Path, tokenizer: Tokenizer, monkeypatch):
    monkeypatch.setattr("tinytale.addons.interop.onnx_folder._graph", lambda model: Program(error))
    monkeypatch.setattr("tinytale.addons.interop.onnx_folder._quantize", lambda graph, quantized: None)
    monkeypatch.setattr("tinytale.addons.interop.onnx_folder.difference", lambda model, path: 0.25)
    with pytest.raises(TaleError, match=said):
        write_onnx_folder(tmp_path / "tales", random_model(), tokenizer)
    assert not list(tmp_path.iterdir())
