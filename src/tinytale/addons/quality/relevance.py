"""Whether a continuation stays with its prompt: with its names, with what it is about, with the hero's pronoun.

Every figure stands beside the same with the prompts shuffled: how far the continuations go with the prompts of others,
every other one. A model that ignores its prompt gets the same from both. Several continuations may share a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tinytale.addons.quality.lexicon import Lexicon
from tinytale.evaluation.intervals import share

PRONOUNS = ({"he", "him", "his", "himself"}, {"she", "her", "hers", "herself"})
"""English."""

MEASURES = ("names_kept", "names_of_the_prompt", "objects_kept", "english_pronouns_kept")


@dataclass(frozen=True)
class _Features:
    """What is compared of a prompt or a continuation."""

    written: set[str]
    """Its words as they are written."""
    words: set[str]
    """Its words in small letters."""
    names: set[str]
    objects: set[str]
    pronouns: tuple[int, int]
    """How often it says he, and she."""


def relevance(prompts: Sequence[str], continuations: Sequence[str], lexicon: Lexicon) -> dict[str, Any]:
    """Four shares, each of its own prompt and with the prompts `shuffled`; None where nothing is to be kept.

    names_kept: of the names of the prompt, those that the continuation has.
    names_of_the_prompt: of the names of the continuation, those that the prompt has.
    objects_kept: of the words that the prompt is about, those that the continuation has.
    english_pronouns_kept: where the prompt speaks of he alone or she alone, the share of the same among the
        continuation's.
    """
    asked = {prompt: _features(prompt, lexicon) for prompt in prompts}
    told = [_features(continuation, lexicon) for continuation in continuations]
    counted = [{prompt: _kept(features, one) for prompt, features in asked.items()} for one in told]
    figures = {}
    for place, measure in enumerate(MEASURES):
        counts = [{prompt: measured[place] for prompt, measured in row.items()} for row in counted]
        own = [row.pop(prompt) for row, prompt in zip(counts, prompts, strict=True)]
        shuffled = [(sum(kept for kept, _ in row.values()), sum(of for _, of in row.values())) for row in counts]
        figures[measure] = {"own": _share(own, prompts), "shuffled": _share(shuffled, prompts)}
    return figures


def _features(text: str, lexicon: Lexicon) -> _Features:
    written = lexicon.words(text)
    words = [word.lower() for word in written]
    he, she = (sum(word in pronouns for word in words) for pronouns in PRONOUNS)
    return _Features(set(written), set(words), lexicon.names(text), lexicon.objects(text), (he, she))


def _kept(prompt: _Features, continuation: _Features) -> tuple[tuple[int, int], ...]:
    """For each measure: how much is kept, of how much."""
    he, she = prompt.pronouns
    heros = continuation.pronouns[0 if he else 1] if bool(he) != bool(she) else 0
    pronouns = sum(continuation.pronouns) if bool(he) != bool(she) else 0
    return (
        (len(prompt.names & continuation.written), len(prompt.names)),
        (len(prompt.names & continuation.names), len(continuation.names)),
        (len(prompt.objects & continuation.words), len(prompt.objects)),
        (heros, pronouns),
    )


def _share(counts: Sequence[tuple[int, int]], prompts: Sequence[str]) -> dict[str, Any] | None:
    return share([kept for kept, _ in counts], [of for _, of in counts], prompts)
