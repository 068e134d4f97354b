"""The native choice against the samplers that it stands for, on every set of instructions that it is written for."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tinytale.generation import native_choice as native
from tinytale.generation.decoding import random_numbers
from tinytale.generation.sampling import compose, min_p, most_likely, temperature, top_k, top_p
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
    """The choice as it is built for the best of this CPU, and for less."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", request.param)
    native._load.cache_clear()
    yield
    native._load.cache_clear()


def logits_of(vocabulary: int, spread: float, seed: int) -> Tensor:
    return spread * torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) - 3


def chosen(logits_V: Tensor, number: float, **settings: float) -> int:
    return native.choose(logits_V[None], [native.Settings(**settings)], [number])[0]


@NEEDS
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_each_draw_is_the_one_that_the_samplers_give(settings: dict, instructions):
    numbers = random_numbers(7, 0)
    sampler = compose(*(SAMPLERS[name](value) for name, value in {"temperature": 1.0, **settings}.items()))
    for vocabulary, spread in [(1, 1.0), (7, 1.0), (300, 0.01), (300, 4.0), (4096, 2.0), (4099, 40.0)]:
        for seed in range(12):
            logits_V, number = logits_of(vocabulary, spread, seed), next(numbers)
            token = chosen(logits_V, number, **settings)
            probabilities_V = sampler(logits_V).double().softmax(dim=-1)
            up_to_V = probabilities_V.cumsum(dim=-1)
            assert probabilities_V[token] > 0
            assert up_to_V[token] - probabilities_V[token] - ROUNDING <= number <= up_to_V[token] + ROUNDING


@NEEDS
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_least_and_the_greatest_number_draw_the_first_and_the_last_that_is_left(settings: dict, instructions):
    sampler = compose(*(SAMPLERS[name](value) for name, value in {"temperature": 1.0, **settings}.items()))
    for vocabulary in (1, 63, 64, 65, 4099):
        logits_V = logits_of(vocabulary, 1.0, vocabulary)
        left = (sampler(logits_V).softmax(dim=-1) > 1e-30).nonzero().flatten().tolist()
        assert chosen(logits_V, 0.0, **settings) == left[0]
        assert chosen(logits_V, 1 - 2**-53, **settings) == left[-1]


@NEEDS
@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"top_k": 2}, {1, 3, 4}), ({"top_p": 0.6}, {1, 3}), ({"min_p": 0.5}, {1, 3, 4}), ({"top_p": 0.3}, {1})],
    ids=str,
)
def test_tokens_that_tie_are_kept_as_the_samplers_keep_them(settings: dict, kept: set[int], instructions):
    logits_V, numbers = torch.tensor([-2.0, 1.0, -1.0, 1.0, 1.0, -torch.inf]), random_numbers(0, 0)
    drawn = {chosen(logits_V, next(numbers), **settings) for _ in range(200)}
    [(name, value)] = settings.items()
    assert drawn == kept == set(SAMPLERS[name](value)(logits_V).isfinite().nonzero().flatten().tolist())


@NEEDS
def test_a_greedy_text_takes_the_first_of_the_most_likely_whatever_the_number(instructions):
    for vocabulary in (1, 9, 4099):
        logits_V = logits_of(vocabulary, 1.0, 0)
        logits_V[vocabulary // 2] = logits_V[vocabulary - 1] = 50.0
        assert chosen(logits_V, 0.99, greedy=True) == vocabulary // 2 == most_likely(logits_V)


@NEEDS
@pytest.mark.parametrize("vocabulary", [1, 300, 4099])
def test_a_text_among_others_is_given_what_it_is_given_alone(vocabulary: int, instructions):
    settings, numbers = [{"greedy": True}, *SETTINGS], random_numbers(1, 0)
    logits_BV = torch.stack([logits_of(vocabulary, 3.0, seed) for seed in range(len(settings))])
    drawn = [next(numbers) for _ in settings]
    together = native.choose(logits_BV, [native.Settings(**each) for each in settings], drawn)
    alone = [
        chosen(logits_V, number, **each) for logits_V, number, each in zip(logits_BV, drawn, settings, strict=True)
    ]
    assert together == alone and (vocabulary == 1 or len(set(together)) > 5)


@NEEDS
def test_a_strided_matrix_is_read_as_it_is():
    logits_VB, settings = torch.randn(50, 3), [native.Settings()] * 3
    numbers = [0.2, 0.5, 0.8]
    assert native.choose(logits_VB.T, settings, numbers) == native.choose(logits_VB.T.clone(), settings, numbers)


@NEEDS
def test_the_log_of_the_sum_is_torchs_in_double(instructions):
    for vocabulary, spread in [(1, 1.0), (7, 100.0), (300, 0.01), (4099, 4.0), (50257, 30.0)]:
        logits_V = logits_of(vocabulary, spread, vocabulary)
        assert native.log_sum_exp(logits_V) == pytest.approx(logits_V.double().logsumexp(-1).item(), abs=1e-6)
        assert native.log_sum_exp(logits_V) >= logits_V.max()  # no log-probability is above 0


def test_without_a_compiler_there_is_none(monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise UnavailableError("no compiler")

    native._load.cache_clear()
    monkeypatch.setattr(native, "library", fail)
    assert not native.available()
    native._load.cache_clear()
