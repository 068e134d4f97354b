"""Rare names said again, and the one right word of a sentence."""

import json
import math
import re
from collections import Counter
from importlib import resources
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tinytale.addons.quality.prompts import read_prompts
from tinytale.addons.quality.sense import (
    NameSettings,
    Opening,
    Sentence,
    likelihood,
    names_said_again,
    read_openings,
    read_sentences,
    right_words,
    says,
)
from tinytale.addons.quality.suite_tables import sense_rows, sense_table
from tinytale.config import ModelConfig
from tinytale.data.names import name_lists
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2

SHORT = NameSettings(max_new_tokens=12)


@pytest.fixture
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


@pytest.fixture
def model() -> GPT2:
    torch.manual_seed(0)
    return GPT2(ModelConfig(vocab_size=300, context_length=64, layers=1, heads=2, width=16), kernels="textbook").eval()


def test_there_are_forty_rare_names_and_a_common_one_takes_the_place_of_each():
    version, openings = read_openings()
    rare, common = openings["rare"], openings["common"]
    names = Counter(opening.name for opening in rare)
    assert version == 1 and len(names) == 40 and min(names.values()) >= 3
    assert len({opening.text for opening in rare}) == len(rare) == len(common) >= 120
    assert all(re.fullmatch("[A-Z][a-z]{3,8}", name) and name != "Wanda" for name in names)
    for one, other in zip(rare, common, strict=True):
        assert one.text.endswith(".") and 1 <= one.text.count(one.name) <= 2 and says(one.text, one.name)
        assert one.text.replace(one.name, other.name) == other.text


def test_every_kind_of_sentence_has_its_share_and_none_comes_twice():
    version, sentences = read_sentences()
    kinds = Counter(sentence.kind for sentence in sentences)
    assert version == 1 and len({sentence.text for sentence in sentences}) == len(sentences) >= 60
    assert set(kinds) == {"fact", "cause", "possession", "speaker"} and min(kinds.values()) >= 15
    assert all(re.fullmatch("[A-Za-z]+", sentence.word) for sentence in sentences)
    assert all(sentence.text == sentence.text.strip() for sentence in sentences)


def test_the_lists_are_changed_only_with_their_versions():
    import hashlib

    def mark(lines: list[str]) -> str:
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]

    version, openings = read_openings()
    lines = [f"{one.name} {one.text}" for naming in ("rare", "common") for one in openings[naming]]
    assert (version, mark(lines)) == (1, "7bfc5b1b6e72ede2")
    version, sentences = read_sentences()
    assert (version, mark([f"{one.kind} {one.text} {one.word}" for one in sentences])) == (1, "17dbf30a08155d73")


def test_no_measured_name_stands_in_a_text_or_a_list_that_is_trained_on():
    measured = {opening.name for opening in read_openings()[1]["rare"]}
    assert measured == set(name_lists()["measured"]) and not measured & set(name_lists()["replacements"])
    names = {name.lower() for name in measured}
    builtin = resources.files("tinytale.addons.builtin").joinpath("builtin.toml").read_text(encoding="utf-8")
    assert not names & {word.lower() for word in re.findall(r"[^\W\d_]+", builtin)}
    assert not names & {word.lower() for prompt in read_prompts()[1] for word in re.findall("[A-Za-z]+", prompt.text)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" Then Wanda ran.", True),
        (" It was Wanda's ball.", True),
        ('"Wanda!" he cried', True),
        (" The Wandas ran.", False),
        (" Then wanda ran.", False),
        (" WANDA ran.", False),
        (" Swanda, aWanda", False),
        (" Wand", False),
        ("", False),
    ],
)
def test_a_name_is_said_as_a_whole_word_written_as_it_is(text: str, said: bool):
    assert says(text, "Wanda") == said


