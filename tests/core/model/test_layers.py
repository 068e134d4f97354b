import math

import torch

from tinytale.config import ModelConfig
from tinytale.model.layers import FeedForward, LayerNorm, LearnedPositions, SinusoidalPositions, TokenEmbedding, gelu

CONFIG = ModelConfig(vocab_size=11, context_length=7, layers=1, heads=2, width=6, layer_norm_epsilon=0.01)


def test_layer_norm_by_hand():
    norm = LayerNorm(CONFIG)
    torch.nn.init.constant_(norm.gain_C, 2.0)
    torch.nn.init.constant_(norm.bias_C, 1.0)
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0, 5.0, 9.0]]])  # mean 4, variance 40 / 6
    expected = [2 * (value - 4) / math.sqrt(40 / 6 + 0.01) + 1 for value in (1, 2, 3, 4, 5, 9)]
    torch.testing.assert_close(norm(x)[0, 0], torch.tensor(expected))


def test_gelu_by_hand():
    x = torch.tensor([-3.0, -1.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.tolist()]
    torch.testing.assert_close(gelu(x), torch.tensor(expected, dtype=torch.float64))


def test_feed_forward_is_four_times_as_wide_inside():
    assert FeedForward(CONFIG).expand.weight.shape == (24, 6)


def test_sinusoids_by_hand():
    waves = SinusoidalPositions(CONFIG)(torch.zeros(1, 3, 6, dtype=torch.float64), start=4)
    for row, position in enumerate((4, 5, 6)):
        for pair in range(3):
            angle = position / 10_000 ** (2 * pair / 6)
            torch.testing.assert_close(waves[0, row, 2 * pair].item(), math.sin(angle))
            torch.testing.assert_close(waves[0, row, 2 * pair + 1].item(), math.cos(angle))


def test_sinusoids_scale_the_embedding_by_the_root_of_the_width():
    positions, x = SinusoidalPositions(CONFIG), torch.randn(1, 2, 6)
    torch.testing.assert_close(positions(x, 0) - positions(torch.zeros_like(x), 0), math.sqrt(6) * x)


def test_learned_positions_start_where_they_are_told():
    positions = LearnedPositions(CONFIG)
    torch.nn.init.normal_(positions.weight_TC)
    assert torch.equal(positions(torch.zeros(1, 3, 6), start=4)[0], positions.weight_TC[4:7])


def test_the_output_layer_is_the_embedding_the_other_way_round():
    embedding = TokenEmbedding(CONFIG)
    torch.nn.init.normal_(embedding.weight_VC)
    x = embedding(torch.tensor([[3, 10]]))
    torch.testing.assert_close(embedding.logits(x)[0], embedding.weight_VC[[3, 10]] @ embedding.weight_VC.T)
