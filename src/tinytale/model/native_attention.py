"""Causal self-attention by our own CPU kernel (`cpp/attention.cpp`), as an operator for autograd and torch.compile.

Letters of shapes: B batch, T positions, C width, E = 3C packed queries, keys and values, H heads.
"""

import ctypes
import platform
import sys
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tinytale.native.build import CPP, UnavailableError, library
from tinytale.native.instructions import allowed

SOURCE = CPP / "attention.cpp"
VECTORS = ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512bf16", "-mfma")
BASE = ("-O3", "-std=c++17", "-fPIC", "-shared", *VECTORS)
FLAGS = ((*BASE, "-mamx-tile", "-mamx-bf16"), BASE)
"""Compilers from before AMX take the second choice."""


class Kernel(NamedTuple):
    """The loaded library, and how it is to run."""

    library: ctypes.CDLL
    tiles: bool
    """Products on AMX tiles; else on AVX512-BF16 vectors."""
    parallel: int | None
    """Address of the OpenMP runtime's `GOMP_parallel`, so that the threads are torch's own; None: one thread."""


@lru_cache(maxsize=1)
def _load() -> Kernel | str:
    """The kernel, or why it cannot be had."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"it is written for Linux on x86-64, and this is {platform.system()} on {platform.machine()}"
    if not torch.cpu._is_avx512_bf16_supported():
        return "the CPU has no AVX512-BF16"
    if "avx512_bf16" not in allowed():
        return "ONEDNN_MAX_CPU_ISA leaves out AVX512-BF16"
    try:
        built = library(SOURCE, FLAGS)
    except UnavailableError as reason:
        return str(reason)
    pointer, whole = ctypes.c_void_p, ctypes.c_long
    shape_and_threads = [whole] * 4 + [ctypes.c_int, pointer, whole]
    built.tinytale_attention_forward.argtypes = [pointer] * 3 + shape_and_threads
    built.tinytale_attention_backward.argtypes = [pointer] * 5 + shape_and_threads
    run_parallel = getattr(ctypes.CDLL(None), "GOMP_parallel", None)
    address = ctypes.cast(run_parallel, pointer).value if run_parallel else None
    if address is None and torch.get_num_threads() > 1:
        return "torch's threads cannot be reached: this process has no GOMP_parallel"
    return Kernel(built, "amx_bf16" in allowed() and bool(built.tinytale_tiles()), address)


def describe() -> str:
    """What computes attention in bfloat16 on this CPU, for a person."""
    loaded = _load()
    if isinstance(loaded, str):
        return f"torch's: {loaded}"
    return "our own, on AMX tiles" if loaded.tiles else "our own, on AVX512-BF16 vectors"


@torch.compiler.assume_constant_result
def ready() -> bool:
    """Whether the kernel can be had; the first call builds it."""
    return not isinstance(_load(), str)


def takes(qkv_BTE: Tensor, dropout: float) -> bool:
    """Whether the kernel computes this: bfloat16 on the CPU, no dropout on the attention weights."""
    return qkv_BTE.dtype == torch.bfloat16 and qkv_BTE.device.type == "cpu" and not dropout and ready()


def _arguments(qkv_BTE: Tensor, heads: int) -> list[Any]:
    kernel = _load()
    assert isinstance(kernel, Kernel)
    B, T, E = qkv_BTE.shape
    return [B, T, heads, E // 3 // heads, int(kernel.tiles), kernel.parallel, torch.get_num_threads()]


def _library() -> ctypes.CDLL:
    kernel = _load()
    assert isinstance(kernel, Kernel)
    return kernel.library


@torch.library.custom_op("tinytale::attention", mutates_args=())
def _forward(qkv_BTE: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """The mixed values (B, T, C), and the log-sum-exp of each row of scores (B, H, T) for the backward pass."""
    qkv_BTE = qkv_BTE.contiguous()
    y_BTC, lse_BHT = _empty(qkv_BTE, heads)
    pointers = [tensor.data_ptr() for tensor in (qkv_BTE, y_BTC, lse_BHT)]
    if not _library().tinytale_attention_forward(*pointers, *_arguments(qkv_BTE, heads)):
        raise MemoryError("not enough memory for attention")
    return y_BTC, lse_BHT


@_forward.register_fake
def _empty(qkv_BTE: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    B, T, E = qkv_BTE.shape
    return qkv_BTE.new_empty(B, T, E // 3), qkv_BTE.new_empty(B, heads, T, dtype=torch.float32)


@torch.library.custom_op("tinytale::attention_backward", mutates_args=())
def _backward(dy_BTC: Tensor, qkv_BTE: Tensor, y_BTC: Tensor, lse_BHT: Tensor, heads: int) -> Tensor:
    """The gradient of the packed queries, keys and values, from that of the mixed values."""
    inputs = [tensor.contiguous() for tensor in (dy_BTC, qkv_BTE, y_BTC, lse_BHT)]
    dqkv_BTE = torch.empty_like(inputs[1])
    pointers = [tensor.data_ptr() for tensor in (*inputs, dqkv_BTE)]
    if not _library().tinytale_attention_backward(*pointers, *_arguments(qkv_BTE, heads)):
        raise MemoryError("not enough memory for the gradient of attention")
    return dqkv_BTE


@_backward.register_fake
def _(dy_BTC: Tensor, qkv_BTE: Tensor, y_BTC: Tensor, lse_BHT: Tensor, heads: int) -> Tensor:
    return torch.empty_like(qkv_BTE, memory_format=torch.contiguous_format)


def _keep(ctx: Any, inputs: tuple, output: tuple) -> None:
    qkv_BTE, ctx.heads = inputs
    ctx.save_for_backward(qkv_BTE, *output)


def _differentiate(ctx: Any, dy_BTC: Tensor, _: Tensor) -> tuple[Tensor, None]:
    return _backward(dy_BTC, *ctx.saved_tensors, ctx.heads), None


_forward.register_autograd(_differentiate, setup_context=_keep)


def packed_attention(qkv_BTE: Tensor, heads: int) -> Tensor:
    """Causal multi-head attention (Vaswani et al., 2017, section 3.2) of what `takes` says yes to.

    Args:
        qkv_BTE: queries, keys and values side by side, each with its heads side by side.
        heads: how many there are; the head size is C / heads.

    Returns the heads' mixed values side by side, (B, T, C). The same bits on any number of threads.
    """
    return _forward(qkv_BTE, heads)[0]