def test_a_model_that_says_one_name_only_is_seen(follows, recites, tokenizer):
    """It answers every opening with the same sentence, so it has the name of one hero out of two."""
    openings = [Opening("Bobo", "Bobo ran."), Opening("Kiki", "Kiki ran."), Opening("Kiki", "Kiki hid.")]
    stories = [[*tokenizer.encode(opening.text), *tokenizer.encode(" Bobo sat.")] for opening in openings]
    rule = recites(stories, tokenizer.end_of_text)
    figures, told = names_said_again(follows(rule), tokenizer, 3, {"rare": openings}, NameSettings())
    assert figures["version"] == told["version"] == 3
    assert figures["rare"]["said_again"]["value"] == pytest.approx(1 / 3)
    assert (figures["rare"]["openings"], figures["rare"]["names"]) == (3, 2)
    assert [one["said_again"] for one in told["rare"]] == [True, False, False]
    assert told["rare"][1] == {"name": "Kiki", "text": "Kiki ran.", "continuation": " Bobo sat.", "said_again": False}


def test_the_same_seed_gives_the_same_figures_and_another_other_stories(model: GPT2, tokenizer):
    few = {naming: some[:4] for naming, some in read_openings()[1].items()}

    def told(settings: NameSettings):
        return names_said_again(TorchDecoder(model, slots=3), tokenizer, 1, few, settings)

    assert told(SHORT) == told(SHORT)
    assert told(SHORT)[1]["rare"] != told(NameSettings(max_new_tokens=12, seed=1))[1]["rare"]


def test_the_probability_of_a_word_of_several_tokens_is_the_product_of_theirs(model: GPT2, tokenizer):
    context = [tokenizer.end_of_text, *tokenizer.encode("The cow ate")]
    word = tokenizer.encode(" zebra")
    assert len(word) > 1
    with torch.no_grad():
        logits_TV = model(torch.tensor([[*context, *word]]))[0].double()
    expected = 1.0
    for place, token in enumerate(word):
        exp_V = logits_TV[len(context) - 1 + place].exp()
        expected *= float(exp_V[token] / exp_V.sum())
    found = likelihood(TorchDecoder(model, slots=1), context, word)
    assert found.probability == pytest.approx(expected, rel=1e-4, abs=0.0) and not found.likeliest
    likeliest = int(logits_TV[len(context) - 1].argmax())
    assert likelihood(TorchDecoder(model, slots=1), context, [likeliest, word[0]]).likeliest


def test_words_are_asked_for_with_their_blank_after_an_opening_end_of_text(follows, tokenizer):
    """This model knows one sentence, and finds two tokens alike likely where the right word begins."""
    context, word = tokenizer.encode("The cow ate"), tokenizer.encode(" grass")
    whole = [tokenizer.end_of_text, *context, *word]
    fork = len(context) + 1

    def rule(text: list[int]) -> set[int]:
        if text != whole[: len(text)]:
            return {0}
        return {whole[len(text)], 1} if len(text) == fork else {whole[len(text)]}

    asked = [Sentence("fact", "The cow ate", "grass"), Sentence("cause", "The cow ate", "zebra")]
    figures, told = right_words(follows(rule), tokenizer, 1, asked)
    right, wrong = told["sentences"]
    assert right["probability"] == pytest.approx(0.5) and right["likeliest"]
    assert wrong["probability"] < 1e-9 and not wrong["likeliest"]
    assert figures["by_kind"]["fact"]["value"] == pytest.approx(0.5)
    assert figures["probability"]["value"] == pytest.approx(0.25) and figures["likeliest"]["value"] == 0.5
    assert figures["sentences"] == 2 and not math.isnan(figures["probability"]["interval_95"][0])


def test_a_table_shows_both_and_older_results_and_other_languages_have_none(model: GPT2, tokenizer, capsys):
    decoder = TorchDecoder(model, slots=3)
    few = {naming: some[:3] for naming, some in read_openings()[1].items()}
    names, _ = names_said_again(decoder, tokenizer, 1, few, SHORT)
    words, _ = right_words(decoder, tokenizer, 1, read_sentences()[1][::9])
    quality = json.loads(json.dumps({"names": names, "right_words": words}))
    assert len(sense_rows(quality)) == 5 + 4 and sense_rows({}) == []
    assert sense_rows({"names": None, "right_words": None}) == []
    Console(width=150).print(sense_table({"quality": quality}))
    shown = capsys.readouterr().out
    assert "rare name" in shown and "possession" in shown and "0.0% (" in shown


def test_shipped_results_of_before_still_show(repository: Path):
    for path in (repository / "weights" / "small" / "evaluation").glob("*.json"):
        for result in json.loads(path.read_text(encoding="utf-8")).values():
            assert isinstance(sense_rows(result.get("quality", {})), list)
