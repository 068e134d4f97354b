import pytest
import torch

from tinytale.errors import UsageError
from tinytale.generation import choosing
from tinytale.generation.choosing import choice_for, decoder_for
from tinytale.generation.decoding import Decoding
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.native.build import compiler
from tinytale.native.decoder import NativeDecoder


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize(
    ("asked", "given"), [("auto", "int8"), ("float32", "float32"), ("bfloat16", "bfloat16"), ("int8", "int8")]
)
def test_on_a_cpu_the_native_decoder_tells(lively, asked, given):
    decoder = decoder_for(lively(), 3, asked)
    assert isinstance(decoder, NativeDecoder)
    assert (decoder.precision, decoder.slots, decoder.context_length) == (given, 3, 8)


@pytest.mark.parametrize("asked", ["auto", "float32"])
def test_where_there_is_none_torch_tells_and_says_so_once(lively, asked, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(choosing, "why_not", lambda config: f"there is no compiler for {asked}")
    model = lively()
    decoder = decoder_for(model, 2, asked)
    assert isinstance(decoder, TorchDecoder) and decoder.slots == 2
    said = " ".join(capsys.readouterr().err.split())
    assert (
        said
        == f"No native decoder: there is no compiler for {asked}. Stories come from torch, in float32 and more slowly."
    )
    decoder_for(model, 2, asked)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("asked", ["bfloat16", "int8"])
def test_where_there_is_none_what_it_alone_has_is_refused(lively, asked, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choosing, "why_not", lambda config: "there is no compiler")
    with pytest.raises(UsageError, match=f"{asked} needs the native decoder: there is no compiler; leave it out"):
        decoder_for(lively(), 2, asked)


def test_elsewhere_torch_tells_in_its_own_precision(lively):
    model = lively().to("meta")
    assert isinstance(decoder_for(model, 1), TorchDecoder)
    with pytest.raises(UsageError, match="precision int8 is for the CPU, and the model is on meta"):
        decoder_for(model, 1, "int8")
    assert torch.device("meta") == model.device


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_on_a_cpu_tokens_are_drawn_natively_and_greedy_ones_are_not(monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(
        choosing.native_draw, "draw", lambda logits_V, *settings: drawn.append((logits_V, settings)) or 3
    )
    logits_V, generator = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.Generator()
    assert choice_for(Decoding(greedy=True))(logits_V, [], generator) == 0 and not drawn
    choose = choice_for(Decoding(temperature=0.5, top_k=3, top_p=0.9, min_p=0.1, repetition_penalty=2.0))
    assert choose(logits_V, [0], generator) == 3
    [(penalised_V, settings)] = drawn
    assert penalised_V.tolist() == [1.0, 1.0, 0.0, -1.0] and settings == (generator, 0.5, 3, 0.9, 0.1)


def test_where_there_is_no_native_draw_the_samplers_choose(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choosing.native_draw, "available", lambda: False)
    assert choice_for(Decoding(top_k=1))(torch.tensor([0.0, 2.0]), [], torch.Generator()) == 1


def test_a_setting_out_of_its_range_is_refused_either_way():
    with pytest.raises(UsageError, match="top-p is 2"):
        choice_for(Decoding(top_p=2.0))
