import math

import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.errors import UsageError
from tinytale.model.cache import KVCache
from tinytale.model.gpt2 import GPT2

VARIANTS = [(norm, positions) for norm in ("pre", "post") for positions in ("learned", "sinusoidal")]
EVERY_MODEL = [(norm, positions, kernels) for norm, positions in VARIANTS for kernels in ("textbook", "fused")]


def tiny(norm: str = "pre", positions: str = "learned", kernels: str = "textbook", **fields) -> GPT2:
    """A model in float64 whose weights are large enough for every part to matter."""
    settings = {"vocab_size": 13, "context_length": 9, "layers": 2, "heads": 2, "width": 8} | fields
    torch.manual_seed(1)
    model = GPT2(ModelConfig(norm=norm, positions=positions, **settings), kernels).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


TOKENS_BT = torch.tensor([[1, 5, 2, 12, 0, 7, 7, 3, 4], [3, 3, 9, 1, 8, 0, 11, 2, 6]])


@pytest.mark.parametrize("variant", EVERY_MODEL, ids="-".join)
def test_no_position_feels_a_later_one(variant):
    model = tiny(*variant)
    embedded = []
    model.embedding.register_forward_hook(
        lambda module, inputs, x_BTC: embedded.append(x_BTC.detach().requires_grad_()) or embedded[-1]
    )
    logits_BTV = model(TOKENS_BT)
    for position in range(9):
        (gradient_BTC,) = torch.autograd.grad(logits_BTV[:, position].square().sum(), embedded[0], retain_graph=True)
        assert (gradient_BTC[:, : position + 1] != 0).all()
        assert (gradient_BTC[:, position + 1 :] == 0).all()


@pytest.mark.parametrize("variant", EVERY_MODEL, ids="-".join)
@pytest.mark.parametrize("pieces", [[9], [1] * 9, [4, 1, 1, 1, 1, 1], [3, 3, 3], [1, 5, 3]], ids=str)
def test_cached_logits_are_the_uncached_ones(variant, pieces: list[int]):
    model = tiny(*variant)
    cache = KVCache(model.config, batch_size=2, dtype=torch.float64)
    logits = torch.cat([model(tokens_BT, cache) for tokens_BT in TOKENS_BT.split(pieces, dim=1)], dim=1)
    assert cache.length == 9
    torch.testing.assert_close(logits, model(TOKENS_BT), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cached", [False, True])
def test_a_text_longer_than_the_context_is_refused(cached: bool):
    model = tiny(context_length=8)
    cache = KVCache(model.config, batch_size=2, dtype=torch.float64) if cached else None
    with pytest.raises(UsageError, match="9 tokens, but the model's context is 8"):
        model(TOKENS_BT, cache)


def test_initial_weights_have_gpt2s_spread():
    torch.manual_seed(0)
    layers = 8
    model = GPT2(ModelConfig(vocab_size=2000, context_length=200, layers=layers, heads=4, width=64))
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            assert (parameter == (1 if "gain" in name else 0)).all(), name
        else:
            expected = 0.02 / math.sqrt(2 * layers) if "output" in name else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < expected * 5 / math.sqrt(parameter.numel()), name


@pytest.mark.parametrize(("norm", "positions"), VARIANTS)
def test_parameter_count_by_hand(norm: str, positions: str):
    block = 2 * 2 * 8 + (8 * 24 + 24) + (8 * 8 + 8) + (8 * 32 + 32) + (32 * 8 + 8)
    final_norm = 16 if norm == "pre" else 0
    position_vectors = 9 * 8 if positions == "learned" else 0
    assert tiny(norm, positions).parameter_count() == 13 * 8 + position_vectors + 2 * block + final_norm


@pytest.mark.parametrize("kernels", ["textbook", "fused"])
def test_dropout_works_in_training_alone_and_on_each_of_its_places(kernels: str):
    model = tiny(kernels=kernels, dropout=0.5)
    assert torch.equal(model(TOKENS_BT), model(TOKENS_BT))
    model.train()
    torch.manual_seed(3)
    first = model(TOKENS_BT)
    assert not torch.equal(first, model(TOKENS_BT))
    torch.manual_seed(3)
    assert torch.equal(first, model(TOKENS_BT))


@pytest.mark.parametrize("kernels", ["textbook", "fused"])
def test_dropout_falls_on_embeddings_attention_weights_and_both_sub_layers(kernels: str, monkeypatch):
    model = tiny(kernels=kernels, dropout=0.25, layers=1).train()
    dropped = []
    original, attend = torch.nn.functional.dropout, model.blocks[0].attention.attend

    def counted(x, p=0.5, training=True, inplace=False):
        dropped.append((x.shape[1:], p, training))
        return original(x, p, training, inplace)

    def counted_attend(q, k, v, dropout, visible):
        dropped.append(("attention", dropout, True))
        return attend(q, k, v, dropout, visible)

    monkeypatch.setattr(torch.nn.functional, "dropout", counted)
    model.blocks[0].attention.attend = counted_attend
    model(TOKENS_BT)
    falls = [fall for fall in dropped if fall[0] != (2, 9, 9)]  # the textbook's own call on its weights
    assert falls == [((9, 8), 0.25, True), ("attention", 0.25, True), ((9, 8), 0.25, True), ((9, 8), 0.25, True)]


def test_the_attention_weights_may_have_a_dropout_of_their_own():
    block = tiny(dropout=0.25, attention_dropout=0.5).train().blocks[0]
    assert (block.attention.weight_dropout, block.attention.dropout, block.feed_forward.dropout) == (0.5, 0.25, 0.25)


def test_post_norm_normalises_after_the_sum():
    x_BTC = tiny("post").hidden(TOKENS_BT)
    last = tiny("post").blocks[-1].norm2
    normal = (x_BTC - last.bias_C) / last.gain_C
    torch.testing.assert_close(normal.mean(-1), torch.zeros(2, 9, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(normal.square().mean(-1), torch.ones(2, 9, dtype=torch.float64), atol=1e-2, rtol=0)
