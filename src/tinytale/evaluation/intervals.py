"""How sure a figure over stories is, given that there are no more of them. Shapes: S stories."""

import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Num

HALVES = 100
"""Random halves that the error of a figure about a whole set is taken from."""


def ratio_and_error(parts_S: Num[np.ndarray, " S"], wholes_S: Num[np.ndarray, " S"]) -> tuple[float, float]:
    r"""The ratio of two sums over stories, and its standard error, that of a ratio estimator (Cochran, 1977, 6.3).

    $$r = \frac{\sum x_i}{\sum y_i}, \qquad
    \mathrm{se} = \frac{1}{\sum y_i}\sqrt{\tfrac{S}{S-1}\textstyle\sum (x_i - r y_i)^2}$$
    """
    whole, stories = wholes_S.sum(), len(parts_S)
    ratio = parts_S.sum() / whole
    spread = np.square(parts_S - ratio * wholes_S).sum() * stories / max(1, stories - 1)
    return float(ratio), math.sqrt(spread) / float(whole)


def half_sample_error(statistic: Callable[[Sequence[int]], float], stories: int, seed: int = 0) -> float:
    r"""The relative standard error of a figure about a whole set, such as how many of its words are distinct.

    It is the spread among random halves (the delete-half jackknife: Shao & Wu, 1989). A bootstrap would put stories
    into the set twice, and a set with copies is no example of a diverse one. `statistic` gets the numbers of the
    stories that it is of.
    """
    if stories < 2:
        return 0.0
    draw, half = random.Random(seed), stories // 2
    values = np.array([statistic(sorted(draw.sample(range(stories), half))) for _ in range(HALVES)])
    return float(values.std(ddof=1) / values.mean() * math.sqrt(half / (stories - half))) if values.mean() else 0.0


def figure(value: float, error: float, most: float = math.inf) -> dict[str, Any]:
    """A figure as results hold it, with its 95% interval, within 0 and the `most` that it can be."""
    return {"value": value, "interval_95": (max(0.0, value - 1.96 * error), min(most, value + 1.96 * error))}


def share(parts: Sequence[float | int], wholes: Sequence[int] | None = None) -> dict[str, Any] | None:
    """The share that the parts are of the wholes, all stories together, as a figure; None if there is no whole.

    Without `wholes`, the parts are shares themselves, or yes and no, one a story.
    """
    wholes_S = np.ones(len(parts)) if wholes is None else np.array(wholes, float)
    return figure(*ratio_and_error(np.array(parts, float), wholes_S), most=1.0) if wholes_S.sum() else None
