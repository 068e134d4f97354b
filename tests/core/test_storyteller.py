"""The Python interface."""

import html
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tinytale
from tinytale.config import ModelConfig
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.evaluation.perplexity import nats_from_story_starts, story_bounds, summarise
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.storyteller import Storyteller


@pytest.fixture(scope="module")
def folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=300, context_length=32, layers=1, heads=2, width=16))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    folder = tmp_path_factory.mktemp("run") / "model"
    tokenizer = load_tokenizer(dataset)
    save_model(folder, model, tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture(scope="module")
def teller(folder: Path) -> Storyteller:
    return tinytale.load(folder, "cpu")


def texts(stories) -> list[str]:
    return [story.text for story in stories]


def test_importing_tinytale_imports_neither_torch_nor_numpy(repository: Path):
    code = "import sys, tinytale; sys.exit(bool({'torch', 'numpy', 'tokenizers', 'rich'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=repository / "src").returncode == 0


def test_a_run_is_loaded_as_its_model(folder: Path, teller: Storyteller):
    run = tinytale.load(str(folder.parent))
    assert texts(run.generate("One", max_new_tokens=9)) == texts(teller.generate("One", max_new_tokens=9))


def test_a_folder_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="there is no folder 'nowhere'"):
        tinytale.load("nowhere")


def test_a_tokenizer_of_another_model_is_refused(dataset: Path, tmp_path: Path):
    model = GPT2(ModelConfig(vocab_size=299, context_length=8, layers=1, heads=1, width=8))
    save_model(tmp_path, model, 0, (dataset / "tokenizer.json").read_bytes())
    with pytest.raises(TaleError, match="300 tokens, its model knows 299"):
        tinytale.load(tmp_path)


def test_a_story_is_the_same_whatever_it_is_told_with(teller: Storyteller):
    prompts = ["", "One day, ", "Zoë 🦊"]
    told = teller.generate(prompts, samples=4, max_new_tokens=20, temperature=1.0, seed=3, batch_size=5)
    assert [story.prompt for story in told] == [prompt for prompt in prompts for _ in range(4)]
    for place, prompt in enumerate(prompts):
        mine = texts(told[4 * place : 4 * place + 4])
        assert len(set(mine)) == 4
        assert mine == texts(teller.generate(prompt, samples=4, max_new_tokens=20, temperature=1.0, seed=3))
        for sample in range(4):
            pieces = teller.stream(prompt, max_new_tokens=20, temperature=1.0, seed=3, sample=sample)
            assert "".join(pieces) == mine[sample]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 0.3},
        {"top_k": 2},
        {"top_p": 0.1},
        {"min_p": 0.9},
        {"repetition_penalty": 5.0},
        {"greedy": True},
        {"seed": 1},
        {"max_new_tokens": 5},
    ],
    ids=str,
)
def test_every_setting_tells_another_story_and_streams_the_same(teller: Storyteller, settings: dict):
    usual = {"temperature": 1.0, "max_new_tokens": 30}
    (story,) = teller.generate("One", **usual | settings)
    assert story.text != teller.generate("One", **usual)[0].text
    assert "".join(teller.stream("One", **usual | settings)) == story.text


def test_stop_strings_end_a_story_told_and_streamed(teller: Storyteller):
    whole = teller.generate("One", max_new_tokens=30)[0].text
    for stop in (whole[5], whole[9:12], ["never told", whole[7:9]]):
        (story,) = teller.generate("One", max_new_tokens=30, stop=stop)
        assert story.text == whole.split(stop if isinstance(stop, str) else stop[1])[0]
        assert story.ended == "stop string"
        assert "".join(teller.stream("One", max_new_tokens=30, stop=stop)) == story.text


