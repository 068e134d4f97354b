"""A GPT-2 as a folder with an ONNX graph, as transformers.js, Optimum and ONNX Runtime read it.

Letters of shapes: B batch, T new positions, P positions read before, S = P + T, V vocabulary, H heads, D head size.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx_ir
import torch
from jaxtyping import Bool, Float, Int
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn
from torch.export import Dim

from tinytale.addons.interop.model_folder import new_folder
from tinytale.data.tokenizer import Tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import sync_folder
from tinytale.model.cache import LayerCache, Stored
from tinytale.model.folder import save_settings
from tinytale.model.gpt2 import GPT2

OPSET = 18
"""Version of the operators: the one that torch's exporter is written for."""

LARGEST = 2**31 - 2**20
"""Bytes of weights in one ONNX file, which a format of Google's limits to 2 GiB."""

GRAPH, QUANTIZED = Path("onnx/model.onnx"), Path("onnx/model_quantized.onnx")
"""Where transformers.js looks: for the first in Node, for the second in a browser."""

BATCH, NEW, BEFORE = "batch_size", "sequence_length", "past_sequence_length"
"""Dimensions by Optimum's names; transformers.js gives values to names that it knows, and 0 to any other."""

ALLOWED = 1e-3
"""How far a logit of the graph may be from torch's; sums in another order make about 1e-5."""


class LayerPast(LayerCache):
    """One layer's keys and values as tensors that grow by concatenation, so that a graph can hold them."""

    def __init__(
        self,
        k_BHPD: Float[Tensor, "B H P D"],
        v_BHPD: Float[Tensor, "B H P D"],
        visible_BTS: Bool[Tensor, "B T S"],
    ):
        super().__init__(k_BHPD, v_BHPD, k_BHPD.shape[2])
        self.visible_BTS = visible_BTS

    def extend(self, k_BHTD: Float[Tensor, "B H T D"], v_BHTD: Float[Tensor, "B H T D"]) -> Stored:
        """Append T further positions; return what there is to look at."""
        self.k_BHSD = torch.cat((self.k_BHSD, k_BHTD), dim=2)
        self.v_BHSD = torch.cat((self.v_BHSD, v_BHTD), dim=2)
        return self.k_BHSD, self.v_BHSD, self.visible_BTS


class Continued(nn.Module):
    """The model as a function of tensors alone: tokens, mask, positions and past in; logits and present out."""

    def __init__(self, model: GPT2):
        super().__init__()
        self.model = model

    def forward(
        self,
        tokens_BT: Int[Tensor, "B T"],
        mask_BS: Int[Tensor, "B S"],
        positions_BT: Int[Tensor, "B T"],
        past: list[Float[Tensor, "B H P D"]],
    ) -> tuple[Float[Tensor, "B T V"], list[Float[Tensor, "B H S D"]]]:
        """Read T tokens after P others; what the mask has 0 for is padding, which no other token looks at.

        Padding looks at itself, so that no softmax is over nothing: its keys and values must be finite.
        """
        model, T, S = self.model, tokens_BT.shape[1], mask_BS.shape[1]
        queries_T, keys_S = torch.arange(S - T, S)[:, None], torch.arange(S)
        visible_BTS = (keys_S <= queries_T) & (mask_BS[:, None] > 0) | (keys_S == queries_T)
        x_BTC = model.embedding(tokens_BT)
        # Each token as a text of its own, since only texts have each their own start.
        x_BTC = model.positions(x_BTC.flatten(0, 1)[:, None], positions_BT.flatten()).reshape(x_BTC.shape)
        present = []
        for layer, block in enumerate(model.blocks):
            cache = LayerPast(past[2 * layer], past[2 * layer + 1], visible_BTS)
            x_BTC = block(x_BTC, cache)
            present += [cache.k_BHSD, cache.v_BHSD]
        return model.embedding.logits(model.final_norm(x_BTC)), present


