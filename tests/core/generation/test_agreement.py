"""The model's code is broken on purpose: the native decoder, which does not follow, has to notice each time."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tinytale.config import ModelConfig
from tinytale.errors import UsageError
from tinytale.generation import choosing
from tinytale.generation.agreement import native_decoder
from tinytale.generation.choosing import decoder_for
from tinytale.generation.native_decoder import NativeDecoder
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model import attention, layers
from tinytale.model.gpt2 import GPT2, Block
from tinytale.model.published import check_published, small_model
from tinytale.native.build import compiler

NEEDS = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")


def rms_norm(self: layers.LayerNorm, x_BTC: Tensor) -> Tensor:
    return x_BTC * torch.rsqrt(x_BTC.square().mean(-1, keepdim=True) + self.epsilon) * self.gain_C + self.bias_C


def after_the_sum(self: Block, x_BTC: Tensor, cache=None) -> Tensor:
    x_BTC = self.norm1(x_BTC + self.attention(x_BTC, cache))
    return self.norm2(x_BTC + self.feed_forward(x_BTC))


def waves(self: layers.LearnedPositions, x_BTC: Tensor, start: int) -> Tensor:
    return layers.SinusoidalPositions(ModelConfig(width=x_BTC.shape[-1], heads=1)).forward(x_BTC, start)


def scaled(q_BHTD: Tensor, *others: Tensor | float | None) -> Tensor:
    return attention.fused_attention(q_BHTD * 1.1, *others)


CHANGES = {
    "sine for GELU": (layers, "fused_gelu", lambda x: torch.sin(3 * x)),
    "ReLU for GELU": (layers, "fused_gelu", torch.relu),
    "the other form of GELU": (layers, "fused_gelu", F.gelu),
    "RMSNorm for LayerNorm": (layers.LayerNorm, "forward", rms_norm),
    "no bias": (nn.Linear, "forward", lambda self, x: F.linear(x, self.weight)),
    "another attention scale": (attention.ATTENTION, "fused", scaled),
    "norm after the sum": (Block, "forward", after_the_sum),
    "sinusoidal positions": (layers.LearnedPositions, "forward", waves),
}


def apply(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, what, changed = CHANGES[name]
    (monkeypatch.setitem if isinstance(place, dict) else monkeypatch.setattr)(place, what, changed)


@pytest.fixture(params=CHANGES)
def change(request, monkeypatch: pytest.MonkeyPatch) -> None:
    apply(request.param, monkeypatch)
    choosing._tell.cache_clear()


def young(**fields) -> GPT2:
    """A model before training: its biases are 0, its attention is even, and hardly anything depends on its scale."""
    torch.manual_seed(0)
    settings = {"vocab_size": 23, "context_length": 8, "layers": 2, "heads": 2, "width": 16} | fields
    return GPT2(ModelConfig(**settings), "fused").requires_grad_(False).eval()


@NEEDS
def test_a_changed_model_is_told_by_torch_and_one_line_says_so(change, capsys):
    assert isinstance(decoder_for(young(), 2), TorchDecoder)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "does not compute what src/tinytale/model does" in said
    assert "docs/changing-the-model.md" in said and said.endswith(
        "Stories come from torch, in float32 and more slowly.\n"
    )


@NEEDS
@pytest.mark.parametrize(("precision", "kind"), [("int8", "auto"), ("bfloat16", "auto"), ("auto", "native")])
def test_who_insists_on_the_native_decoder_of_a_changed_model_is_refused(precision, kind, monkeypatch):
    apply("ReLU for GELU", monkeypatch)
    with pytest.raises(UsageError, match="does not compute what src/tinytale/model does"):
        decoder_for(young(), 2, precision, kind)


@NEEDS
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
@pytest.mark.parametrize("kernels", ["textbook", "fused", "native"])
@pytest.mark.parametrize("std", [0.02, 0.2, 0.5])
def test_the_decoder_of_an_unchanged_model_is_never_doubted(precision, kernels, std: float):
    for context, layer_count, heads, width in ((1, 1, 1, 4), (8, 2, 2, 16), (40, 3, 4, 64)):
        config = ModelConfig(vocab_size=70, context_length=context, layers=layer_count, heads=heads, width=width)
        model = GPT2(config, kernels).requires_grad_(False).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=std)
        assert isinstance(native_decoder(model, 1, precision), NativeDecoder)


@NEEDS
def test_a_change_of_one_layer_is_noticed_by_the_decoders_own_weights(monkeypatch: pytest.MonkeyPatch):
    model, usual = young(layers=5), Block.forward
    fourth = model.blocks[3]
    monkeypatch.setattr(Block, "forward", lambda self, x, cache=None: x if self is fourth else usual(self, x, cache))
    assert "in float32 its logits differ" in str(native_decoder(model, 1, "float32"))


@NEEDS
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda model: setattr(model.blocks[1].feed_forward, "output", nn.Linear(64, 16, bias=False)), "output.bias"),
        (lambda model: setattr(model.blocks[0].attention, "gate", nn.Parameter(torch.zeros(()))), "attention.gate"),
        (lambda model: setattr(model.blocks[0].feed_forward, "expand", nn.Linear(16, 32)), "expand.weight"),
    ],
    ids=["one fewer", "one more", "another shape"],
)
def test_weights_that_it_does_not_know_are_not_read(change, name: str):
    model = young()
    change(model)
    assert f"{name} with shape" in str(native_decoder(model, 1, "float32"))


@NEEDS
def test_the_comparison_leaves_random_numbers_alone_and_weights_that_are_not_finite_to_who_generates():
    model = young()
    state = torch.random.get_rng_state()
    native_decoder(model, 1, "int8")
    assert torch.equal(state, torch.random.get_rng_state())
    model.positions.weight_TC.fill_(float("nan"))
    assert isinstance(native_decoder(model, 1, "int8"), NativeDecoder)


def test_what_is_not_gpt2_any_more_is_not_published_as_one(change):
    with pytest.raises(UsageError, match=r"not GPT-2 any more .* Export it with --to onnx"):
        check_published(young())


def test_gpt2_and_the_variants_that_say_what_they_are_are_published():
    for kernels in ("textbook", "fused", "native"):
        for fields in ({}, {"norm": "post"}, {"positions": "sinusoidal"}, {"layer_norm_epsilon": 0.01}):
            check_published(
                GPT2(ModelConfig(vocab_size=9, context_length=4, layers=1, heads=1, width=4, **fields), kernels)
            )


def test_torch_tells_where_it_is_asked_for(capsys):
    assert isinstance(decoder_for(young(), 2, kind="torch"), TorchDecoder) and capsys.readouterr().err == ""
    with pytest.raises(UsageError, match="precision int8 needs the native decoder: decoder is torch"):
        decoder_for(young(), 2, "int8", "torch")


def test_a_small_model_has_the_kernels_and_settings_of_the_large_one():
    small = small_model(young(layer_norm_epsilon=0.25, dropout=0.5))
    assert small.kernels == "fused" and small.config.layer_norm_epsilon == 0.25 and not small.training
    assert all(torch.equal(*pair) for pair in zip(small.parameters(), small_model(small).parameters(), strict=True))
