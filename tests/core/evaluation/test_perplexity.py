import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tinytale.config import ModelConfig
from tinytale.errors import TaleError
from tinytale.evaluation import perplexity
from tinytale.evaluation.perplexity import (
    nats_from_story_starts,
    nats_in_windows,
    story_bounds,
    story_windows,
    summarise,
)
from tinytale.model.gpt2 import GPT2

END, VOCABULARY = 4, 19


def tiny(context_length: int) -> GPT2:
    torch.manual_seed(context_length)
    model = GPT2(ModelConfig(vocab_size=VOCABULARY, context_length=context_length, layers=2, heads=2, width=8)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return model


def stream_of(lengths: list[int]) -> np.ndarray:
    """Stories of these many tokens, between ends of text."""
    random = np.random.default_rng(sum(lengths))
    stories = [np.append(random.integers(5, VOCABULARY, length), END) for length in lengths]
    return np.concatenate([[END], *stories]).astype(np.uint16)


def surprise(model: GPT2, context: np.ndarray, target: int) -> float:
    with torch.no_grad():
        logits_V = model(torch.tensor([context.tolist()]))[0, -1]
    return -logits_V.log_softmax(-1)[target].item()


def stories_one_token_at_a_time(model: GPT2, stream_N: np.ndarray) -> np.ndarray:
    """Every story by itself, every position by itself; the context slides by half when a position does not fit."""
    context_length = model.config.context_length
    nats_N, bounds = np.zeros(len(stream_N)), np.flatnonzero(stream_N == END)
    for opening, closing in pairwise(bounds):
        start = opening
        for target in range(opening + 1, closing + 1):
            while target - start > context_length:
                start += max(1, context_length // 2)
            nats_N[target] = surprise(model, stream_N[start:target], stream_N[target])
    return nats_N


@pytest.mark.parametrize("context_length", [1, 2, 5, 8, 64])
@pytest.mark.parametrize("batch_tokens", [1, 20, 8192])
def test_stories_from_their_start_are_a_plain_loop(context_length: int, batch_tokens: int, monkeypatch):
    monkeypatch.setattr(perplexity, "BATCH_TOKENS", batch_tokens)
    model, stream_N = tiny(context_length), stream_of([3, 1, 30, 7, 8, 9, 5])
    found = nats_from_story_starts(model, stream_N, story_bounds(stream_N, END))
    np.testing.assert_allclose(found, stories_one_token_at_a_time(model, stream_N), rtol=0, atol=1e-5)


@pytest.mark.parametrize("context_length", [1, 2, 5, 8, 64, 69])
@pytest.mark.parametrize("batch_tokens", [1, 20, 8192])
def test_windows_are_a_plain_loop(context_length: int, batch_tokens: int, monkeypatch):
    monkeypatch.setattr(perplexity, "BATCH_TOKENS", batch_tokens)
    model, stream_N = tiny(context_length), stream_of([3, 1, 30, 7, 8, 9, 5])
    expected = [
        surprise(model, stream_N[(target - 1) // context_length * context_length : target], stream_N[target])
        for target in range(1, len(stream_N))
    ]
    np.testing.assert_allclose(nats_in_windows(model, stream_N)[1:], expected, rtol=0, atol=1e-5)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 12))
def test_every_target_of_every_story_is_scored_once_with_enough_to_look_back_on(
    lengths: list[int], context_length: int
):
    bounds = np.cumsum([0, *(length + 1 for length in lengths)])
    scored = []
    for window in story_windows(bounds, context_length):
        opening = bounds[np.searchsorted(bounds, window.first_target) - 1]
        assert opening <= window.start < window.first_target <= window.end <= window.start + context_length
        assert window.first_target - window.start > min(context_length // 2, window.first_target - opening - 1)
        scored += range(window.first_target, window.end + 1)
    assert scored == list(range(1, bounds[-1] + 1))


@pytest.mark.parametrize("view", ["stories", "windows"])
def test_progress_counts_every_target_once(view: str):
    model, stream_N, heard = tiny(8), stream_of([3, 1, 30, 7]), []
    if view == "stories":
        nats_from_story_starts(model, stream_N, story_bounds(stream_N, END), heard.append)
    else:
        nats_in_windows(model, stream_N, heard.append)
    assert sum(heard) == len(stream_N) - 1


def test_what_fills_up_a_batch_never_counts(monkeypatch):
    model, stream_N = tiny(16), stream_of([3, 15, 7])
    bounds = story_bounds(stream_N, END)
    expected = nats_from_story_starts(model, stream_N, bounds)
    full = torch.full
    for filling in (0, 7, 18):
        monkeypatch.setattr(torch, "full", lambda shape, value, filling=filling, **rest: full(shape, filling, **rest))
        np.testing.assert_array_equal(nats_from_story_starts(model, stream_N, bounds), expected)


@pytest.mark.parametrize("stream", [[], [END], [5, END], [END, 5], [5, 6]])
def test_a_stream_without_a_story_is_refused(stream: list[int]):
    with pytest.raises(TaleError, match="no story to score"):
        story_bounds(np.array(stream, dtype=np.int64), END)


def test_the_score_by_hand():
    bounds = np.array([0, 2, 5])
    nats_N = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    bytes_N = np.array([0, 4, 0, 3, 3, 0])
    score = summarise(nats_N, bounds, bytes_N)
    assert score.loss == 15 / 5
    assert score.perplexity == pytest.approx(math.exp(3))
    assert score.bits_per_byte == pytest.approx(15 / math.log(2) / 10)
    ratio = 15 / 10
    error = math.sqrt(2 / 1 * ((3 - ratio * 4) ** 2 + (12 - ratio * 6) ** 2)) / 10
    assert score.interval_95 == pytest.approx(
        ((ratio - 1.96 * error) / math.log(2), (ratio + 1.96 * error) / math.log(2))
    )


def test_the_interval_is_that_of_a_bootstrap_over_stories():
    random = np.random.default_rng(0)
    tokens_S = random.integers(20, 200, 400)
    bounds = np.concatenate([[0], np.cumsum(tokens_S)])
    bytes_N = np.append(0, random.integers(1, 8, bounds[-1]))
    nats_N = np.append(0, random.gamma(1.0, np.repeat(random.uniform(0.5, 2.5, 400), tokens_S)))
    low, high = summarise(nats_N, bounds, bytes_N).interval_95

    nats_S, bytes_S = (np.add.reduceat(array, bounds[:-1] + 1) for array in (nats_N, bytes_N))
    picks = random.integers(400, size=(4000, 400))
    ratios = nats_S[picks].sum(1) / bytes_S[picks].sum(1) / math.log(2)
    expected_low, expected_high = np.quantile(ratios, [0.025, 0.975])
    assert low == pytest.approx(expected_low, abs=0.1 * (high - low))
    assert high == pytest.approx(expected_high, abs=0.1 * (high - low))


def test_one_story_has_no_spread_to_measure():
    score = summarise(np.array([0.0, 1.0, 2.0]), np.array([0, 2]), np.array([0, 3, 0]))
    assert score.loss == 1.5


def one_forward_pass_a_story(model: GPT2, stream_N: np.ndarray) -> float:
    """The mean over all targets, of stories that fit into the context, without a batch or a window."""
    nats = tokens = 0
    for opening, closing in pairwise(np.flatnonzero(stream_N == END)):
        story_T = torch.tensor(stream_N[opening : closing + 1].astype(np.int64))
        with torch.no_grad():
            nats += torch.nn.functional.cross_entropy(model(story_T[None, :-1])[0], story_T[1:], reduction="sum").item()
        tokens += len(story_T) - 1
    return nats / tokens


def ours(model: GPT2, stream_N: np.ndarray) -> float:
    bounds = story_bounds(stream_N, END)
    return summarise(nats_from_story_starts(model, stream_N, bounds), bounds, np.ones(len(stream_N))).loss


def with_pads_scored(model: GPT2, stream_N: np.ndarray) -> float:
    """Planted: a batch is filled up with ends of text, and these are scored with the rest."""
    stories = [torch.tensor(stream_N[a : b + 1].astype(np.int64)) for a, b in pairwise(np.flatnonzero(stream_N == END))]
    tokens_BT = torch.nn.utils.rnn.pad_sequence(stories, batch_first=True, padding_value=END)
    with torch.no_grad():
        logits_BTV = model(tokens_BT[:, :-1])
    return torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), tokens_BT[:, 1:].flatten()).item()


def with_overlaps_scored_twice(model: GPT2, stream_N: np.ndarray) -> float:
    """Planted: a long story slides on by half a context, and every window is scored whole."""
    context_length, losses = model.config.context_length, []
    for opening, closing in pairwise(np.flatnonzero(stream_N == END)):
        for start in range(opening, closing, context_length // 2):
            window_T = torch.tensor(stream_N[start : min(start + context_length, closing) + 1].astype(np.int64))
            with torch.no_grad():
                logits_TV = model(window_T[None, :-1])[0]
            losses += torch.nn.functional.cross_entropy(logits_TV, window_T[1:], reduction="none").tolist()
    return sum(losses) / len(losses)


def test_a_perplexity_with_pads_is_another_than_ours_and_than_that_of_each_story_alone():
    model, stream_N = tiny(64), stream_of([3, 1, 30, 7, 8, 9, 5])
    assert ours(model, stream_N) == pytest.approx(one_forward_pass_a_story(model, stream_N), abs=1e-5)
    assert abs(with_pads_scored(model, stream_N) - ours(model, stream_N)) > 0.01


def test_a_perplexity_with_tokens_scored_twice_is_another_than_ours_and_than_that_of_each_token_alone():
    model, stream_N = tiny(8), stream_of([3, 1, 30, 7, 50, 9, 5])
    alone_N = stories_one_token_at_a_time(model, stream_N)
    assert ours(model, stream_N) == pytest.approx(alone_N[1:].mean(), abs=1e-5)
    assert abs(with_overlaps_scored_twice(model, stream_N) - ours(model, stream_N)) > 0.01
