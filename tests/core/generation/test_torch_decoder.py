"""Every slot's logits are those of its own text read whole and alone, whatever company it is in."""

import random

import pytest
import torch

from tinytale.errors import NotFiniteError, UsageError
from tinytale.generation.decoder import Decoder
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.cache import KVCache
from tinytale.model.gpt2 import GPT2

TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Logits leave a decoder in float32; these have magnitudes of about 10."""


def alone(model: GPT2, text: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([text]))[0, -1].float()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("kernels", ["textbook", "fused", "native"])
def test_slots_of_any_length_in_any_company_give_the_logits_of_their_text(lively, kernels, positions, dtype):
    model = lively(kernels, dtype, positions=positions)
    decoder = TorchDecoder(model, slots=4)
    assert isinstance(decoder, Decoder)
    chance, texts, sizes = random.Random(0), {}, set()
    for _ in range(60):
        slot = chance.randrange(4)
        texts[slot] = [chance.randrange(23) for _ in range(chance.randint(1, 8))]
        logits_V = decoder.prefill(slot, texts[slot])
        torch.testing.assert_close(logits_V, alone(model, texts[slot]), rtol=0, atol=TOLERANCE[dtype])
        room = [slot for slot, text in texts.items() if len(text) < 8]
        going_on = chance.sample(room, chance.randint(0, len(room)))
        sizes.add(len(going_on))
        if going_on:
            tokens = [chance.randrange(23) for _ in going_on]
            logits_BV = decoder.step(going_on, tokens)
            assert logits_BV.dtype == torch.float32 and logits_BV.device.type == "cpu"
            for slot, token, logits_V in zip(going_on, tokens, logits_BV, strict=True):
                texts[slot].append(token)
                torch.testing.assert_close(logits_V, alone(model, texts[slot]), rtol=0, atol=TOLERANCE[dtype])
    assert sizes == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("kernels", ["textbook", "fused"])
def test_what_was_not_finite_in_a_slot_does_not_reach_the_next_text_in_it(lively, kernels):
    model = lively(kernels)
    decoder = TorchDecoder(model, slots=2)
    expected_V = alone(model, [1, 2, 3])
    positions_TC = model.positions.weight_TC.detach()
    whole = positions_TC[3, 0].item()
    positions_TC[3, 0] = torch.nan
    with pytest.raises(NotFiniteError):
        decoder.prefill(0, [1, 2, 3, 4, 5])
    positions_TC[3, 0] = whole
    decoder.prefill(1, [6, 7, 8, 9, 10])
    decoder.prefill(0, [1, 2])
    torch.testing.assert_close(decoder.step([0, 1], [3, 11])[0], expected_V, rtol=0, atol=1e-4)


def test_a_copy_goes_on_as_its_source_does_and_each_by_itself(lively):
    model = lively()
    decoder = TorchDecoder(model, slots=3)
    decoder.prefill(0, [1, 2, 3, 4])
    decoder.prefill(2, [5])
    decoder.copy(0, 2)
    for tokens in ([6, 6], [1, 2]):
        first, second = decoder.step([0, 2], tokens)
    for logits_V, text in ((first, [1, 2, 3, 4, 6, 1]), (second, [1, 2, 3, 4, 6, 2])):
        torch.testing.assert_close(logits_V, alone(model, text), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kernels", ["textbook", "fused"])
@pytest.mark.parametrize("rows", [[0, 1, 2], [3, 1, 0], [2]], ids=str)
def test_texts_of_different_lengths_go_on_by_several_tokens_at_once(lively, rows, kernels):
    model = lively(kernels, torch.float64)
    cache = KVCache(model.config, batch_size=4, dtype=torch.float64)
    texts = {row: torch.arange(row + 5)[None] for row in rows}
    with torch.no_grad():
        for row in rows:
            model(texts[row][:, : row + 1], cache.rows([row], [0]))
        some = cache.rows(rows, [row + 1 for row in rows])
        pieces = [torch.cat([texts[row][:, row + a : row + b] for row in rows]) for a, b in ((1, 4), (4, 5))]
        logits_BTV = torch.cat([model(piece_BT, some) for piece_BT in pieces], dim=1)
        for row, logits_TV in zip(rows, logits_BTV, strict=True):
            torch.testing.assert_close(logits_TV, model(texts[row])[0, row + 1 :], rtol=0, atol=1e-12)


def test_a_text_that_outgrows_the_context_is_refused(lively):
    decoder = TorchDecoder(lively(), slots=2)
    decoder.prefill(0, [1])
    decoder.prefill(1, [1] * 8)
    with pytest.raises(UsageError, match="9 tokens, but the model's context is 8"):
        decoder.step([0, 1], [2, 2])
