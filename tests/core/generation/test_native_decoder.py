"""Our CPU decoder against the textbook model in float64, on every set of instructions that it is written for."""

import math
import random
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from tinytale.config import ModelConfig
from tinytale.errors import NotFiniteError, TaleError, UsageError
from tinytale.generation import native_decoder as native
from tinytale.generation.decoder import Decoder
from tinytale.generation.native_decoder import NativeDecoder, describe, why_not
from tinytale.model.gpt2 import GPT2
from tinytale.native.build import UnavailableError, compiler
from tinytale.native.instructions import allowed

NEEDS = pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
PRECISIONS = {"float32": 1e-5, "bfloat16": 1e-2, "int8": 4e-2}
"""The most that logits may be off, as a share of their norm."""
SHAPES = [  # vocabulary, context, layers, heads, width: tails in everything, whole vectors, several panels and tiles
    (11, 8, 1, 4, 12),
    (97, 40, 2, 3, 15),
    (300, 70, 2, 2, 80),
    (131, 24, 2, 4, 256),
]


def limits() -> list[str]:
    """Limits by which this CPU differs, from all that it has to what every processor has."""
    kinds: dict[frozenset[str], str] = {}
    with pytest.MonkeyPatch.context() as patch:
        for limit in ("", "AVX512_CORE_BF16", "AVX512_CORE", "AVX2_VNNI", "AVX2", "SSE41"):
            patch.setenv("ONEDNN_MAX_CPU_ISA", limit)
            kinds.setdefault(frozenset(allowed()), limit)
    return list(kinds.values())


