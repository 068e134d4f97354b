"""Real processes, a tiny model: every contender that is installed continues the same prompts."""

import itertools
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from bench import generators
from bench.conditions import Conditions
from bench.exports import random_model, random_prompts, to_ctranslate2
from bench.generation import (
    chosen_generators,
    generation_result,
    generation_table,
    generations,
    matrix_weights,
    time_generation,
)
from bench.generation_worker import MEMORY, GenerationRequest, contest
from bench.generators import GENERATORS, Forms
from bench.sizes import Size
from bench.turns import Measured
from tinytale.errors import TaleError, UsageError
from tinytale.generation.native_decoder import why_not
from tinytale.model.folder import load_model

TINY = Size(layers=2, width=32, heads=2, context_length=32, vocab_size=300, batch_size=1)
NATIVE = pytest.mark.skipif(why_not(TINY.model) is not None, reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Forms:
    folder = tmp_path_factory.mktemp("bench") / "model"
    random_model(TINY, folder)
    return Forms(folder=str(folder))


def request(forms: Forms, contender: str, prompts: int = 3) -> GenerationRequest:
    drawn = random_prompts(prompts, 5, TINY.vocab_size)
    return GenerationRequest(contender=contender, forms=forms, prompts=drawn, new_tokens=8, threads=1)


@NATIVE
@pytest.mark.parametrize("name", ["transformers", "tinytale-torch", "tinytale-float32"])
def test_all_continue_every_prompt_alike(forms: Forms, name: str):
    asked = request(forms, name)
    told = GENERATORS[name].build(forms, 3, 1)(asked.prompts, asked.new_tokens)
    expected = GENERATORS["tinytale-torch"].build(forms, 1, 1)
    assert told == [expected([prompt], 8)[0] for prompt in asked.prompts]
    assert len({tuple(tokens) for tokens in told}) == 3


@NATIVE
@pytest.mark.parametrize("name", ["transformers-bfloat16", "tinytale-bfloat16", "tinytale"])
def test_low_precision_tells_as_much(forms: Forms, name: str):
    told = GENERATORS[name].build(forms, 2, 1)(random_prompts(2, 5, 300), 8)
    assert [len(tokens) for tokens in told] == [8, 8]


@pytest.mark.peers
@pytest.mark.parametrize("name", ["ctranslate2-float32", "ctranslate2-int8"])
def test_ctranslate2_continues_alike(forms: Forms, name: str, tmp_path: Path):
    pytest.importorskip("ctranslate2")
    to_ctranslate2(Path(forms.folder), tmp_path / "converted")
    both = Forms(folder=forms.folder, ctranslate2=str(tmp_path / "converted"))
    prompts = random_prompts(3, 5, 300)
    told = GENERATORS[name].build(both, 3, 1)(prompts, 8)
    expected = GENERATORS["tinytale-torch"].build(forms, 3, 1)(prompts, 8)
    assert [len(tokens) for tokens in told] == [8, 8, 8]
    assert told == expected or name == "ctranslate2-int8"


def test_a_request_survives_the_pipe(forms: Forms):
    asked = request(forms, "tinytale")
    assert GenerationRequest.from_json(asked.to_json()) == asked
    assert "\n" not in asked.to_json()


def test_a_turn_is_one_token_of_each_and_then_all(forms: Forms, monkeypatch: pytest.MonkeyPatch):
    lengths: list[int] = []

    def build(*_: object) -> generators.Continue:
        return lambda prompts, new: lengths.append(new) or [[7] * new for _ in prompts]

    monkeypatch.setitem(GENERATORS, "fake", generators.Generator("a fake", build))
    facts, turn = contest(request(forms, "fake").to_json())
    assert facts == {"tokens": [7] * 8}
    assert len(turn(1)) == 2
    assert lengths == [8, 1, 8]


def test_one_that_tells_too_little_is_no_contender(forms: Forms, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(GENERATORS, "lazy", generators.Generator("it stops", lambda *_: lambda prompts, new: [[1]] * 3))
    with pytest.raises(AssertionError):
        contest(request(forms, "lazy").to_json())


def test_llama_cpp_computes_no_token_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch):
    told = itertools.count(7)
    model = types.SimpleNamespace(generate=lambda prompt, **settings: told)
    monkeypatch.setitem(sys.modules, "llama_cpp", types.SimpleNamespace(Llama=lambda path, **settings: model))
    go_on = generators.llama_cpp(Forms(folder="x", gguf="x.gguf"), 1, 1)
    assert go_on([[1, 2]], 3) == [[7, 8, 9]] and next(told) == 10


def test_contenders_take_turns_and_absent_ones_are_left_out(forms: Forms):
    said: list[str] = []
    asked = request(forms, "tinytale-torch")
    names = ["tinytale-torch", "llama-cpp"]
    part = time_generation(forms, TINY.model, names, asked.prompts, 8, Conditions(threads=1, rounds=2), said.append)
    assert said[:2] == ["setting up tinytale-torch", "setting up memory"]
    assert said[2:] == [f"round {number} of 2: {name}" for number in (1, 2) for name in ("tinytale-torch", MEMORY)]
    assert list(part["left_out"]) == ["llama-cpp"]
    (found,) = part["contenders"].values()
    assert [len(turn) for turn in found["rounds"]] == [2, 2]
    assert found["tokens_per_second"] > 0 and found["memory_bytes"] > 50e6 and found["facts"]["threads"] == 1
    assert part["bytes_per_second"] > 1e8
    json.dumps(part, allow_nan=False)


def test_the_figures_by_hand_made_numbers():
    memory = Measured(1.0, {"bytes": 1000}, [[1.0], [2.0]])
    slow = Measured(1.0, {"tokens": [1, 2, 3, 4]}, [[0.5, 4.0], [0.5, 8.0]], peak_memory=2**30)
    fast = Measured(1.0, {"tokens": [1, 2, 9, 4]}, [[0.1, 1.0], [0.3, 1.0]], peak_memory=2**29)
    found = generations({"transformers": slow, "tinytale": fast}, prompts=2, new_tokens=4, weights=50, memory=memory)
    assert found["transformers"].ratio == 1 and found["tinytale"].ratio == 6
    assert found["transformers"].tokens_per_second == pytest.approx(8 / 6)
    assert found["tinytale"].first_token_seconds == pytest.approx(0.2)
    assert found["tinytale"].share_of_bandwidth == pytest.approx(
        (0.2 + 0.4) / 2
    )  # 50 bytes x 4 in 1 s, of 1000 and 500
    assert (found["transformers"].agreeing_tokens, found["tinytale"].agreeing_tokens) == (4, 2)

    part = {"threads": 1, "prompts": 2, "bytes_per_second": 1e9, "left_out": {"llama-cpp": "it is not installed"}}
    part["contenders"] = {name: vars(own) for name, own in found.items()}
    result = {"machine": {"processor": "a processor"}, "prompt_tokens": 3, "new_tokens": 4}
    console = Console(width=90)
    with console.capture() as said:
        console.print(generation_table(result, part))
    (row,) = [line.split() for line in said.get().splitlines() if line.startswith("tinytale ")]
    assert row == ["tinytale", "8", "200.0", "6.00", "30%", "0.50", "2"]
    assert "it is not installed" in said.get() and "…" not in said.get()


def test_what_every_token_is_multiplied_with(forms: Forms):
    model = load_model(Path(forms.folder))
    matrices = [p.numel() for name, p in model.named_parameters() if p.dim() == 2 and "positions" not in name]
    assert matrix_weights(model.config) == sum(matrices)


def test_lists_are_checked_and_absence_is_told(monkeypatch: pytest.MonkeyPatch):
    assert chosen_generators(None) == list(GENERATORS)
    assert chosen_generators("tinytale, transformers") == ["tinytale", "transformers"]
    with pytest.raises(UsageError, match="contender 'torch' is unknown; known are transformers, "):
        chosen_generators("torch")
    with pytest.raises(UsageError, match="named twice"):
        chosen_generators("tinytale,tinytale")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert GENERATORS["llama-cpp"].why_not(1) == "llama_cpp is not installed"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert GENERATORS["llama-cpp"].why_not(32) == "it continues at most 1 at a time"
    assert GENERATORS["llama-cpp"].why_not(1) is None


def test_without_a_decoder_the_reason_is_told(forms: Forms, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinytale.generation.agreement.why_not", lambda config, weights: "there is no C++ compiler")
    with pytest.raises(TaleError, match=r"there is no C\+\+ compiler"):
        GENERATORS["tinytale"].build(forms, 1, 1)


def test_the_command_writes_what_it_prints(
    tale: Callable, forms: Forms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def taken(requests: list[GenerationRequest], *_: object) -> dict[str, Measured]:
        assert os.environ["OMP_NUM_THREADS"]
        return {one.contender: Measured(1.0, {"tokens": [1], "bytes": 1}, [[0.5, 2.0]]) for one in requests}

    monkeypatch.setattr("bench.generation.take_turns", taken)
    out = tmp_path / "new" / "times.json"
    options = ["--contenders=tinytale-torch", "--rounds=1", "--new-tokens=16", "--out", out]
    done = tale("bench", "generate", forms.folder, *options, "--json")
    assert done.code == 0
    result = json.loads(done.out)
    assert result == json.loads(out.read_text(encoding="utf-8"))
    assert [(part["threads"], part["prompts"]) for part in result["parts"]] == [(1, 1), (1, 32), (2, 1), (2, 32)]
    assert result["parts"][1]["contenders"]["tinytale-torch"]["tokens_per_second"] == 32 * 16 / 2
    seen = tale("bench", "generate", forms.folder, *options)
    assert seen.out == "" and "tinytale-torch" in seen.err and "256" in seen.err
    too_long = tale("bench", "generate", forms.folder, "--new-tokens=17")
    assert too_long.code == 2 and "no more tokens than the context of 32" in too_long.err
    for words in (
        ["generate", forms.folder, "--prompts=3000000000", "--new-tokens=1"],
        ["serve", forms.folder, "--people=3000000000"],
    ):
        too_many = tale("bench", *words)
        assert too_many.code == 2 and "room for 3,000,000,000 texts at a time" in too_many.err
    assert generation_result(TINY.model, 1, 2, [])["model"]["width"] == 32
