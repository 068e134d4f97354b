"""Our CPU attention and torch's own, forward and backward, in turn: `python3 run.py test --peers THIS_FILE -s`."""

import os
import statistics
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tinytale.model.native_attention import describe, packed_attention, ready

SHAPES = {"S": (16, 256, 8, 32), "M": (8, 256, 8, 64), "124M": (2, 512, 12, 64)}
"""Batch, positions, heads, head size of the models in docs/experiments.md."""
ROUNDS = 15


def separate(qkv_BTE: Tensor, heads: int) -> Tensor:
    """torch's kernel, with the splitting and joining of heads that a model needs around it."""
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv_BTE.chunk(3, -1))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)


def seconds(attend: Callable[[Tensor, int], Tensor], qkv_BTE: Tensor, dy_BTC: Tensor, heads: int) -> float:
    begun = time.perf_counter()
    attend(qkv_BTE, heads).backward(dy_BTC)
    return time.perf_counter() - begun


@pytest.mark.peers
@pytest.mark.skipif(not ready(), reason=f"attention is {describe()}")
def test_our_attention_is_at_least_twice_as_fast_as_torchs():
    before = torch.get_num_threads()
    print(f"\nattention: {describe()}")
    try:
        for threads in sorted({1, len(os.sched_getaffinity(0))}):
            torch.set_num_threads(threads)
            for name, (B, T, H, D) in SHAPES.items():
                qkv_BTE = torch.randn(B, T, 3 * H * D).bfloat16().requires_grad_()
                dy_BTC = torch.randn(B, T, H * D).bfloat16()
                times: dict[Callable[[Tensor, int], Tensor], list[float]] = {separate: [], packed_attention: []}
                for turn in range(ROUNDS + 2):
                    for attend, found in times.items():
                        found += [seconds(attend, qkv_BTE, dy_BTC, H)] * (turn >= 2)
                theirs, ours = (statistics.median(found) for found in times.values())
                milliseconds = f"torch {theirs * 1e3:6.1f} ms, ours {ours * 1e3:5.1f} ms"
                print(f"{name:5} {threads} threads: {milliseconds}, {theirs / ours:.1f}x")
                assert theirs > 2 * ours
    finally:
        torch.set_num_threads(before)
