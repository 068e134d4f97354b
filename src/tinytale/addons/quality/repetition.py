"""How much a story says again, and whether it has got into a loop. Shapes: N words of a story."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinytale.evaluation.intervals import share

LENGTHS = (1, 2, 3, 4)

LOOP_WORDS = 4
"""A loop says at least so many words again."""


def repetition(
    stories: Sequence[Sequence[str]], equal: Sequence[Sequence[str]], prompts: Sequence[str] | None = None
) -> dict[str, Any]:
    """Of stories as words: rep-1 to rep-4, each the mean over stories, and the share of stories with a loop.

    A longer story repeats more: `equal` are the stories as long as those that they are compared with, for rep-n.
    `prompts` is what the stories go on with, if anything.
    """
    figures: dict[str, Any] = {}
    begun = prompts or range(len(equal))
    for length in LENGTHS:
        long = [(story, prompt) for story, prompt in zip(equal, begun, strict=True) if len(story) >= length]
        shares = [repeated(story, length) for story, _ in long]
        figures[f"rep_{length}"] = share(shares, None, [prompt for _, prompt in long])
    return {**figures, "loops": share([has_loop(story) for story in stories], None, prompts)}


def repeated(words: Sequence[str], length: int) -> float:
    r"""The share of the runs of n words that came before in the same story.

    $$\text{rep-}n = 1 - \frac{|\text{distinct }n\text{-grams}|}{|n\text{-grams}|}$$

    (Welleck et al., 2020, "Neural text generation with unlikelihood training": seq-rep-n).
    """
    runs = [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
    return 1 - len(set(runs)) / len(runs)


def has_loop(words: Sequence[str]) -> bool:
    """Whether something is said twice in a row: a sentence or any run of four words or more, or a shorter run so often
    that four words are said again (a word five times, a pair three times).
    """
    numbers: dict[str, int] = {}
    words_N = np.array([numbers.setdefault(word, len(numbers)) for word in words], int)
    return any(
        _longest_run(words_N[period:] == words_N[:-period]) >= max(period, LOOP_WORDS)
        for period in range(1, len(words) // 2 + 1)
    )


def _longest_run(same: np.ndarray) -> int:
    """How many are true in a row."""
    breaks = np.flatnonzero(np.concatenate([[True], ~same, [True]]))
    return int(np.diff(breaks).max()) - 1
