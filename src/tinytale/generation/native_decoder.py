"""Next-token logits by our own CPU decoder (`cpp/decoder.cpp`): every layer in one call, keys and values kept inside.

Letters of shapes: B rows, V vocabulary.
"""

import ctypes
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, Protocol, runtime_checkable
from weakref import finalize

import torch
from jaxtyping import Float
from torch import Tensor

from tinytale.config import ModelConfig
from tinytale.errors import NotFiniteError, TaleError, UsageError
from tinytale.native.build import CPP, UnavailableError, library
from tinytale.native.instructions import BASE, allowed, choices

Precision = Literal["float32", "bfloat16", "int8"]

SOURCE = CPP / "decoder.cpp"
ONE_MEMORY = "-fno-strict-aliasing"
"""One piece of memory is read as numbers of several kinds."""
BITS = {"float32": 32, "bfloat16": 16, "int8": 8}


@runtime_checkable
class Model(Protocol):
    """What `NativeDecoder` needs of a GPT2, which lives in a room above."""

    config: ModelConfig

    def state_dict(self) -> Mapping[str, Any]: ...  # noqa: D102


@dataclass(frozen=True)
class Kernel:
    """The loaded library, and how it is to run."""

    library: ctypes.CDLL
    tiles: bool
    """Products on AMX tiles where that is faster."""
    parallel: int | None
    """Address of the OpenMP runtime's `GOMP_parallel`, so that the threads are torch's own; None: one thread."""
    team_size: int | None
    """Address of its `omp_get_num_threads`."""


@lru_cache(maxsize=1)
def _load() -> Kernel | str:
    """The kernel, or why it cannot be had."""
    if sys.platform == "win32":
        return "it is not written for Windows"
    wide = ("-mprefer-vector-width=512",) if "avx512f" in allowed() else ()
    try:
        built = library(SOURCE, choices((*BASE, ONE_MEMORY, *wide)))
    except UnavailableError as reason:
        return str(reason)
    pointer, whole = ctypes.c_void_p, ctypes.c_long
    built.tinytale_decoder_new.argtypes = [ctypes.c_int, pointer, ctypes.c_float, pointer, ctypes.c_int]
    built.tinytale_decoder_new.restype = pointer
    built.tinytale_decoder_delete.argtypes = [pointer]
    built.tinytale_decoder_run.argtypes = [pointer, pointer, whole, whole, pointer, pointer, pointer, whole]
    built.tinytale_decoder_copy.argtypes = [pointer, whole, whole]
    for name in ("delete", "copy"):
        getattr(built, f"tinytale_decoder_{name}").restype = None
    tiles = (
        bool(built.tinytale_decoder_tiles()) and {"amx_int8", "amx_bf16"} <= allowed().keys() and torch.cpu._init_amx()
    )
    process = ctypes.CDLL(None)
    runtime = [getattr(process, name, None) for name in ("GOMP_parallel", "omp_get_num_threads")]
    addresses = [ctypes.cast(function, pointer).value for function in runtime if function]
    return Kernel(built, tiles, *(addresses if len(addresses) == 2 else (None, None)))


def describe() -> str:
    """What tells the stories of a GPT-2 on this CPU, for a person."""
    kernel = _load()
    if isinstance(kernel, str):
        return f"torch's: {kernel}"
    return "our own, on AMX tiles" if kernel.tiles else "our own, on vectors"


def why_not(config: ModelConfig, weights: Mapping[str, Tensor] | None = None) -> str | None:
    """Why there is no native decoder for such a model, or for its weights; None if there is. The first call builds."""
    if config.norm != "pre" or config.positions != "learned":
        return "it is written for GPT-2 as published: norm before each sub-layer, learned positions"
    if weights is not None:
        known, found = parameters(config), {name: tuple(tensor.shape) for name, tensor in weights.items()}
        for name in [*known, *found]:
            if known.get(name) != found.get(name):
                return f"it knows {name} with shape {known.get(name)}, and the model has it with {found.get(name)}"
    kernel = _load()
    return kernel if isinstance(kernel, str) else None


