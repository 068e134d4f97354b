import json
from pathlib import Path

import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.generation.decoding import Decoding, generate, random_numbers
from tinytale.generation.native_decoder import NativeDecoder
from tinytale.model.folder import load_model, save_model
from tinytale.model.gpt2 import GPT2
from tinytale.native.build import compiler

EXACT = "--precision=float32"


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=32, layers=1, heads=2, width=16))
    tokenizer = load_tokenizer(dataset)
    save_model(tmp_path / "model", model, tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    return tmp_path / "model"


def test_json_is_one_object_with_every_story(tale, folder: Path):
    ended = tale("generate", folder, "Once", "--samples=3", "--max-new-tokens=12", "--seed=4", "--json")
    told = json.loads(ended.out)
    assert ended.code == 0 and ended.err == ""
    assert told["prompt"] == "Once" and told["settings"]["seed"] == 4
    assert len(set(told["stories"])) == 3
    again = tale("generate", folder, "Once", "--samples=1", "--max-new-tokens=12", "--seed=4", "--json")
    assert json.loads(again.out)["stories"] == told["stories"][:1]  # however many are told


@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_precision_decides_what_computes(tale, folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch):
    made: list[str] = []

    class Noted(NativeDecoder):
        def __init__(self, model, slots, precision, threads=None):
            made.append(precision)
            super().__init__(model, slots, precision, threads)

    monkeypatch.setattr("tinytale.generation.agreement.NativeDecoder", Noted)
    told = json.loads(tale("generate", folder, "One", f"--precision={precision}", "--max-new-tokens=3", "--json").out)
    assert made == ["float32", precision]  # the first is compared with the model, see test_agreement.py
    assert told["settings"]["precision"] == precision
    tale("generate", folder, "One", "--max-new-tokens=3")
    assert made[2:] == ["float32", "int8"]


def test_what_is_shown_is_what_json_holds(tale, folder: Path):
    options = ["--samples=2", "--max-new-tokens=30", "--temperature=1.0", "--top-k=50", "--top-p=0.9"]
    shown = tale("generate", folder, "Zoë ", *options).out
    stories = json.loads(tale("generate", folder, "Zoë ", *options, "--json").out)["stories"]
    assert shown == "\n".join(f"Zoë {story}\n" for story in stories)


def test_a_story_begins_after_the_end_of_text_and_a_spelled_one_is_ordinary_text(tale, folder: Path):
    prompt = "Hi <|endoftext|>"
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    ids = [tokenizer.end_of_text, *tokenizer.encode(prompt)]
    assert ids.count(tokenizer.end_of_text) == 1
    greedy = Decoding(greedy=True).choice()
    expected = tokenizer.decode(generate(model, ids, greedy, random_numbers(0, 0), 10, tokenizer.end_of_text))
    told = json.loads(tale("generate", folder, prompt, "--greedy", "--max-new-tokens=10", "--json", EXACT).out)
    assert told["stories"] == [expected]


def test_every_story_is_what_its_tokens_spell_also_one_that_ends_within_a_character(tale, folder: Path):
    tokenizer, model = load_tokenizer(folder), load_model(folder)
    ids, end = [tokenizer.end_of_text, *tokenizer.encode("A")], tokenizer.end_of_text
    choose = Decoding(temperature=1.0).choice()
    expected = [tokenizer.decode(generate(model, ids, choose, random_numbers(0, n), 3, end)) for n in range(30)]
    options = ["--samples=30", "--temperature=1.0", "--max-new-tokens=3", "--json", EXACT]
    assert json.loads(tale("generate", folder, "A", *options).out)["stories"] == expected
    assert any(story.endswith("�") for story in expected)


def test_every_option_reaches_the_story_shown_and_in_json(tale, folder: Path):
    def told(*options: str) -> str:
        shown = tale("generate", folder, "One", "--max-new-tokens=25", *options).out
        held = json.loads(tale("generate", folder, "One", "--max-new-tokens=25", *options, "--json").out)
        assert shown == f"One{held['stories'][0]}\n"
        return held["stories"][0]

    usual = told()
    stop = usual[5:7]
    assert told(f"--stop={stop}", "--stop=never told") == usual.split(stop)[0]
    variants = ["--min-p=0.9"], ["--greedy", "--repetition-penalty=9"], ["--beams=3"], ["--seed=1"]
    assert len({usual, *(told(*options) for options in variants)}) == 5
    assert told("--beams=1") == told("--greedy")


def test_stories_do_not_depend_on_the_batch_size(tale, folder: Path):
    options = ["--samples=7", "--max-new-tokens=30", "--json"]
    told = [tale("generate", folder, *options, f"--batch-size={size}").out for size in (1, 3, 32)]
    assert told[0] == told[1] == told[2]


def test_a_prompt_without_a_model_is_taken_for_one(tale):
    ended = tale("generate", "One day")
    assert ended.code == 2 and "the first argument is the model" in ended.err
    assert ended.err.endswith("tinytale generate small 'One day'\n")
    assert "shipped with tinytale" in tale("generate", "smal").err


def test_a_prompt_longer_than_the_context_is_cut_with_a_note(tale, folder: Path):
    ended = tale("generate", folder, "abc " * 100, "--max-new-tokens=2")
    assert ended.code == 0 and "the model reads its last 32" in ended.err
    assert "reads its last" not in tale("generate", folder, "abc", "--max-new-tokens=2").err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--samples=0", "samples is 0"),
        ("--max-new-tokens=0", "max-new-tokens 0"),
        ("--temperature=0", "temperature is 0.0; expected a number above 0"),
        ("--top-k=0", "top-k is 0"),
        ("--top-p=1.5", "top-p is 1.5"),
        ("--beams=3000000000", "room for 3,000,000,000 texts at a time"),
        ("--samples=" + "9" * 5000, "samples"),
        ("--min-p=2", "min-p is 2"),
        ("--repetition-penalty=0", "repetition-penalty is 0"),
        ("--beams=0", "beams is 0"),
        ("--stop=", "stop string is empty"),
        ("--colour=red", "Unknown option: --colour"),
    ],
)
def test_a_setting_out_of_range_is_refused(option: str, message: str, tale, folder: Path):
    ended = tale("generate", folder, option)
    assert (ended.code, ended.out) == (2, "") and message in ended.err


def test_half_a_character_in_the_prompt_is_refused(tale, folder: Path):
    ended = tale("generate", folder, "\ud800")
    assert ended.code == 2 and "half a character" in ended.err
