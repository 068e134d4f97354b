"""The textbook path and the fused one are the same function: logits, gradients, every variant, odd lengths."""

import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.model.attention import Kernels
from tinytale.model.gpt2 import GPT2
from tinytale.model.layers import fused_gelu, gelu
from tinytale.training.loss import summed_loss

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}


def pair(dtype: torch.dtype, kernels: Kernels = "fused", **fields) -> list[GPT2]:
    config = ModelConfig(vocab_size=31, context_length=16, layers=2, heads=2, width=12, **fields)
    torch.manual_seed(0)
    textbook = GPT2(config, "textbook").to(dtype)
    for parameter in textbook.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    fused = GPT2(config, kernels).to(dtype)
    fused.load_state_dict(textbook.state_dict())
    return [textbook, fused]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("length", [1, 2, 7, 16])
@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("kernels", ["fused", "native"])
def test_the_textbook_and_what_is_faster_agree_on_logits_and_all_gradients(
    dtype, length: int, norm, positions, kernels
):
    textbook, fused = pair(dtype, kernels, norm=norm, positions=positions)
    tokens_BT = torch.randint(31, (3, length + 1), generator=torch.Generator().manual_seed(length))
    torch.testing.assert_close(textbook(tokens_BT[:, :-1]), fused(tokens_BT[:, :-1]), rtol=0, atol=TOLERANCE[dtype])
    for model in (textbook, fused):
        (summed_loss(model, tokens_BT[:, :-1], tokens_BT[:, 1:]) / tokens_BT[:, 1:].numel()).backward()
    for (name, ours), theirs in zip(textbook.named_parameters(), fused.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None, name
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=TOLERANCE[dtype], msg=name)


def test_textbook_and_fused_agree_with_dropout_switched_off():
    textbook, fused = pair(torch.float64, dropout=0.5)
    tokens_BT = torch.arange(15)[None]
    torch.testing.assert_close(textbook.eval()(tokens_BT), fused.eval()(tokens_BT), rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("compiling", [False, True])
def test_both_forms_of_the_fused_gelu_are_the_formula(compiling: bool, dtype, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.compiler.is_compiling", lambda: compiling)
    inputs = [torch.linspace(-30, 30, 2001, dtype=dtype, requires_grad=True) for _ in range(2)]
    found, expected = fused_gelu(inputs[0]), gelu(inputs[1])
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE[dtype])
    found.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=0, atol=TOLERANCE[dtype])
