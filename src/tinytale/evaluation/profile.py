"""Where in a story a model is surprised, and by stories of which length. Shapes: N tokens of the stream, S stories."""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from tinytale.evaluation.intervals import figure, ratio_and_error

POSITIONS = (1, 2, 5, 17, 65, 257, 1025)
"""First positions of the ranges of positions; 1 is a story's first token."""

LENGTHS = (1, 65, 129, 257, 513, 1025)
"""First lengths of the ranges of lengths, in tokens, the closing end of text counted."""


def profile(nats_N: Float64[np.ndarray, " N"], bounds: Int64[np.ndarray, " _"]) -> dict[str, Any]:
    """The loss, in nats a token, by position in the story, of the closing end of text, and by length of the story.

    `nats_N` is what each token of the stream cost when every story was read from its start, `bounds` the places of the
    ends of text. Ranges without a token are left out.
    """
    lengths_S = np.diff(bounds)
    story_N = np.repeat(np.arange(len(lengths_S)), lengths_S)
    position_N = np.arange(1, len(nats_N)) - bounds[:-1][story_N]
    costs_N, closing_N = nats_N[1:], position_N == lengths_S[story_N]

    def losses(tokens_N: Bool[np.ndarray, " n"]) -> dict[str, Any]:
        counts_S = np.bincount(story_N[tokens_N], minlength=len(lengths_S))
        nats_S = np.bincount(story_N[tokens_N], weights=costs_N[tokens_N], minlength=len(lengths_S))
        met_S = counts_S > 0
        loss = figure(*ratio_and_error(nats_S[met_S], counts_S[met_S]))
        return {"stories": int(met_S.sum()), "tokens": int(counts_S.sum()), "loss": loss}

    def by(values_N: Int64[np.ndarray, " n"], firsts: tuple[int, ...]) -> dict[str, Any]:
        place_N = np.searchsorted(firsts, values_N, side="right") - 1
        return {_name(firsts, place): losses(place_N == place) for place in np.unique(place_N).tolist()}

    return {
        "by_position": by(position_N, POSITIONS),
        "closing_end_of_text": losses(closing_N),
        "by_length": by(lengths_S[story_N], LENGTHS),
    }


def _name(firsts: tuple[int, ...], place: int) -> str:
    if place + 1 == len(firsts):
        return f"{firsts[place]} or more"
    first, last = firsts[place], firsts[place + 1] - 1
    return str(first) if first == last else f"{first}-{last}"
