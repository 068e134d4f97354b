"""What is drawn after each sampler follows the distribution that a plain rendering in numpy gives.

Chi-square tests with fixed seeds; V is the vocabulary.
"""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tinytale.generation.choosing import choice_for
from tinytale.generation.decoding import Choice, Decoding, random_numbers

DRAWS = 1500
LEAST_P = 1e-4
TEXT = [5, 0, 2, 5]
LOGITS = {
    "mixed": [2.0, 1.0, 0.5, -0.3, -1.0, 1.4, 0.0, -2.0],
    "peaked": [-1.0, 4.0, 1.0, 2.5, -3.0, 2.0, -0.5, 0.1],
}


def softmax(logits_V: np.ndarray) -> np.ndarray:
    weights_V = np.exp(logits_V - logits_V.max())
    return weights_V / weights_V.sum()


def repetition_penalty(logits_V: np.ndarray, value: float) -> np.ndarray:
    return np.array(
        [(z / value if z > 0 else z * value) if token in TEXT else z for token, z in enumerate(logits_V.tolist())]
    )


def top_k(logits_V: np.ndarray, count: int) -> np.ndarray:
    ranked = np.sort(logits_V)[::-1]
    return np.where(logits_V >= ranked[count - 1], logits_V, -np.inf)


def top_p(logits_V: np.ndarray, mass: float) -> np.ndarray:
    probabilities_V, kept, total = softmax(logits_V), [], 0.0
    for token in np.argsort(-probabilities_V, kind="stable"):
        if total < mass:
            kept.append(token)
            total += probabilities_V[token]
    return np.where(np.isin(np.arange(len(logits_V)), kept), logits_V, -np.inf)


def min_p(logits_V: np.ndarray, share: float) -> np.ndarray:
    probabilities_V = softmax(logits_V)
    return np.where(probabilities_V >= share * probabilities_V.max(), logits_V, -np.inf)


PLAIN = {
    "repetition_penalty": repetition_penalty,
    "temperature": lambda logits_V, value: logits_V / value,
    "top_k": top_k,
    "top_p": top_p,
    "min_p": min_p,
}
"""In the order in which they apply."""

SETTINGS = [
    {},
    {"temperature": 0.6},
    {"temperature": 1.7},
    {"top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.15},
    {"repetition_penalty": 1.8},
    {"repetition_penalty": 0.6},
    {"repetition_penalty": 1.5, "temperature": 0.8, "top_k": 6, "top_p": 0.9, "min_p": 0.2},
    {"repetition_penalty": 1.5, "temperature": 1.5, "top_k": 4, "top_p": 0.6},
]


@pytest.mark.parametrize("choice", [Decoding.choice, choice_for], ids=["reference", "fastest"])
@pytest.mark.parametrize("logits", LOGITS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_draws_follow_the_plain_rendering(settings: dict, logits: str, choice: Callable[[Decoding], Choice]):
    logits_V = np.array(LOGITS[logits])
    for name, plain in PLAIN.items():
        if name in settings:
            logits_V = plain(logits_V, settings[name])
    expected_V = DRAWS * softmax(logits_V)

    choose, randoms, given_V = choice(Decoding(**settings)), random_numbers(0, 0), torch.tensor(LOGITS[logits])
    counts_V = np.bincount([choose(given_V, TEXT, randoms) for _ in range(DRAWS)], minlength=len(logits_V))
    possible = expected_V > 0
    assert not counts_V[~possible].any()
    chi_square = (np.square(counts_V - expected_V)[possible] / expected_V[possible]).sum()
    freedom = torch.tensor((possible.sum() - 1) / 2)
    p = torch.special.gammaincc(freedom, torch.tensor(chi_square / 2).float()).item() if freedom > 0 else 1.0
    assert p > LEAST_P
