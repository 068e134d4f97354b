"""The native draw against the samplers that it stands for, on every set of instructions that it is written for."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tinytale.generation.sampling import compose, min_p, temperature, top_k, top_p
from tinytale.native import draw as native
from tinytale.native.build import UnavailableError, compiler

NEEDS = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
SAMPLERS = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 1e-40},
    {"temperature": 50.0},
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 10**30},
    {"top_p": 1e-9},
    {"top_p": 0.5},
    {"top_p": 0.95},
    {"top_p": 1.0},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.02},
    {"temperature": 1.3, "top_k": 7, "top_p": 0.6},
]
ROUNDING = 2e-6
"""The most that a border between two tokens may lie elsewhere, as a probability."""


@pytest.fixture(params=["", "AVX2", "SSE41"], ids=["all", "AVX2", "portable"])
def instructions(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The draw as it is built for the best of this CPU, and for less."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", request.param)
    native._load.cache_clear()
    yield
    native._load.cache_clear()


def logits_of(vocabulary: int, spread: float, seed: int) -> Tensor:
    return spread * torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) - 3


@NEEDS
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_each_draw_is_the_one_that_the_samplers_give(settings: dict, instructions):
    generator, same = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
    sampler = compose(*(SAMPLERS[name](value) for name, value in {"temperature": 1.0, **settings}.items()))
    for vocabulary, spread in [(1, 1.0), (7, 1.0), (300, 0.01), (300, 4.0), (4096, 2.0), (4099, 40.0)]:
        for seed in range(12):
            logits_V = logits_of(vocabulary, spread, seed)
            token = native.draw(logits_V, generator, **settings)
            number = torch.rand((), generator=same, dtype=torch.float64).item()
            probabilities_V = sampler(logits_V).double().softmax(dim=-1)
            up_to_V = probabilities_V.cumsum(dim=-1)
            assert probabilities_V[token] > 0
            assert up_to_V[token] - probabilities_V[token] - ROUNDING <= number <= up_to_V[token] + ROUNDING


@NEEDS
@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"top_k": 2}, {1, 3, 4}), ({"top_p": 0.6}, {1, 3}), ({"min_p": 0.5}, {1, 3, 4}), ({"top_p": 0.3}, {1})],
    ids=str,
)
def test_tokens_that_tie_are_kept_as_the_samplers_keep_them(settings: dict, kept: set[int], instructions):
    logits_V, generator = torch.tensor([-2.0, 1.0, -1.0, 1.0, 1.0, -torch.inf]), torch.Generator().manual_seed(0)
    drawn = {native.draw(logits_V, generator, **settings) for _ in range(200)}
    [(name, value)] = settings.items()
    assert drawn == kept == set(SAMPLERS[name](value)(logits_V).isfinite().nonzero().flatten().tolist())


@NEEDS
def test_a_row_of_a_strided_matrix_is_read_as_it_is():
    logits_VB, generators = torch.randn(50, 3), [torch.Generator().manual_seed(1) for _ in range(2)]
    assert native.draw(logits_VB[:, 1], generators[0]) == native.draw(logits_VB[:, 1].clone(), generators[1])


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise UnavailableError("no compiler")

    native._load.cache_clear()
    monkeypatch.setattr(native, "library", fail)
    assert not native.available()
    native._load.cache_clear()
