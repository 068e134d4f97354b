"""How much the stories of a set differ from one another. The figures depend on how much text there is, so sets are
brought to an equal size before they are compared.
"""

import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinytale.addons.survey.sequences import Unit
from tinytale.evaluation.intervals import figure, half_sample_error, ratio_and_error

LENGTHS = (1, 2, 3, 4)

Words = Sequence[str]


def silent(stories: int) -> None:
    """Whoever does not want to hear of progress."""


def of_equal_size(first: Sequence[Words], second: Sequence[Words]) -> tuple[list[Words], list[Words]]:
    """As many stories of both sets, with as many words: paired by length, of each pair the longer is cut."""
    count = min(len(first), len(second))
    pairs = zip(sorted(first[:count], key=len), sorted(second[:count], key=len), strict=True)
    cut = [(one[: len(other)], other[: len(one)]) for one, other in pairs]
    return [one for one, _ in cut], [other for _, other in cut]


def diversity(stories: Sequence[Words], unit: Unit, advance: Callable[[int], None] = silent) -> dict[str, Any]:
    """Of stories as words: distinct-1 to distinct-4, the compression ratio and self-BLEU. `advance` hears of each story
    whose BLEU is known.
    """
    blank = " " if unit == "word" else ""
    texts = [blank.join(story) for story in stories]
    figures: dict[str, Any] = {f"distinct_{length}": distinct(stories, length) for length in LENGTHS}
    return {**figures, "compression": compression(texts), "self_bleu": self_bleu(texts, unit, advance)}


def distinct(stories: Sequence[Words], length: int) -> dict[str, Any] | None:
    """distinct-n: the distinct runs of n words in the set over all of them (Li et al., 2016, "A diversity-promoting
    objective function for neural conversation models"). None if no story has n words.
    """
    runs = [[tuple(story[start : start + length]) for start in range(len(story) - length + 1)] for story in stories]
    sets = [set(of_story) for of_story in runs]

    def ratio(numbers: Sequence[int]) -> float:
        total = sum(len(runs[number]) for number in numbers)
        return len(set().union(*(sets[number] for number in numbers))) / total if total else 0.0

    if not any(runs):
        return None
    value = ratio(range(len(stories)))
    return figure(value, value * half_sample_error(ratio, len(stories)), most=1.0)


def compression(texts: Sequence[str]) -> dict[str, Any]:
    """The bytes of all texts over their bytes as gzip packs them: the higher, the more they repeat (Shaib et al., 2024,
    "Standardizing the measurement of text diversity").
    """

    def ratio(numbers: Sequence[int]) -> float:
        joined = "\n".join(texts[number] for number in numbers).encode("utf-8")
        return len(joined) / len(zlib.compress(joined, 9))

    value = ratio(range(len(texts)))
    return figure(value, value * half_sample_error(ratio, len(texts)))


def self_bleu(texts: Sequence[str], unit: Unit, advance: Callable[[int], None] = silent) -> dict[str, Any] | None:
    """The mean BLEU, from 0 to 100, of each text against all others: the higher, the more alike (Zhu et al., 2018,
    "Texygen"). None if there are no others. The interval is over the texts, the others held as they are.
    """
    from sacrebleu.metrics.bleu import BLEU

    if len(texts) < 2:
        return None
    metric = BLEU(tokenize="13a" if unit == "word" else "char", effective_order=True)
    scores = []
    for number, text in enumerate(texts):
        others = [*texts[:number], *texts[number + 1 :]]
        scores.append(metric.sentence_score(text, others).score)
        advance(1)
    return figure(*ratio_and_error(np.array(scores), np.ones(len(scores))), most=100.0)
