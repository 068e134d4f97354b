"""The next token of each text, chosen from its logits by our own code (`cpp/choice.cpp`): of all texts in one call.

Letters of shapes: B texts, V vocabulary.
"""

import ctypes
import math
import sys
from array import array
from collections.abc import Sequence
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.native.build import CPP, UnavailableError, library
from tinytale.native.instructions import BASE, choices

SOURCE = CPP / "choice.cpp"


@lru_cache(maxsize=1)
def _load() -> ctypes.CDLL | str:
    """The library, or why it cannot be had."""
    if sys.platform == "win32":
        return "it is not written for Windows"
    try:
        built = library(SOURCE, choices(BASE), holds_interpreter=True)
    except UnavailableError as reason:
        return str(reason)
    pointer, whole = ctypes.c_void_p, ctypes.c_long
    built.tinytale_choose.argtypes = [pointer, whole, whole, pointer, pointer, pointer]
    built.tinytale_choose.restype = None
    built.tinytale_log_sum_exp.argtypes = [pointer, whole]
    built.tinytale_log_sum_exp.restype = ctypes.c_double
    return built


def available() -> bool:
    """Whether it can be had here. The first call builds it."""
    return not isinstance(_load(), str)


class Settings(ctypes.Structure):
    """How the tokens of a text are chosen, as the code reads it. None leaves a sampler out; all have been checked."""

    _fields_ = (
        ("greedy", ctypes.c_int64),
        ("temperature", ctypes.c_float),
        ("top_k", ctypes.c_int64),
        ("top_p", ctypes.c_double),
        ("least_z", ctypes.c_double),
    )

    def __init__(
        self,
        greedy: bool = False,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
    ):
        super().__init__(
            greedy,
            max(temperature, 1e-30),  # as in generation/sampling.py: a normal float32
            min(top_k or 0, 2**62),
            1.0 if top_p is None else top_p,
            math.log(min_p) if min_p else -math.inf,
        )
        self.address = ctypes.addressof(self)


def choose(logits_BV: Float[Tensor, "B V"], settings: Sequence[Settings], randoms: Sequence[float]) -> list[int]:
    """What `generation/sampling.py` chooses after the same samplers with the same random numbers, up to rounding.

    The logits are finite float32 numbers on the CPU. A greedy text has a random number too, which does not count.
    """
    assert logits_BV.dtype == torch.float32 and logits_BV.is_cpu
    assert len(settings) == len(randoms) == logits_BV.shape[0]
    built = _load()
    assert not isinstance(built, str)
    logits_BV = logits_BV.contiguous()  # here and below: held by a name while it is read
    addresses, numbers = array("Q", [one.address for one in settings]), array("d", randoms)
    tokens = array("q", bytes(8 * len(settings)))
    pointers = [each.buffer_info()[0] for each in (addresses, numbers, tokens)]
    built.tinytale_choose(logits_BV.data_ptr(), *logits_BV.shape, *pointers)
    return tokens.tolist()


def log_sum_exp(logits_V: Float[Tensor, " V"]) -> float:
    """What the logits have to be lowered by to be log-probabilities, up to rounding in float32."""
    assert logits_V.dtype == torch.float32 and logits_V.is_cpu
    built = _load()
    assert not isinstance(built, str)
    logits_V = logits_V.contiguous()
    return built.tinytale_log_sum_exp(logits_V.data_ptr(), logits_V.shape[0])
