"""Letters of shapes: B batch, T query positions, S key positions, H heads, D head size."""

import math

import pytest
import torch

from tinytale.model.attention import ATTENTION, causal_mask, fused_attention, textbook_attention


def random_qkv(queries: int, keys: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(queries * 100 + keys)
    shapes = [(2, 3, queries, 4), (2, 3, keys, 4), (2, 3, keys, 4)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


@pytest.mark.parametrize("attend", ATTENTION.values())
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (4, 4), (1, 5), (3, 5)])
def test_attention_is_the_formula_one_position_at_a_time(attend, queries: int, keys: int):
    q, k, v = random_qkv(queries, keys)
    expected = torch.empty_like(q)
    for batch in range(2):
        for head in range(3):
            for query in range(queries):
                seen = keys - queries + query + 1
                scores = [float(q[batch, head, query] @ k[batch, head, key]) / math.sqrt(4) for key in range(seen)]
                total = sum(map(math.exp, scores))
                expected[batch, head, query] = sum(
                    math.exp(score) / total * v[batch, head, key] for key, score in enumerate(scores)
                )
    torch.testing.assert_close(attend(q, k, v), expected, rtol=0, atol=1e-12)


def test_the_mask_lets_the_last_queries_see_up_to_themselves():
    assert causal_mask(2, 4).tolist() == [[True, True, True, False], [True, True, True, True]]


@pytest.mark.parametrize("attend", [textbook_attention, fused_attention])
def test_dropout_falls_on_attention_weights_and_keeps_their_mean(attend):
    q, k, v = random_qkv(1, 6)
    torch.manual_seed(0)
    drawn = torch.stack([attend(q, k, v, 0.5) for _ in range(4000)])
    assert not torch.equal(drawn[0], drawn[1])
    torch.testing.assert_close(drawn.mean(0), attend(q, k, v), rtol=0, atol=0.1)
