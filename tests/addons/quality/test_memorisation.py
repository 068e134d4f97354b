"""What is by heart and what is not: hand-made cases, words that no story has. A model that recites: test_suite.py."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tinytale.addons.quality.memorisation import memorisation, memorisation_rows, share_in_train
from tinytale.addons.quality.samples import Samples, SampleSettings, draw_stories, tell_samples
from tinytale.addons.quality.telling import Told
from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.data.stored import open_splits
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.generation.torch_decoder import TorchDecoder
from tinytale.model.gpt2 import GPT2

FEW = SampleSettings(stories=20)


@pytest.fixture
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


def samples_of(*stories: str) -> Samples:
    return Samples(FEW, [Told(story, True) for story in stories])


@pytest.fixture
def splits(dataset: Path):
    return open_splits(dataset, Manifest.load(dataset))


def test_shares_by_hand():
    runs_S = [np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 0]), np.array([0] * 8), np.array([1, 2]), np.zeros(0, np.int64)]
    figures = share_in_train(runs_S)
    assert figures["stories"] == 4
    eight = figures["in_train"]["8"]
    assert (eight["sequences"], eight["found"], eight["share"]) == (4, 2, 0.5)
    assert figures["in_train"]["13"] == {"sequences": 0, "found": 0, "share": None, "interval_95": None}
    longest = figures["longest_run"]
    assert (longest["mean"], longest["median"], longest["longest"]) == (11 / 4, 1.0, 9)
    low, high = longest["interval_95"]
    error = np.std([9, 0, 2, 0], ddof=1) / 2
    assert (low, high) == (0.0, pytest.approx(11 / 4 + 1.96 * error))
    assert figures["whole_stories"] == 1


def test_an_interval_stays_within_what_a_share_can_be():
    almost, none = np.arange(1, 41), np.zeros(9, np.int64)
    figures = share_in_train([almost, almost, none])["in_train"]["8"]
    assert figures["share"] == 66 / 68 and 0 < figures["interval_95"][0] < 66 / 68 < figures["interval_95"][1] < 1
    figures = share_in_train([none] * 9 + [almost[:9]])["in_train"]["8"]
    assert figures["share"] == 0.1 and 0 < figures["interval_95"][0] < 0.1 < figures["interval_95"][1]


def test_half_a_story_by_heart_is_half(splits):
    words = splits["train"][3].split()[:20]
    samples = samples_of(" ".join([*words, *(f"x{n}" for n in range(20))]))
    figures = memorisation(splits["train"], "word", samples, [splits["test"][0]])["samples"]
    eight = figures["in_train"]["8"]
    assert (eight["sequences"], eight["found"], eight["share"]) == (33, 13, 13 / 33)
    assert eight["interval_95"][1] - eight["interval_95"][0] > 0.8  # one story says little of all
    assert figures["longest_run"]["interval_95"] is None
    assert figures["in_train"]["13"]["found"] == 8
    assert figures["longest_run"]["longest"] == 20 and figures["whole_stories"] == 0


def test_words_that_no_story_has_are_not_found(splits):
    chance = random.Random(0)
    strange = [" ".join(f"{chance.random():.9f}" for _ in range(30)) for _ in range(20)]
    result = memorisation(splits["train"], "word", samples_of(strange[0]), strange)
    for part in (result["samples"], result["control"]):
        assert [found["found"] for found in part["in_train"].values()] == [0, 0]
        assert part["longest_run"]["longest"] == part["whole_stories"] == part["near_duplicates"]["value"] == 0


def test_copies_and_near_copies_of_a_train_story_are_near_duplicates(splits):
    story = splits["train"][7].split()
    changed = [*story[: len(story) // 2], "suddenly", *story[len(story) // 2 :]]
    halves = [*story[: len(story) // 2], *splits["train"][8].split()[: len(story) // 2]]
    samples = samples_of(*map(" ".join, (story, changed, halves)))
    result = memorisation(splits["train"], "word", samples, [splits["test"][0]])
    assert result["samples"]["near_duplicates"]["value"] == 2 / 3
    assert result["samples"]["whole_stories"] == 1 and result["control"]["near_duplicates"]["value"] == 0


def test_the_control_is_of_the_split_drawn_by_the_seed_and_cut_like_a_sample(splits, tokenizer: Tokenizer):
    stories = splits["test"]
    whole = [tokenizer.encode(story) for story in stories]
    drawn = draw_stories(stories, tokenizer, SampleSettings(stories=3))
    assert all(story in whole for story in drawn.tokens) and len(set(map(tuple, drawn.tokens))) == 3
    limit = len(drawn.tokens[1])
    assert drawn.cut(30) == [Told(tokenizer.decode(story[:30]), False) for story in drawn.tokens]
    assert [told.ended for told in drawn.cut(limit + 1)][1] and not drawn.cut(limit)[1].ended
    again, other = (draw_stories(stories, tokenizer, SampleSettings(stories=3, seed=seed)) for seed in (0, 1))
    assert drawn.tokens == again.tokens != other.tokens
    assert len(draw_stories(stories, tokenizer, SampleSettings(stories=10**6)).tokens) == len(stories)


def test_the_same_settings_tell_the_same_stories(tokenizer: Tokenizer):
    model = GPT2(ModelConfig(vocab_size=300, context_length=8, layers=1, heads=1, width=8)).eval()
    told = [
        tell_samples(TorchDecoder(model, 2), tokenizer, SampleSettings(stories=3, max_new_tokens=9, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert told[0].stories == told[1].stories != told[2].stories and len(set(told[0].stories)) == 3
    kept = told[0].to_json()
    assert kept["settings"] == {"stories": 3, "temperature": 0.8, "max_new_tokens": 9, "seed": 1}
    assert kept["ended"] == [len(tokenizer.encode(story)) < 9 for story in kept["stories"]]


def test_the_figures_are_json_and_stand_side_by_side(splits):
    samples = samples_of("A cat.")
    result = json.loads(json.dumps(memorisation(splits["train"], "word", samples, list(splits["dev"]))))
    heading, *rows = memorisation_rows(result)
    cells = {name: (samples, control) for name, samples, control in rows}
    assert heading == ("found in train", "samples", "real stories")
    assert cells["sequences of 8 words"][0] == "none so long" and "%" in cells["sequences of 8 words"][1]
    assert cells["longest run of words: longest"][1] == str(result["control"]["longest_run"]["longest"])
    assert cells["with a near duplicate (80% similar)"][0].startswith("0.00% (")


def test_results_from_before_near_duplicates_were_counted_are_still_shown(splits):
    result = memorisation(splits["train"], "word", samples_of("A cat."), list(splits["dev"]))
    del result["control"]["near_duplicates"]
    assert not any("near duplicate" in name for name, _, _ in memorisation_rows(result))
