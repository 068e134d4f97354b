"""What low precision costs in bits per byte, on real stories and the weights that the project ships."""

import math
import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tinytale.data.tokenizer import load_tokenizer
from tinytale.generation.native_decoder import NativeDecoder
from tinytale.model.folder import load_model
from tinytale.native.build import compiler

TINYSTORIES = os.environ.get("TINYSTORIES")
COSTS = {"float32": 1e-6, "bfloat16": 5e-4, "int8": 5e-3}
"""The most by which bits per byte may differ from torch's in float32, as a share."""
WINDOWS, LENGTH = 16, 128


@pytest.mark.skipif(not TINYSTORIES, reason="needs real stories: set TINYSTORIES to the folder with valid.txt")
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_low_precision_costs_little_in_bits_per_byte(repository: Path):
    folder = repository / "weights" / "small" / "model"
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    with (Path(str(TINYSTORIES)) / "valid.txt").open(encoding="utf-8") as file:
        tokens = tokenizer.encode(file.read(40_000))[: WINDOWS * LENGTH]
    tokens_BT = torch.tensor(tokens).view(WINDOWS, LENGTH)
    byte_count = int(tokenizer.byte_lengths()[tokens_BT[:, 1:].numpy()].sum())

    def bits_per_byte(logits_BTV: torch.Tensor) -> float:
        nats = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1).double(), tokens_BT[:, 1:].flatten(), reduction="sum")
        return nats.item() / math.log(2) / byte_count

    with torch.inference_mode():
        exact = bits_per_byte(model(tokens_BT))
    for precision, cost in COSTS.items():
        decoder = NativeDecoder(model, WINDOWS, precision)
        first_BV = torch.stack([decoder.prefill(slot, [int(tokens_BT[slot, 0])]) for slot in range(WINDOWS)])
        rest = [decoder.step(range(WINDOWS), tokens_BT[:, t].tolist()) for t in range(1, LENGTH)]
        found = bits_per_byte(torch.stack([first_BV, *rest], dim=1))
        assert found == pytest.approx(exact, rel=cost), precision
