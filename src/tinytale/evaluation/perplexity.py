"""Perplexity and bits per byte of a token stream: every token scored once, pads never.

A stream is `<|endoftext|> story <|endoftext|> story ... <|endoftext|>`, N tokens long: each story is opened by the
token that closes the one before. Letters of shapes: N tokens of the stream, S stories, B batch, T positions.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from tinytale.errors import TaleError
from tinytale.evaluation.intervals import Interval, interval, ratio_and_error
from tinytale.model.gpt2 import GPT2
from tinytale.training.loss import token_nats, windows

BATCH_TOKENS = 8192


class Window(NamedTuple):
    """A stretch of the stream that the model reads at once, and the part of it that is scored."""

    start: int
    """Index of the first token that the model reads."""
    end: int
    """Index of the last target; the model reads up to the token before it."""
    first_target: int
    """Index of the first target that is scored here; those before it were scored in the window before."""


def story_bounds(stream_N: np.ndarray, end_of_text: int) -> np.ndarray:
    """Indices of the S + 1 end-of-text tokens that open and close the S stories of a stream.

    Raises:
        TaleError: the stream does not begin and end with an end-of-text token, or holds no story.
    """
    bounds = np.flatnonzero(stream_N == end_of_text)
    if len(bounds) < 2 or bounds[0] != 0 or bounds[-1] != len(stream_N) - 1:
        raise TaleError("there is no story to score: expected tokens that begin and end with <|endoftext|>")
    return bounds


def story_windows(bounds: np.ndarray, context_length: int) -> Iterator[Window]:
    """Each story from its start; one longer than the context slides on by half a context.

    The targets of a story are all of its tokens and its closing end-of-text; its opening one is only context.
    """
    stride = max(1, context_length // 2)
    for opening, closing in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        start, scored = opening, opening
        while scored < closing:
            end = min(start + context_length, closing)
            yield Window(start, end, scored + 1)
            start, scored = start + stride, end


@torch.inference_mode()
def nats_from_story_starts(
    model: GPT2, stream_N: np.ndarray, bounds: np.ndarray, advance: Callable[[int], None] = lambda tokens: None
) -> np.ndarray:
    """How surprising each token of the stream is, in nats (N, float64), when every story is read from its own start.

    Windows of like length ride together; the shorter ones are filled up on the right, where causal attention cannot
    look, and the filling is never scored. `advance` hears how many tokens have been scored.
    """
    nats_N = np.zeros(len(stream_N))
    ordered = sorted(story_windows(bounds, model.config.context_length), key=lambda window: window.end - window.start)
    while ordered:
        longest = ordered[-1].end - ordered[-1].start
        rows = max(1, BATCH_TOKENS // longest)
        batch = ordered[-rows:]
        del ordered[-rows:]
        tokens_BT = torch.full((len(batch), longest + 1), int(stream_N[0]), dtype=torch.int64)
        for row, window in enumerate(batch):
            piece = np.asarray(stream_N[window.start : window.end + 1], dtype=np.int64)
            tokens_BT[row, : len(piece)] = torch.from_numpy(piece)
        tokens_BT = tokens_BT.to(model.device)
        nats_BT = token_nats(model(tokens_BT[:, :-1]), tokens_BT[:, 1:]).cpu().numpy()
        for nats_T, window in zip(nats_BT, batch, strict=True):
            skipped = window.first_target - window.start - 1
            scored = nats_T[skipped : window.end - window.start]
            nats_N[window.first_target : window.end + 1] = scored
            advance(len(scored))
    return nats_N


@torch.inference_mode()
def nats_in_windows(
    model: GPT2, stream_N: np.ndarray, advance: Callable[[int], None] = lambda tokens: None
) -> np.ndarray:
    """How surprising each token of the stream is, in nats (N, float64), in contiguous windows one context long.

    A window begins wherever the last one ended, mid-story too: the field's usual "validation loss".
    """
    nats_N = np.zeros(len(stream_N))
    position = 1
    context_length = model.config.context_length
    for inputs_BT, targets_BT in windows(stream_N, context_length, max(1, BATCH_TOKENS // context_length)):
        nats = token_nats(model(inputs_BT.to(model.device)), targets_BT.to(model.device)).flatten().cpu().numpy()
        nats_N[position : position + len(nats)] = nats
        position += len(nats)
        advance(len(nats))
    return nats_N


@dataclass(frozen=True)
class Score:
    """A loss over stories, with the uncertainty that comes from there being no more of them."""

    loss: float
    """Mean nats a token."""
    perplexity: float
    """exp(loss); infinite where no number is large enough for it."""
    bits_per_byte: float
    """Nats / (ln 2 x UTF-8 bytes of the stories): comparable whatever the tokenizer."""
    interval_95: Interval | None
    """95% interval of the bits per byte over stories; None of one story."""


def summarise(nats_N: np.ndarray, bounds: np.ndarray, byte_lengths_N: np.ndarray) -> Score:
    r"""Loss, perplexity and bits per byte of a scored stream.

    Story $i$ cost $n_i$ nats and has $b_i$ bytes. The score is the ratio $r = \sum n_i / \sum b_i$, with the standard
    error of a ratio over S stories.

    `byte_lengths_N` are the raw bytes of each token; an end-of-text token has none.
    """
    nats_S = np.add.reduceat(nats_N, bounds[:-1] + 1)
    bytes_S = np.add.reduceat(byte_lengths_N, bounds[:-1] + 1)
    ratio, error = ratio_and_error(nats_S, bytes_S)
    loss = float(nats_S.sum() / (len(nats_N) - 1))
    bits, error = ratio / math.log(2), error / math.log(2)
    return Score(loss, perplexity_of(loss), bits, interval(bits, error))


def perplexity_of(loss: float) -> float:
    """The exponential of a loss in nats a token; infinite from where it has no number any more, near 709.8 nats."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
