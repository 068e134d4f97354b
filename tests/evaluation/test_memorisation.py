"""What is by heart and what is not: hand-made cases, a model that recites, words that no story has."""

import json
import random
from pathlib import Path

import numpy as np
import pytest

from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.data.stored import open_splits
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import TaleError
from tinytale.evaluation import memorisation as room
from tinytale.evaluation.memorisation import memorisation, memorisation_rows, share_in_train
from tinytale.evaluation.samples import Samples, SampleSettings, tell_samples
from tinytale.model.gpt2 import GPT2

FEW = SampleSettings(stories=20)


@pytest.fixture
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


def train_stories(dataset: Path) -> list[str]:
    return list(open_splits(dataset, Manifest.load(dataset))["train"])


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
    assert figures["share"] == 66 / 68 and figures["interval_95"][1] == 1.0 and 0 < figures["interval_95"][0] < 66 / 68
    figures = share_in_train([none] * 9 + [almost[:9]])["in_train"]["8"]
    assert figures["share"] == 0.1 and figures["interval_95"][0] == 0.0


def test_a_model_that_recites_is_found_out(dataset: Path, tokenizer: Tokenizer, monkeypatch):
    recited = iter(train_stories(dataset)[5:25])
    monkeypatch.setattr(
        "tinytale.evaluation.samples.generate_many",
        lambda decoder, prompts, *_: [tokenizer.encode(next(recited)) for _ in prompts],
    )
    model = GPT2(ModelConfig(vocab_size=300, context_length=8, layers=1, heads=1, width=8))
    result = memorisation(dataset, "test", tokenizer, tell_samples(model, tokenizer, FEW))
    samples, control = result["samples"], result["control"]
    assert samples["whole_stories"] == samples["stories"] == 20
    for found in samples["in_train"].values():
        assert found["share"] == 1.0 and found["interval_95"] == (1.0, 1.0) and found["sequences"] > 100
    assert control["whole_stories"] == 0 and control["in_train"]["13"]["share"] < 1.0


def test_half_a_story_by_heart_is_half(dataset: Path, tokenizer: Tokenizer):
    words = train_stories(dataset)[3].split()[:20]
    samples = Samples(FEW, [" ".join([*words, *(f"x{n}" for n in range(20))])])
    figures = memorisation(dataset, "test", tokenizer, samples)["samples"]
    assert figures["in_train"]["8"] == {
        "sequences": 33,
        "found": 13,
        "share": 13 / 33,
        "interval_95": (13 / 33, 13 / 33),
    }
    assert figures["in_train"]["13"]["found"] == 8
    assert figures["longest_run"]["longest"] == 20 and figures["whole_stories"] == 0


def test_words_that_no_story_has_are_not_found(dataset: Path, tokenizer: Tokenizer, monkeypatch):
    chance = random.Random(0)
    strange = [" ".join(f"{chance.random():.9f}" for _ in range(30)) for _ in range(20)]
    monkeypatch.setattr(room, "_control", lambda *_: strange)
    result = memorisation(dataset, "test", tokenizer, Samples(FEW, strange[:1]))
    for part in (result["samples"], result["control"]):
        assert [found["found"] for found in part["in_train"].values()] == [0, 0]
        assert part["longest_run"]["longest"] == part["whole_stories"] == 0


def test_the_control_is_of_the_split_drawn_by_the_seed_and_cut_like_a_sample(dataset: Path, tokenizer: Tokenizer):
    stories = open_splits(dataset, Manifest.load(dataset))["test"]
    every = [tokenizer.encode(story)[:30] for story in stories]
    settings = SampleSettings(stories=3, max_new_tokens=30)
    chosen = room._control(stories, tokenizer, Samples(settings, []))
    assert len(set(chosen)) == 3 and all(tokenizer.encode(story) in every for story in chosen)
    assert chosen == room._control(stories, tokenizer, Samples(settings, []))
    other = SampleSettings(stories=3, max_new_tokens=30, seed=1)
    assert chosen != room._control(stories, tokenizer, Samples(other, []))
    assert len(room._control(stories, tokenizer, Samples(SampleSettings(stories=10**6), []))) == len(stories)


def test_the_same_settings_tell_the_same_stories(tokenizer: Tokenizer):
    model = GPT2(ModelConfig(vocab_size=300, context_length=8, layers=1, heads=1, width=8)).eval()
    told = [tell_samples(model, tokenizer, SampleSettings(stories=3, max_new_tokens=9, seed=n)) for n in (1, 1, 2)]
    assert told[0].stories == told[1].stories != told[2].stories and len(set(told[0].stories)) == 3
    assert told[0].to_json()["settings"] == {"stories": 3, "temperature": 0.8, "max_new_tokens": 9, "seed": 1}


def test_a_dataset_without_such_a_split_is_refused(tmp_path: Path):
    from tinytale.data.prepare import prepare

    prepare("builtin", tmp_path / "data", stories=60, vocab_size=257, dev_fraction=0.0, processes=1)
    with pytest.raises(TaleError, match=r"the dev split of .* is empty"):
        memorisation(tmp_path / "data", "dev", load_tokenizer(tmp_path / "data"), Samples(FEW, ["A."]))


def test_the_figures_are_json_and_stand_side_by_side(dataset: Path, tokenizer: Tokenizer):
    result = json.loads(json.dumps(memorisation(dataset, "dev", tokenizer, Samples(FEW, ["A cat."]))))
    heading, *rows = memorisation_rows(result)
    cells = {name: (samples, control) for name, samples, control in rows}
    assert heading == ("found in train", "samples", "real stories")
    assert cells["sequences of 8 words"][0] == "none so long" and "%" in cells["sequences of 8 words"][1]
    assert cells["longest run of words: longest"][1] == str(result["control"]["longest_run"]["longest"])