def write_onnx_folder(out: Path, model: GPT2, tokenizer: Tokenizer) -> tuple[float, float]:
    """Write a model as a new folder with its settings, tokenizer and two graphs, whole or not at all.

    `onnx/model.onnx` is in float32; `onnx/model_quantized.onnx` has its matrices in 8 bits. Both take `input_ids` and
    `position_ids` (B, T), `attention_mask` (B, P + T) and, for each layer N, `past_key_values.N.key` and `.value`
    (B, H, P, D), P from 0, and give `logits` (B, T, V) and `present.N.key` and `.value` (B, H, P + T, D).

    Returns the largest difference of logits between the model and each graph, read back by ONNX Runtime.

    Raises:
        UsageError: something lies at `out`, or the weights do not fit into one file.
        TaleError: the disk refuses, or the graph computes something else.
    """
    size = 4 * model.parameter_count()
    if size > LARGEST:
        raise UsageError(f"the weights take {size:,} bytes in float32; an ONNX file holds at most {LARGEST:,}")
    with new_folder(out) as folder:
        save_settings(folder, model.config, tokenizer.end_of_text, tokenizer.to_json().encode(), torch.float32)
        (folder / GRAPH).parent.mkdir()
        _graph(model).save(folder / GRAPH, external_data=False)
        _quantize(folder / GRAPH, folder / QUANTIZED)
        sync_folder(folder / GRAPH.parent)
        exact, rounded = (difference(model, folder / path) for path in (GRAPH, QUANTIZED))
        if not exact < ALLOWED:
            raise TaleError(f"the graph for {out} gives logits that differ by {exact:g} from the model's")
    return exact, rounded


@torch.no_grad()
def difference(model: GPT2, path: Path) -> float:
    """The largest difference of logits between a model and its graph, on a text of random tokens read in two parts."""
    import onnxruntime

    run = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    length = min(17, model.config.context_length)
    tokens_BT = torch.randint(model.config.vocab_size, (2, length), generator=torch.Generator().manual_seed(0))
    parts, past, largest = tokens_BT.split([length // 2, length - length // 2], dim=1), empty_past(model, 2), 0.0
    ours_BTV, start = model(tokens_BT.to(model.device)).float().cpu(), 0
    for part_BT in parts:
        end = start + part_BT.shape[1]
        inputs = {
            "input_ids": part_BT.numpy(),
            "attention_mask": np.ones((2, end), np.int64),
            "position_ids": np.arange(start, end)[None].repeat(2, 0),
        }
        logits_BTV, *present = run.run(None, inputs | past)
        past = dict(zip(past, present, strict=True))
        largest = max(largest, float(np.abs(logits_BTV - ours_BTV[:, start:end].numpy()).max(initial=0)))
        start = end
    return largest


def empty_past(model: GPT2, batch: int) -> dict[str, np.ndarray]:
    """The past before the first token, by the names of the graph's inputs."""
    config = model.config
    return {
        f"past_key_values.{part}": np.zeros((batch, config.heads, 0, config.head_size), np.float32)
        for part in _parts(config.layers)
    }


def _parts(layers: int) -> list[str]:
    return [f"{layer}.{part}" for layer in range(layers) for part in ("key", "value")]


def _graph(model: GPT2) -> torch.onnx.ONNXProgram:
    """The graph of a model in float32, for any batch and any length up to its context."""
    config = model.config
    with torch.device("meta"):
        plain = GPT2(config, "textbook")
    plain.load_state_dict({name: tensor.cpu().float() for name, tensor in model.state_dict().items()}, assign=True)
    past = [torch.zeros(2, config.heads, 5, config.head_size) for _ in range(2 * config.layers)]
    batch, new, before = Dim(BATCH), Dim(NEW), Dim(BEFORE)
    parts = _parts(config.layers)
    tokens_BT, mask_BS, positions_BT = (torch.zeros(2, length, dtype=torch.long) for length in (3, 8, 3))
    with _quiet():
        program = torch.onnx.export(
            Continued(plain.eval()),
            (tokens_BT, mask_BS, positions_BT, past),
            dynamo=True,
            dynamic_shapes=(
                {0: batch, 1: new},
                {0: batch, 1: Dim.AUTO},  # which is the sum of the other two
                {0: batch, 1: new},
                [{0: batch, 2: before} for _ in past],
            ),
            input_names=[
                "input_ids",
                "attention_mask",
                "position_ids",
                *(f"past_key_values.{part}" for part in parts),
            ],
            output_names=["logits", *(f"present.{part}" for part in parts)],
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    program.model.graph.inputs[1].shape = onnx_ir.Shape([BATCH, f"{BEFORE} + {NEW}"])
    ClearMetadataAndDocStringPass()(program.model)  # where in which file of this machine each node was made
    return program


def _quantize(graph: Path, quantized: Path) -> None:
    """Write a graph anew with its constant matrices as 8-bit integers, a scale for each column."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(graph, quantized, per_channel=True, weight_type=QuantType.QInt8)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's reports about itself."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", None)]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
