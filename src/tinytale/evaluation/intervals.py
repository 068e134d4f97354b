"""How sure a figure over stories is, given that there are no more of them. Shapes: S stories."""

import math
import random
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Num

Z = 1.96
"""Standard errors on either side of a 95% interval."""
HALVES = 100
"""Random halves that the error of a figure about a whole set is taken from."""

Interval = tuple[float, float]


def ratio_and_error(parts_S: Num[np.ndarray, " S"], wholes_S: Num[np.ndarray, " S"]) -> tuple[float, float]:
    r"""The ratio of two sums over stories, and its standard error, that of a ratio estimator (Cochran, 1977, 6.3).

    $$r = \frac{\sum x_i}{\sum y_i}, \qquad
    \mathrm{se} = \frac{1}{\sum y_i}\sqrt{\tfrac{S}{S-1}\textstyle\sum (x_i - r y_i)^2}$$

    Of one story the error is NaN: how far stories differ cannot be seen in it.
    """
    whole, stories = wholes_S.sum(), len(parts_S)
    ratio = parts_S.sum() / whole
    if stories < 2:
        return float(ratio), math.nan
    spread = np.square(parts_S - ratio * wholes_S).sum() * stories / (stories - 1)
    return float(ratio), math.sqrt(spread) / float(whole)


def half_sample_error(statistic: Callable[[Sequence[int]], float], stories: int, seed: int = 0) -> float:
    r"""The relative standard error of a figure about a whole set, such as how many of its words are distinct.

    It is the spread among random halves (the delete-half jackknife: Shao & Wu, 1989). A bootstrap would put stories
    into the set twice, and a set with copies is no example of a diverse one. `statistic` gets the numbers of the
    stories that it is of. Of one story the error is NaN.
    """
    if stories < 2:
        return math.nan
    draw, half = random.Random(seed), stories // 2
    values = np.array([statistic(sorted(draw.sample(range(stories), half))) for _ in range(HALVES)])
    return float(values.std(ddof=1) / values.mean() * math.sqrt(half / (stories - half))) if values.mean() else 0.0


def interval(value: float, error: float, least: float = -math.inf, most: float = math.inf) -> Interval | None:
    """The 95% interval of a figure with this standard error, within what it can be; None if the error is not known."""
    return None if math.isnan(error) else (max(least, value - Z * error), min(most, value + Z * error))


def share_interval(share: float, error: float, stories: int) -> Interval:
    r"""The 95% interval of a share: Wilson's (1927), which stays within 0 and 1 and has a width at 0 and 1 as well.

    For n independent yes-or-no answers its ends are

    $$\frac{p + \frac{z^2}{2n} \pm z\sqrt{\frac{p(1-p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}$$

    What a story says is not independent of what else it says, so n is the effective number $p(1-p)/\mathrm{se}^2$ of
    answers (Dean & Pagano, 2015); where the stories show no error, all alike or one alone, it is that of the stories.
    """
    n = share * (1 - share) / error**2 if error > 0 and 0 < share < 1 else stories
    middle, spread = share + Z**2 / (2 * n), Z * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    whole = 1 + Z**2 / n
    return max(0.0, (middle - spread) / whole), min(1.0, (middle + spread) / whole)


def figure(value: float, error: float, most: float = math.inf) -> dict[str, Any]:
    """A figure as results hold it, with its 95% interval, within 0 and the `most` that it can be."""
    return {"value": value, "interval_95": interval(value, error, 0.0, most)}


def share(
    parts: Sequence[float | int], wholes: Sequence[int] | None = None, groups: Sequence[Hashable] | None = None
) -> dict[str, Any] | None:
    """The share that the parts are of the wholes, all stories together, as a figure; None if there is no whole.

    Without `wholes`, the parts are shares themselves, or yes and no, one a story. `groups` says which stories have the
    same beginning: those of a group are no independent witnesses, and count as one story to the interval.
    """
    parts_S, wholes_S = np.array(parts, float), np.ones(len(parts)) if wholes is None else np.array(wholes, float)
    if groups is not None:
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        group_S = [numbers[group] for group in groups]
        parts_S, wholes_S = np.bincount(group_S, parts_S), np.bincount(group_S, wholes_S)
    if not wholes_S.sum():
        return None
    value, error = ratio_and_error(parts_S, wholes_S)
    return {"value": value, "interval_95": share_interval(value, error, int(np.count_nonzero(wholes_S)))}


def overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two intervals have a number in common."""
    return one[1] >= other[0] and other[1] >= one[0]


def ends_text(ends: Sequence[float] | None, form: str, between: str = "–") -> str:
    """An interval for a person."""
    return "no interval" if ends is None else f"{ends[0]:{form}}{between}{ends[1]:{form}}"
