"""The whole suite on planted faults: each is seen by the figures that are there for it, beside a control without it."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from tinytale.addons.quality.completions import CompletionSettings, continue_real
from tinytale.addons.quality.lexicon import Lexicon
from tinytale.addons.quality.relevance import MEASURES, relevance
from tinytale.addons.quality.samples import SampleSettings, draw_stories
from tinytale.addons.quality.suite import full_suite
from tinytale.addons.quality.suite_tables import prompts_table, quality_table
from tinytale.data.shards import Manifest
from tinytale.data.stored import open_splits
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import TaleError

SETTINGS = SampleSettings(stories=8, max_new_tokens=500)
ASKED = CompletionSettings(max_new_tokens=6, beams=2, seeds=(0, 1))


@pytest.fixture
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


@pytest.fixture
def stories(dataset: Path, tokenizer: Tokenizer):
    """`stories("train")`: stories of a split that are short enough to be told, as tokens."""
    splits = open_splits(dataset, Manifest.load(dataset))
    return lambda split: [tokens for tokens in map(tokenizer.encode, splits[split]) if len(tokens) < 500][:20]


@pytest.fixture
def measure(dataset: Path, tokenizer: Tokenizer):
    return lambda decoder, split="test": full_suite(decoder, tokenizer, dataset, split, SETTINGS, ASKED)


def test_a_model_that_recites_train_is_caught_by_memorisation(measure, follows, recites, stories, tokenizer):
    figures, told = measure(follows(recites(stories("train"), tokenizer.end_of_text)))
    samples, control = figures["memorisation"]["samples"], figures["memorisation"]["control"]
    assert samples["whole_stories"] == samples["stories"] == len(told["stories"]) == 8
    assert samples["near_duplicates"]["value"] == 1.0 and samples["in_train"]["13"]["share"] == 1.0
    assert control["whole_stories"] == 0 and control["near_duplicates"]["value"] < 0.2
    stories_told = figures["quality"]["stories"]
    assert stories_told["endings"]["samples"]["ended"]["value"] == 1.0
    assert stories_told["spelling"]["samples"]["unknown"]["value"] == 0.0
    assert stories_told["repetition"]["samples"]["loops"]["value"] == 0.0


def test_a_model_that_loops_is_caught_by_repetition(measure, follows, tokenizer):
    circle = tokenizer.encode(" The cat sat on a mat and saw the cat.")
    figures, told = measure(follows(lambda text: {circle[len(text) % len(circle)]}))
    about = figures["quality"]["stories"]
    samples, real = about["repetition"]["samples"], about["repetition"]["real"]
    assert (samples["loops"]["value"], real["loops"]["value"]) == (1.0, 0.0)
    for measure_of in ("rep_1", "rep_2", "rep_3", "rep_4"):
        assert samples[measure_of]["interval_95"][0] > 0.6 > real[measure_of]["interval_95"][1]
    assert about["endings"]["samples"]["ended"]["value"] == 0.0 and not any(told["ended"])
    diverse = about["diversity"]
    assert diverse["samples"]["self_bleu"]["value"] > 90 > diverse["real"]["self_bleu"]["value"]
    assert diverse["samples"]["distinct_4"]["value"] < diverse["real"]["distinct_4"]["value"]
    assert diverse["samples"]["compression"]["value"] > diverse["real"]["compression"]["value"]


def test_a_model_that_ignores_its_prompt_is_caught_by_the_shuffled_control(
    dataset: Path, tokenizer: Tokenizer, follows, recites
):
    """It tells stories like those that the prompts are from, so it has their names by chance, and no better.

    An interval of 95% misses now and then, and here are four: with seed 2 none does.
    """
    train = open_splits(dataset, Manifest.load(dataset))["train"]
    lexicon, real = Lexicon(train, "word"), draw_stories(train, tokenizer, SampleSettings(stories=100))
    rule = recites([story[:120] for story in real.tokens], tokenizer.end_of_text)
    short = SampleSettings(stories=100, max_new_tokens=120, seed=2)
    deaf, hearing = (
        relevance(told.openings, [story.text for story in told.told], lexicon)
        for told in (continue_real(follows(rule, ignoring), tokenizer, real, short) for ignoring in (True, False))
    )
    for measure in MEASURES:
        low, high = deaf[measure]["own"]["interval_95"]
        assert low <= deaf[measure]["shuffled"]["value"] <= high and deaf[measure]["shuffled"]["value"] > 0.02
        assert hearing[measure]["own"]["interval_95"][0] > hearing[measure]["shuffled"]["interval_95"][1]


def test_a_model_that_makes_words_up_is_caught_by_spelling(measure, follows, tokenizer):
    strange = [tokenizer.end_of_text, *tokenizer.encode("Qaxiz vupol. " * 5), tokenizer.end_of_text]
    figures, _ = measure(follows(lambda text: {strange[len(text) % len(strange)]}))
    spelt = figures["quality"]["stories"]["spelling"]
    assert spelt["samples"]["unknown"]["value"] == 1.0 and spelt["real"]["unknown"]["value"] < 0.02


def test_everything_told_is_kept_with_its_settings_and_shown_beside_real_stories(
    measure, follows, recites, stories, tokenizer, capsys
):
    figures, told = json.loads(json.dumps(measure(follows(recites(stories("train"), tokenizer.end_of_text)), "dev")))
    assert len(told["stories"]) == len(told["ended"]) == told["settings"]["stories"] == 8
    completions = told["completions"]
    assert completions["prompts_version"] == figures["quality"]["prompts"]["version"] == 1
    assert completions["settings"] == {"max_new_tokens": 6, "beams": 2, "temperature": 0.8, "seeds": [0, 1]}
    for prompt in completions["prompts"]:
        assert [len(prompt[way]) for way in ("greedy", "beam", "sampled")] == [1, 1, 2]
    ways = figures["quality"]["prompts"]["ways"]
    assert ways["sampled"]["completions"] == 2 * ways["greedy"]["completions"] == 2 * len(completions["prompts"])
    assert set(ways["beam"]["relevance"]) == set(MEASURES)
    names, words = figures["quality"]["names"], figures["quality"]["right_words"]
    assert names["rare"]["openings"] == names["common"]["openings"] == len(told["names"]["rare"]) >= 120
    assert words["sentences"] == len(told["right_words"]["sentences"]) >= 60

    for table in (quality_table({"split": "dev", **figures}), prompts_table(figures)):
        Console(width=200).print(table)
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if "self-BLEU" in line]
    diverse = figures["quality"]["stories"]["diversity"]
    assert all(f"{diverse[part]['self_bleu']['value']:.1f} (" in line for part in ("samples", "real"))
    assert shown.count("with prompts shuffled") == 2 * len(MEASURES) and "beam 2" in shown


def test_a_dataset_without_such_a_split_is_refused(tmp_path: Path, follows):
    from tinytale.data.prepare import prepare

    data = tmp_path / "data"
    prepare("builtin", data, stories=60, vocab_size=257, dev_fraction=0.0, processes=1)
    with pytest.raises(TaleError, match=r"the dev split of .* is empty"):
        full_suite(follows(lambda text: {0}), load_tokenizer(data), data, "dev", SETTINGS, ASKED)


def test_where_train_is_not_english_the_prompts_are_left_out(tmp_path: Path, follows):
    from tinytale.data.prepare import prepare

    story = "小猫看见一只大狗在河边睡觉。它说你好。"
    text = "\n<|endoftext|>\n".join(story[number % 7 :] + story[: number % 11] + str(number) for number in range(90))
    (tmp_path / "stories.txt").write_text(text, encoding="utf-8")
    data = tmp_path / "data"
    prepare(str(tmp_path / "stories.txt"), data, vocab_size=257, processes=1)
    tokenizer = load_tokenizer(data)
    figures, told = full_suite(follows(lambda text: {65}), tokenizer, data, "test", SETTINGS, ASKED)
    quality = figures["quality"]
    assert quality["unit"] == "character" and quality["prompts"] is told["completions"] is None
    assert quality["names"] is told["names"] is quality["right_words"] is told["right_words"] is None
    assert quality["openings"]["real"]["english_pronouns_kept"] == {"own": None, "shuffled": None}
    assert quality["stories"]["repetition"]["real"]["rep_1"]["value"] > 0