@pytest.fixture(params=limits())
def instructions(request, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The decoder as it is built for the best of this CPU, and for less: at last for any processor."""
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", request.param)
    native._load.cache_clear()
    yield
    native._load.cache_clear()


def lively(vocabulary: int, context: int, layers: int, heads: int, width: int) -> GPT2:
    """A model whose weights are large enough for every part to matter."""
    torch.manual_seed(0)
    sizes = {"vocab_size": vocabulary, "context_length": context, "layers": layers, "heads": heads, "width": width}
    model = GPT2(ModelConfig(**sizes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=min(0.5, 2 / math.sqrt(width)))
    return model


def error(found: Tensor, exact: Tensor) -> float:
    return ((found.double() - exact).norm() / exact.norm()).item()


def alone(decoder: NativeDecoder, text: list[int], prompt: int) -> list[Tensor]:
    """The logits of a text from its prompt on, by a decoder that does nothing else."""
    return [decoder.prefill(0, text[:prompt]), *(decoder.step([0], [token])[0] for token in text[prompt:])]


@NEEDS
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_slots_of_any_length_in_any_company_give_the_logits_of_their_text(shape, precision: str, instructions):
    model, (vocabulary, context) = lively(*shape), shape[:2]
    decoder = NativeDecoder(model, 3, precision)
    assert isinstance(decoder, Decoder)
    model.double()
    chance, found, exact = random.Random(0), [], []
    texts: list[list[int]] = [[], [], []]

    def keep(slot: int, logits_V: Tensor) -> None:
        found.append(logits_V)
        exact.append(model(torch.tensor([texts[slot]]))[0, -1])

    with torch.no_grad():
        for _ in range(12):
            slot = chance.randrange(3)
            texts[slot] = [chance.randrange(vocabulary) for _ in range(chance.randint(1, context))]
            keep(slot, decoder.prefill(slot, texts[slot]))
            going_on = [slot for slot, text in enumerate(texts) if 0 < len(text) < context]
            tokens = [chance.randrange(vocabulary) for _ in going_on]
            if going_on:
                logits_BV = decoder.step(going_on, tokens)
                for slot, token, logits_V in zip(going_on, tokens, logits_BV, strict=True):
                    texts[slot].append(token)
                    keep(slot, logits_V)
    off = error(torch.stack(found), torch.stack(exact))
    assert off < PRECISIONS[precision]
    assert off > 1e-3 or precision == "float32"  # or the precision is not what it says


@NEEDS
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_copy_goes_on_as_its_source_does_and_each_by_itself(precision: str):
    decoder = NativeDecoder(lively(*SHAPES[0]), 3, precision)
    decoder.prefill(0, [1, 2, 3, 4])
    decoder.prefill(2, [5])
    decoder.copy(0, 2)
    first, second = decoder.step([0, 2], [6, 6])
    assert torch.equal(first, second)
    first, second = decoder.step([0, 2], [1, 2])
    assert torch.equal(first, decoder.prefill(1, [1, 2, 3, 4, 6, 1]))
    assert torch.equal(second, decoder.prefill(1, [1, 2, 3, 4, 6, 2]))


@NEEDS
@pytest.mark.parametrize("precision", PRECISIONS)
def test_together_or_alone_at_once_or_one_by_one_on_any_threads_the_bits_are_the_same(precision: str, instructions):
    model = lively(131, 70, 2, 3, 48)
    texts_BT = torch.randint(131, (70, 70), generator=torch.Generator().manual_seed(0))
    looked_at = (0, 5, 33, 69)  # rows of different blocks, tiles and passes
    company = NativeDecoder(model, 70, precision)
    for slot, text in enumerate(texts_BT.tolist()):
        company.prefill(slot, text[:66])
    together = torch.stack([company.step(range(70), texts_BT[:, t].tolist())[list(looked_at)] for t in (66, 67, 68)])
    for threads in (1, 3):
        lonely = NativeDecoder(model, 1, precision, threads=threads)
        for column, row in enumerate(looked_at):
            text = texts_BT[row, :69].tolist()
            assert torch.equal(torch.stack(alone(lonely, text, 66)[1:]), together[:, column])
            assert torch.equal(lonely.prefill(0, text), together[-1, column])
            few = [company.prefill(3, text[:67]), *company.step([9, 3], [1, text[67]])[1:]]
            assert torch.equal(torch.stack(few), together[:2, column])
            company.prefill(9, text[:3])


@NEEDS
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_not_finite_stays_so_and_stays_in_its_text(precision: str):
    model = lively(11, 8, 2, 2, 12)
    good = NativeDecoder(model, 2, precision)
    with torch.no_grad():
        model.positions.weight_TC[3, 5] = math.nan
    bad = NativeDecoder(model, 2, precision)
    for decoder in (good, bad):
        decoder.prefill(0, [1, 2, 3])
        decoder.prefill(1, [4])
    with pytest.raises(NotFiniteError):
        bad.step([0, 1], [5, 6])
    good.step([0, 1], [5, 6])
    assert torch.equal(bad.step([1], [7]), good.step([1], [7]))
    for text in ([8, 9], [8, 9, 10]):  # the value beside the last of three is still that which was not finite
        assert torch.equal(bad.prefill(0, text), good.prefill(0, text))


@NEEDS
def test_a_decoder_keeps_the_weights_that_it_was_made_from():
    model = lively(11, 8, 1, 2, 12)
    decoder = NativeDecoder(model, 1, "float32")
    before = decoder.prefill(0, [1, 2])
    torch.nn.init.zeros_(model.embedding.weight_VC)
    assert torch.equal(decoder.prefill(0, [1, 2]), before)


@NEEDS
def test_what_does_not_fit_is_refused():
    decoder = NativeDecoder(lively(11, 8, 1, 2, 12), 2)
    with pytest.raises(UsageError, match="9 tokens, but the model's context is 8"):
        decoder.prefill(0, [1] * 9)
    decoder.prefill(0, [1] * 8)
    before = decoder.prefill(1, [2])
    with pytest.raises(UsageError, match="9 tokens, but the model's context is 8"):
        decoder.step([1, 0], [2, 2])
    with pytest.raises(UsageError, match="token 11 is not in the vocabulary of 11"):
        decoder.step([1], [11])
    assert torch.equal(decoder.prefill(0, [2]), before)


def test_a_variant_of_gpt2_has_none():
    assert "GPT-2 as published" in str(why_not(ModelConfig(norm="post")))
    model = GPT2(ModelConfig(vocab_size=5, context_length=4, layers=1, heads=1, width=4, positions="sinusoidal"))
    with pytest.raises(TaleError, match="no native decoder: it is written for GPT-2 as published"):
        NativeDecoder(model, 1)


def test_where_it_cannot_be_built_the_reason_is_told(monkeypatch: pytest.MonkeyPatch):
    def no_compiler(*_: object) -> None:
        raise UnavailableError("there is no C++ compiler")

    monkeypatch.setattr(native, "library", no_compiler)
    native._load.cache_clear()
    try:
        assert why_not(ModelConfig()) == "there is no C++ compiler"
        assert describe() == "torch's: there is no C++ compiler"
    finally:
        native._load.cache_clear()


@NEEDS
def test_memory_that_threads_do_not_get_is_an_error_and_not_the_end_of_the_process():
    decoder = NativeDecoder(lively(11, 8, 1, 2, 12), 1, threads=2**60)
    with pytest.raises(TaleError, match="not enough memory for the threads"):
        decoder.prefill(0, [1])
