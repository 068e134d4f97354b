"""The shipped weights as ONNX graphs: made and run in half a minute, hence not among the ordinary tests.

python3 run.py test --peers tests/peers/test_onnx_small.py
"""

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch

from tinytale.model.folder import load_model
from tinytale.runs import shipped_weights


@pytest.mark.peers
def test_onnx_runtime_gives_the_same_logits_at_any_shape(tale, tmp_path: Path, monkeypatch):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # while it is exported, sizes are symbols
    model = load_model(shipped_weights()["small"] / "model")
    config = model.config
    for cache in (False, True):
        path = tmp_path / f"{cache}.onnx"
        assert tale("export", "small", "--to=onnx", "--out", path, *(["--cache"] if cache else [])).code == 0
        run = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        past = {each.name: (config.heads, 0, config.head_size) for each in run.get_inputs()[1:]}
        for shape in [(1, 1), (1, 256), (3, 17), (8, 64), (2, 2)]:
            tokens_BT = torch.randint(config.vocab_size, shape)
            inputs = {name: np.zeros((shape[0], *size), np.float32) for name, size in past.items()}
            logits_BTV = run.run(["logits"], {"input_ids": tokens_BT.numpy()} | inputs)[0]
            with torch.no_grad():
                torch.testing.assert_close(torch.tensor(logits_BTV), model(tokens_BT), atol=1e-4, rtol=0)