def test_beams_find_a_likelier_story_than_greedy(teller: Storyteller):
    def log_probability(**settings) -> float:
        (story,) = teller.generate("One", max_new_tokens=12, **settings)
        return sum(record.log_probability for record in story.tokens) / len(story.tokens)

    assert log_probability(greedy=True) == log_probability(beams=1) < log_probability(beams=6)
    several = teller.generate(["One", "Two"], beams=3, max_new_tokens=9)
    assert texts(several) == [teller.generate(p, beams=3, max_new_tokens=9)[0].text for p in ("One", "Two")]
    assert len(several[0].tokens) <= 9


def test_a_score_is_what_evaluate_measures(teller: Storyteller):
    text = "Once upon a time, Zoë met a 🦊. " * 4  # longer than the context
    score = teller.score(text)
    end = teller.tokenizer.end_of_text
    stream_N = np.array([end, *teller.tokenizer.encode(text), end])
    bounds = story_bounds(stream_N, end)
    nats_N = nats_from_story_starts(teller.model, stream_N, bounds)
    lengths = teller.tokenizer.byte_lengths()[stream_N]
    two = np.concatenate([stream_N, stream_N[1:]])  # one story has no interval
    expected = summarise(
        np.concatenate([nats_N, nats_N[1:]]), story_bounds(two, end), np.concatenate([lengths, lengths[1:]])
    )
    assert score.bits_per_byte == pytest.approx(expected.bits_per_byte)
    assert score.perplexity == pytest.approx(expected.perplexity)
    assert [record.token for record in score.tokens] == stream_N[1:].tolist()
    assert [-record.log_probability for record in score.tokens] == pytest.approx(nats_N[1:].tolist())
    assert score.nats == pytest.approx(nats_N.sum())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "samples is 0"),
        ({"max_new_tokens": 0}, "max-new-tokens 0"),
        ({"batch_size": 0}, "batch-size 0"),
        ({"alternatives": -1}, "alternatives -1"),
        ({"temperature": 0.0}, "temperature is 0"),
        ({"min_p": 2.0}, "min-p is 2"),
        ({"stop": ""}, "stop string is empty"),
        ({"beams": 0}, "beams is 0"),
        ({"beams": 2, "samples": 2}, "beside samples 2, which would do nothing: beam search finds one text"),
        ({"beams": 2, "repetition_penalty": 1.5}, "beside repetition-penalty 1.5, which"),
        ({"beams": 2, "temperature": 0.9, "top_k": 5}, "beside temperature 0.9, top-k 5, which"),
        ({"beams": 2, "top_p": 0.5, "min_p": 0.1, "seed": 3}, "beside top-p 0.5, min-p 0.1, seed 3, which"),
        ({"beams": 2, "greedy": True}, "beside greedy True, which"),
        ({"beams": 3_000_000_000}, "room for 3,000,000,000 texts at a time; expected at most 4,096"),
        ({"samples": 3_000_000_000}, "expected at most 1,000,000 stories"),
    ],
    ids=str,
)
def test_a_setting_out_of_range_is_refused(teller: Storyteller, settings: dict, message: str):
    with pytest.raises(UsageError, match=message):
        teller.generate("One", **settings)


def test_streaming_and_scoring_refuse_before_they_begin(teller: Storyteller):
    with pytest.raises(UsageError, match="max-new-tokens is 0"):
        teller.stream("One", max_new_tokens=0)
    with pytest.raises(UsageError, match="top-k is 0"):
        teller.stream("One", top_k=0)
    with pytest.raises(UsageError, match="the text is empty"):
        teller.score("")


def test_a_notebook_shows_stories_scores_and_the_teller_in_a_line_each(teller: Storyteller):
    told = teller.generate("One day <b>", samples=3, max_new_tokens=200)
    shown = [repr(one) for one in (*told, teller.score("One day, " * 50), teller)]
    assert all(len(one) < 250 and "\n" not in one for one in shown), shown
    assert shown[0].startswith("<Story 'One day <b>") and shown[0].endswith(f"ended by {told[0].ended}>")
    assert "bits per byte" in shown[3] and "1 layers, width 16" in shown[4] and "on cpu" in shown[4]
    page = told[0]._repr_html_()
    assert "<b>One day &lt;b&gt;</b>" in page and html.escape(told[0].text) in page
