"""Our CPU attention against float64, beside torch's own kernel in the same number format."""

import math
import platform
import re
import sys

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tinytale.config import ModelConfig
from tinytale.model import native_attention as attention
from tinytale.model.attention import textbook_attention
from tinytale.model.gpt2 import GPT2
from tinytale.model.native_attention import Kernel, describe, packed_attention, ready, takes
from tinytale.native import instructions

PC = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the kernel is only looked for on Linux on x86-64"
)
NEEDS = pytest.mark.skipif(not ready(), reason=f"attention is {describe()}")

SHAPES = [  # batch, positions, heads, head size: whole blocks, tails in both, one position, long and wide
    (2, 256, 8, 32),
    (1, 512, 2, 64),
    (2, 96, 3, 64),
    (3, 33, 2, 64),
    (2, 31, 3, 16),
    (1, 100, 2, 80),
    (2, 65, 2, 12),
    (1, 48, 1, 5),
    (2, 1, 2, 32),
    (1, 300, 1, 128),
]


@pytest.fixture(params=["tiles", "vectors"])
def products(request, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to multiply, where the CPU has both."""
    kernel = attention._load()
    assert isinstance(kernel, Kernel)
    if request.param == "tiles" and not kernel.tiles:
        pytest.xfail("the CPU has no AMX tiles")
    monkeypatch.setattr(attention, "_load", lambda: kernel._replace(tiles=request.param == "tiles"))
    return request.param


def inputs(shape: tuple[int, int, int, int], seed: int) -> tuple[Tensor, Tensor]:
    """Packed queries, keys and values, and a gradient of the result, both bfloat16."""
    B, T, H, D = shape
    random = torch.Generator().manual_seed(seed)
    scale = 1 + seed % 3  # flat and sharp weights
    qkv_BTE = (scale * torch.randn(B, T, 3 * H * D, generator=random)).bfloat16()
    return qkv_BTE, torch.randn(B, T, H * D, generator=random).bfloat16()


def by(attend, qkv_BTE: Tensor, dy_BTC: Tensor, heads: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """The result and the gradient of the packed input, by an attention of separate heads."""
    packed = qkv_BTE.to(dtype).requires_grad_()
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in packed.chunk(3, -1))
    y_BTC = attend(q, k, v).transpose(1, 2).flatten(2)
    (gradient,) = torch.autograd.grad(y_BTC, packed, dy_BTC.to(dtype))
    return y_BTC.detach(), gradient


def ours(qkv_BTE: Tensor, dy_BTC: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    packed = qkv_BTE.clone().requires_grad_()
    y_BTC = packed_attention(packed, heads)
    (gradient,) = torch.autograd.grad(y_BTC, packed, dy_BTC)
    return y_BTC.detach(), gradient


def error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm().clamp_min(1e-30)).item()


@NEEDS
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_and_gradients_are_as_near_to_float64_as_those_of_torch(shape, products: str):
    def torchs(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    mine, theirs = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for seed in range(6):
        qkv_BTE, dy_BTC = inputs(shape, seed)
        exact = by(textbook_attention, qkv_BTE, dy_BTC, shape[2], torch.float64)
        for sums, found in (
            (mine, ours(qkv_BTE, dy_BTC, shape[2])),
            (theirs, by(torchs, qkv_BTE, dy_BTC, shape[2], torch.bfloat16)),
        ):
            sums += torch.tensor([error(*pair) for pair in zip(found, exact, strict=True)], dtype=torch.float64)
    assert (mine <= 1.02 * theirs + 1e-4).all(), (mine / 6, theirs / 6)
    assert (mine / 6 < 5e-3).all()


@NEEDS
def test_a_position_has_exactly_no_gradient_on_what_comes_later(products: str):
    qkv_BTE, dy_BTC = inputs((1, 70, 2, 16), seed=0)
    for t in (0, 15, 16, 31, 32, 68):
        only_t = torch.zeros_like(dy_BTC)
        only_t[:, t] = dy_BTC[:, t]
        _, gradient = ours(qkv_BTE, only_t, heads=2)
        assert gradient[:, t + 1 :].abs().max() == 0
        assert gradient[:, : t + 1].abs().sum() > 0


@NEEDS
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_stays_so_and_stays_where_it_is(bad: float, products: str):
    qkv_BTE, dy_BTC = inputs((2, 40, 2, 16), seed=1)
    qkv_BTE[0, 20, 32 + 3] = bad  # a key of the first head
    y_BTC, gradient = ours(qkv_BTE, dy_BTC, heads=2)
    expected, _ = by(textbook_attention, qkv_BTE, dy_BTC, 2, torch.float64)
    assert torch.equal(y_BTC.isfinite(), expected.isfinite())
    assert y_BTC[1].isfinite().all() and gradient[1].isfinite().all()
    assert not y_BTC[0].isfinite().all() and not gradient[0].isfinite().all()


@NEEDS
def test_the_number_of_threads_changes_nothing_to_the_bit(products: str):
    qkv_BTE, dy_BTC = inputs((3, 64, 4, 32), seed=2)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(ours(qkv_BTE, dy_BTC, heads=4))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for result in results for a, b in zip(result, results[0], strict=True))


@NEEDS
def test_inputs_that_do_not_lie_in_a_row_are_taken_too():
    qkv_BTE, dy_BTC = inputs((2, 32, 2, 16), seed=3)
    plain = ours(qkv_BTE, dy_BTC, heads=2)
    spread = ours(qkv_BTE.mT.contiguous().mT, dy_BTC.mT.contiguous().mT, heads=2)
    assert all(torch.equal(a, b) for a, b in zip(plain, spread, strict=True))


@NEEDS
def test_torch_finds_the_operators_well_formed():
    qkv_BTE, _ = inputs((1, 32, 2, 16), seed=4)
    torch.library.opcheck(attention._forward, (qkv_BTE.requires_grad_(), 2))


@NEEDS
@pytest.mark.parametrize("width", [16, 20])
def test_a_native_model_is_the_textbook_one_within_the_number_format(width: int, monkeypatch: pytest.MonkeyPatch):
    config = ModelConfig(vocab_size=31, context_length=48, layers=2, heads=2, width=width)
    textbook, native = GPT2(config, "textbook"), GPT2(config, "native")
    native.load_state_dict(textbook.state_dict())
    tokens_BT = torch.randint(31, (2, 40), generator=torch.Generator().manual_seed(0))
    calls, forward = [], attention._forward
    monkeypatch.setattr(attention, "_forward", lambda *a: (calls.append(a), forward(*a))[1])
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(native(tokens_BT), textbook(tokens_BT), rtol=2e-2, atol=2e-2)
    assert len(calls) == 2
    torch.testing.assert_close(native(tokens_BT), textbook(tokens_BT), rtol=0, atol=1e-5)  # float32 is torch's
    assert len(calls) == 2


@NEEDS
def test_what_the_kernel_does_not_take():
    qkv_BTE, _ = inputs((1, 8, 2, 16), seed=0)
    assert takes(qkv_BTE, 0.0)
    assert not takes(qkv_BTE, 0.1)
    assert not takes(qkv_BTE.float(), 0.0)
    assert not takes(qkv_BTE.to("meta"), 0.0)


@pytest.mark.parametrize(
    ("limit", "vectors", "tiles"),
    [
        ("AVX2", False, False),
        ("AVX512_CORE", False, False),
        ("AVX512_CORE_BF16", True, False),
        ("avx512_core_amx", True, True),
        ("DEFAULT", True, True),
        ("", True, True),
    ],
)
def test_onednns_own_switch_binds_our_kernel_too(limit: str, vectors: bool, tiles: bool, monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    every = {name for level in instructions.LEVELS.values() for name in level}
    monkeypatch.setattr(instructions, "processor_flags", lambda: every)
    assert ("avx512_bf16" in attention.allowed(), "amx_bf16" in attention.allowed()) == (vectors, tiles)


@pytest.fixture
def afresh():
    """The kernel is looked for anew, in the test and after it."""
    attention._load.cache_clear()
    yield
    attention._load.cache_clear()


@pytest.mark.parametrize(
    ("what", "value", "reason"),
    [
        (sys, "platform", "this is"),
        pytest.param(torch.cpu, "_is_avx512_bf16_supported", "the CPU has no AVX512-BF16", marks=PC),
        pytest.param(attention, "library", "there is no C\\+\\+ compiler", marks=PC),
    ],
    ids=["another system", "another CPU", "no compiler"],
)
def test_elsewhere_torchs_attention_runs_and_the_reason_is_told(
    what, value: str, reason: str, afresh: None, monkeypatch: pytest.MonkeyPatch
):
    from tinytale.native.build import UnavailableError

    def no_compiler(*_: object) -> None:
        raise UnavailableError("there is no C++ compiler")

    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(attention, "allowed", lambda: {"avx512_bf16": ""})
    replacement = {"platform": "darwin", "_is_avx512_bf16_supported": lambda: False, "library": no_compiler}[value]
    monkeypatch.setattr(what, value, replacement)
    assert not ready()
    assert re.match(f"torch's: .*{reason}", describe())
    model = GPT2(ModelConfig(vocab_size=7, context_length=8, layers=1, heads=1, width=4), "native")
    with torch.autocast("cpu", torch.bfloat16):
        assert model(torch.zeros(1, 8, dtype=torch.long)).isfinite().all()


@NEEDS
def test_memory_that_is_not_there_is_an_error_and_not_the_end_of_the_process(monkeypatch: pytest.MonkeyPatch):
    qkv_BTE = torch.zeros(1, 2, 48, dtype=torch.bfloat16, requires_grad=True)
    y_BTC = packed_attention(qkv_BTE, 1)
    long = [1, 2**40, 1, 16, 0, None, 1]  # B, T, H, D: 256 terabytes for a head
    monkeypatch.setattr(attention, "_arguments", lambda *_: long)
    with pytest.raises(MemoryError, match="memory for attention"):
        packed_attention(qkv_BTE, 1)
    with pytest.raises(MemoryError, match="memory for the gradient"):
        y_BTC.sum().backward()