def parameters(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter of GPT-2, in the order in which the decoder reads them."""
    C = config.width
    names = {"embedding.weight_VC": (config.vocab_size, C), "positions.weight_TC": (config.context_length, C)}
    names |= {"final_norm.gain_C": (C,), "final_norm.bias_C": (C,)}
    for layer in range(config.layers):
        block = f"blocks.{layer}."
        for norm, (first, second), inner in (
            ("norm1", ("attention.qkv", "attention.output"), (3 * C, C)),
            ("norm2", ("feed_forward.expand", "feed_forward.output"), (4 * C, 4 * C)),
        ):
            names |= {f"{block}{norm}.gain_C": (C,), f"{block}{norm}.bias_C": (C,)}
            names |= {f"{block}{first}.weight": (inner[0], C), f"{block}{first}.bias": (inner[0],)}
            names |= {f"{block}{second}.weight": (C, inner[1]), f"{block}{second}.bias": (C,)}
    return names


class NativeDecoder:
    """Computes next-token logits for some slots, each holding the keys and values of a text of its own length.

    A text's logits are the same to the bit whatever is decoded beside it, on any number of threads, and whether its
    tokens come at once or one by one. The weights are copied: later changes of the model do not reach the decoder.

    Args:
        model: a GPT2, on whatever device.
        slots: texts that can be held at a time.
        precision: of the weights and what they are multiplied with; int8 and bfloat16 keep keys and values in bfloat16.
        threads: default: as many as torch uses.

    Raises:
        TaleError: it cannot be built here (`why_not` tells before), or there is not enough memory.
    """

    def __init__(self, model: Model, slots: int, precision: Precision = "int8", threads: int | None = None):
        config, kernel, weights = model.config, _load(), model.state_dict()
        reason = why_not(config, weights)
        if reason or isinstance(kernel, str):
            raise TaleError(f"there is no native decoder: {reason}")
        assert slots >= 1 and (threads is None or threads >= 1)
        self.context_length, self.slots, self.precision = config.context_length, slots, precision
        self._vocab_size, self._threads, self._kernel = config.vocab_size, threads, kernel
        self._lengths = [0] * slots
        arrays = [_plain(weights[name]) for name in parameters(config)]
        pointers = (ctypes.c_void_p * len(arrays))(*(array.data_ptr() for array in arrays))
        shape = (config.vocab_size, config.context_length, config.layers, config.heads, config.width, slots)
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        self._handle = kernel.library.tinytale_decoder_new(
            BITS[precision], sizes, config.layer_norm_epsilon, pointers, int(kernel.tiles)
        )
        if not self._handle:
            raise TaleError(f"there is not enough memory for {slots} texts of {config.context_length} tokens at a time")
        finalize(self, kernel.library.tinytale_decoder_delete, self._handle)

    def prefill(self, slot: int, tokens: Sequence[int]) -> Float[Tensor, " V"]:
        """Empty the slot and read 1 to `context_length` tokens into it; the logits after the last.

        Raises:
            UsageError: too many tokens, or one that is not in the vocabulary.
            NotFiniteError: the model's numbers are not finite.
        """
        self._lengths[slot] = 0
        rows = [(slot, position, token) for position, token in enumerate(tokens)]
        return self._run(rows, wanted=1)[0]

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Float[Tensor, "B V"]:
        """Read one token more for each named slot; the logits after each.

        Raises:
            UsageError: a slot is full, or a token is not in the vocabulary.
            NotFiniteError: the model's numbers are not finite.
        """
        assert len(set(slots)) == len(slots)
        rows = [(slot, self._lengths[slot], token) for slot, token in zip(slots, tokens, strict=True)]
        return self._run(rows, wanted=len(rows))

    def copy(self, source: int, target: int) -> None:
        """Let a slot hold what another one holds; the text that it held is forgotten."""
        assert 0 <= source < self.slots and 0 <= target < self.slots
        self._kernel.library.tinytale_decoder_copy(self._handle, source, target)
        self._lengths[target] = self._lengths[source]

    def _run(self, rows: list[tuple[int, int, int]], wanted: int) -> Tensor:
        for slot, position, token in rows:
            assert 0 <= slot < self.slots
            if position >= self.context_length:
                raise UsageError(
                    f"the text has {position + 1} tokens, but the model's context is {self.context_length}"
                )
            if not 0 <= token < self._vocab_size:
                raise UsageError(f"token {token} is not in the vocabulary of {self._vocab_size}")
        assert rows
        logits_BV = torch.empty(wanted, self._vocab_size)
        numbers = array("i", chain.from_iterable(rows))
        finite = self._kernel.library.tinytale_decoder_run(
            self._handle,
            numbers.buffer_info()[0],
            len(rows),
            wanted,
            logits_BV.data_ptr(),
            self._kernel.parallel,
            self._kernel.team_size,
            self._threads or torch.get_num_threads(),
        )
        if finite < 0:
            raise TaleError("there is not enough memory for the threads of the native decoder")
        for slot, position, _ in rows:
            self._lengths[slot] = position + 1
        if not finite:
            raise NotFiniteError
        return logits_BV


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", torch.float32).contiguous()
