"""A GPT-2 as one ONNX graph, for any batch and any length up to its context, with or without keys and values.

Letters of shapes: B batch, T new positions, P positions read before, S = P + T, V vocabulary, H heads, D head size.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float, Int
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn
from torch.export import Dim

from tinytale.errors import UsageError
from tinytale.files import written_whole
from tinytale.model.cache import KVCache, LayerCache, Stored
from tinytale.model.gpt2 import GPT2

OPSET = 18
"""Version of the operators: the one that torch's exporter is written for."""

LARGEST = 2**31 - 2**20
"""Bytes of weights in one ONNX file, which a format of Google's limits to 2 GiB."""


class LayerPast(LayerCache):
    """One layer's keys and values as tensors that grow by concatenation, so that a graph can hold them."""

    def __init__(self, k_BHPD: Float[Tensor, "B H P D"], v_BHPD: Float[Tensor, "B H P D"]):
        super().__init__(k_BHPD, v_BHPD, k_BHPD.shape[2])

    def extend(self, k_BHTD: Float[Tensor, "B H T D"], v_BHTD: Float[Tensor, "B H T D"]) -> Stored:
        """Append T further positions; return what there is to look at."""
        self.k_BHSD = torch.cat((self.k_BHSD, k_BHTD), dim=2)
        self.v_BHSD = torch.cat((self.v_BHSD, v_BHTD), dim=2)
        self.length = self.longest = self.k_BHSD.shape[2]
        return self.k_BHSD, self.v_BHSD, None


class Past(KVCache):
    """Keys and values of every layer, made of two tensors a layer, and given back as such."""

    def __init__(self, tensors: list[Float[Tensor, "B H P D"]]):
        self.layers = [LayerPast(k, v) for k, v in zip(tensors[::2], tensors[1::2], strict=True)]

    def tensors(self) -> list[Float[Tensor, "B H S D"]]:
        """Keys and values, layer by layer."""
        return [tensor for layer in self.layers for tensor in (layer.k_BHSD, layer.v_BHSD)]


class Continued(nn.Module):
    """The model as a function of tensors alone: tokens and past in, logits and present out."""

    def __init__(self, model: GPT2):
        super().__init__()
        self.model = model

    def forward(
        self, tokens_BT: Int[Tensor, "B T"], past: list[Float[Tensor, "B H P D"]]
    ) -> tuple[Float[Tensor, "B T V"], list[Float[Tensor, "B H S D"]]]:
        """Read T tokens after P others."""
        cache = Past(past)
        return self.model(tokens_BT, cache), cache.tensors()


def write_onnx(path: Path, model: GPT2, cache: bool) -> None:
    """Write a model as one ONNX file in float32, whole or not at all.

    `input_ids` (B, T) give `logits` (B, T, V). With a cache the graph also takes `past_key_values.N.key` and `.value`
    (B, H, P, D), P from 0, and gives `present.N.key` and `.value` (B, H, P + T, D), by the names of Optimum.

    Raises:
        UsageError: the weights do not fit into one file.
        TaleError: the disk refuses.
    """
    size = 4 * model.parameter_count()
    if size > LARGEST:
        raise UsageError(f"the weights take {size:,} bytes in float32; an ONNX file holds at most {LARGEST:,}")
    with torch.device("meta"):
        plain = GPT2(model.config, "textbook")
    plain.load_state_dict({name: tensor.cpu().float() for name, tensor in model.state_dict().items()}, assign=True)
    program = _with_cache(plain.eval()) if cache else _without_cache(plain.eval())
    ClearMetadataAndDocStringPass()(program.model)  # where in which file of this machine each node was made
    with written_whole(path) as partial:
        program.save(partial, external_data=False)


def _without_cache(model: GPT2) -> torch.onnx.ONNXProgram:
    tokens_BT = torch.zeros(2, min(3, model.config.context_length), dtype=torch.long)
    return _export(model, (tokens_BT,), ({0: Dim("batch"), 1: Dim("length")},), ["input_ids"], ["logits"])


def _with_cache(model: GPT2) -> torch.onnx.ONNXProgram:
    config = model.config
    past = [torch.zeros(2, config.heads, 5, config.head_size) for _ in range(2 * config.layers)]
    parts = [f"{layer}.{part}" for layer in range(config.layers) for part in ("key", "value")]
    return _export(
        Continued(model),
        (torch.zeros(2, 3, dtype=torch.long), past),
        ({0: Dim("batch"), 1: Dim("length")}, [{0: Dim("batch"), 2: Dim("past")} for _ in past]),
        ["input_ids", *(f"past_key_values.{part}" for part in parts)],
        ["logits", *(f"present.{part}" for part in parts)],
    )


def _export(
    module: nn.Module, example: tuple, dimensions: tuple, inputs: list[str], outputs: list[str]
) -> torch.onnx.ONNXProgram:
    with _quiet():
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            dynamic_shapes=dimensions,
            input_names=inputs,
            output_names=outputs,
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's reports about itself."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
