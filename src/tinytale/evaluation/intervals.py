"""How sure a ratio over stories is, given that there are no more of them. Shapes: S stories."""

import math

import numpy as np
from jaxtyping import Num


def ratio_and_error(parts_S: Num[np.ndarray, " S"], wholes_S: Num[np.ndarray, " S"]) -> tuple[float, float]:
    r"""The ratio of two sums over stories, and its standard error, that of a ratio estimator (Cochran, 1977, 6.3).

    $$r = \frac{\sum x_i}{\sum y_i}, \qquad
    \mathrm{se} = \frac{1}{\sum y_i}\sqrt{\tfrac{S}{S-1}\textstyle\sum (x_i - r y_i)^2}$$
    """
    whole, stories = wholes_S.sum(), len(parts_S)
    ratio = parts_S.sum() / whole
    spread = np.square(parts_S - ratio * wholes_S).sum() * stories / max(1, stories - 1)
    return float(ratio), math.sqrt(spread) / float(whole)
