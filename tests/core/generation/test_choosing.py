import pytest
import torch

from tinytale.errors import UsageError
from tinytale.generation import agreement, choosing
from tinytale.generation.choosing import are_native, choice_for, choose_all, decoder_for, log_sum_exp
from tinytale.generation.decoding import Decoding, random_numbers
from tinytale.generation.native_decoder import NativeDecoder
from tinytale.generation.sampling import Randoms
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.native.build import compiler


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
    monkeypatch.setattr(agreement, "why_not", lambda config, weights: f"there is no compiler for {asked}")
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
    monkeypatch.setattr(agreement, "why_not", lambda config, weights: "there is no compiler")
    with pytest.raises(UsageError, match=f"{asked} needs the native decoder: there is no compiler; leave it out"):
        decoder_for(lively(), 2, asked)


def test_elsewhere_torch_tells_in_its_own_precision(lively):
    model = lively().to("meta")
    assert isinstance(decoder_for(model, 1), TorchDecoder)
    with pytest.raises(
        UsageError, match="precision int8 needs the native decoder: it is for the CPU, and the model is on meta"
    ):
        decoder_for(model, 1, "int8")
    assert torch.device("meta") == model.device


LOGITS_BV = 2 * torch.randn(6, 300, generator=torch.Generator().manual_seed(0))
DECODINGS = [
    Decoding(greedy=True),
    Decoding(temperature=0.8),
    Decoding(top_k=9),
    Decoding(top_p=0.7, min_p=0.1),
    Decoding(temperature=1.5, top_k=50, top_p=0.9, min_p=0.02),
    Decoding(repetition_penalty=3.0),
]


def numbers() -> list[Randoms]:
    return [random_numbers(1, row) for row in range(len(LOGITS_BV))]


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("count", [1, 5, 6], ids=["alone", "together", "one of them penalises"])
def test_all_texts_are_given_what_the_written_out_choice_gives_each(count: int):
    choices, texts = [choice_for(decoding) for decoding in DECODINGS[:count]], [[7, 8]] * count
    assert are_native(choices) == (count < 6)
    native, written_out = numbers()[:count], numbers()[:count]
    for _ in range(20):
        expected = [
            decoding.choice()(logits_V, [7, 8], randoms)
            for decoding, logits_V, randoms in zip(DECODINGS, LOGITS_BV[:count], written_out, strict=False)
        ]
        assert choose_all(LOGITS_BV[:count], choices, texts, native) == expected


def test_a_choice_that_is_alone_may_be_anybodys():
    assert choose_all(LOGITS_BV[:2], [lambda *_: 3, lambda *_: 4], [[], []], numbers()[:2]) == [3, 4]


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_a_greedy_text_takes_no_random_number():
    assert choose_all(LOGITS_BV[:1], [choice_for(Decoding(greedy=True))], [[]], [iter(())]) == [LOGITS_BV[0].argmax()]


@pytest.mark.parametrize("native", [True, False])
def test_the_settings_of_drawing_do_not_count_for_a_greedy_text(native: bool, monkeypatch: pytest.MonkeyPatch):
    if native and compiler() is None:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(choosing.native_choice, "available", lambda: native)
    choose = choice_for(Decoding(greedy=True, temperature=0.0, top_k=0, top_p=2.0, min_p=2.0))
    assert choose(LOGITS_BV[0], [], iter(())) == LOGITS_BV[0].argmax()


@pytest.mark.parametrize("native", [True, False])
def test_a_min_p_of_0_keeps_all(native: bool, monkeypatch: pytest.MonkeyPatch):
    if native and compiler() is None:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(choosing.native_choice, "available", lambda: native)
    for seed in range(30):
        some, usual = (choice_for(Decoding(min_p=min_p)) for min_p in (0.0, None))
        assert some(LOGITS_BV[0], [], random_numbers(seed, 0)) == usual(LOGITS_BV[0], [], random_numbers(seed, 0))


@pytest.mark.parametrize("slots", [3_000_000_000, 10**40])
@pytest.mark.parametrize("kind", ["auto", "torch"])
def test_room_that_no_memory_has_is_refused_before_it_is_taken(lively, kind, slots: int):
    with pytest.raises(UsageError, match=r"room for \d[\d,]* texts at a time; expected at most 4,096"):
        decoder_for(lively(), slots, kind=kind)


def test_where_there_is_no_native_choice_the_samplers_choose(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choosing.native_choice, "available", lambda: False)
    choose = choice_for(Decoding(top_k=1))
    assert not are_native([choose]) and choose(torch.tensor([0.0, 2.0]), [], random_numbers(0, 0)) == 1


@pytest.mark.parametrize("native", [True, False])
def test_logits_become_log_probabilities_either_way(native: bool, monkeypatch: pytest.MonkeyPatch):
    if native and compiler() is None:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(choosing.native_choice, "available", lambda: native)
    logs_V = LOGITS_BV[0].double() - log_sum_exp(LOGITS_BV[0])
    assert torch.allclose(logs_V, LOGITS_BV[0].double().log_softmax(-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("name", "value"), [("top_p", 2.0), ("min_p", -0.1), ("top_k", 0), ("temperature", 0.0)])
def test_a_setting_out_of_its_range_is_refused_either_way(native: bool, name: str, value, monkeypatch):
    if native and compiler() is None:
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(choosing.native_choice, "available", lambda: native)
    with pytest.raises(UsageError, match=f"is {value}; expected"):
        choice_for(Decoding(**{name: value}))
