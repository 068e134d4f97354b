"""The scores of a Hugging Face folder are those that transformers gives, computed another way: window by window, never
a batch; a long story slides on by half a context. To 1e-4 nats, for every token and for the mean.
"""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from tinytale.addons.builtin.stories import story
from tinytale.data.tokenizer import load_tokenizer
from tinytale.evaluation.perplexity import nats_from_story_starts, nats_in_windows, story_bounds, summarise
from tinytale.model.folder import load_model

TOLERANCE = 1e-4
CONTEXT = 32


@pytest.fixture(scope="module")
def folder(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written by transformers, but for the tokenizer: lively weights, so that every mistake shows."""
    end = load_tokenizer(dataset).end_of_text
    config = transformers.GPT2Config(
        vocab_size=300, n_positions=CONTEXT, n_layer=2, n_head=4, n_embd=32, bos_token_id=end, eos_token_id=end
    )
    torch.manual_seed(3)
    theirs = transformers.GPT2LMHeadModel(config)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path_factory.mktemp("parity") / "model"
    theirs.save_pretrained(path)
    (path / "tokenizer.json").write_bytes((dataset / "tokenizer.json").read_bytes())
    return path


class Theirs:
    """The folder in transformers, and what its model thinks of stories."""

    def __init__(self, folder: Path):
        self.model = transformers.GPT2LMHeadModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.end = self.tokenizer.convert_tokens_to_ids("<|endoftext|>")
        self.context = self.model.config.n_positions

    def stream(self, stories: list[str]) -> list[int]:
        return [self.end, *(token for text in stories for token in [*self.tokenizer(text)["input_ids"], self.end])]

    def nats(self, ids: list[int]) -> list[float]:
        with torch.inference_mode():
            logits_TV = self.model(torch.tensor([ids[:-1]])).logits[0]
            return cross_entropy(logits_TV, torch.tensor(ids[1:]), reduction="none").tolist()

    def from_starts(self, stories: list[str]) -> list[float]:
        """Of every token of the stream, its first left out."""
        found = []
        for text in stories:
            ids = self.stream([text])
            nats = self.nats(ids[: self.context + 1])
            start = 0
            while len(nats) < len(ids) - 1:
                start += self.context // 2
                nats += self.nats(ids[start : start + self.context + 1])[len(nats) - start :]
            found += nats
        return found

    def in_windows(self, stories: list[str]) -> list[float]:
        """The same, wherever the stories begin."""
        stream, found = self.stream(stories), []
        for start in range(0, len(stream) - 1, self.context):
            found += self.nats(stream[start : start + self.context + 1])
        return found


def compare_from_starts(folder: Path, stories: list[str]) -> None:
    theirs, tokenizer = Theirs(folder), load_tokenizer(folder)
    expected = theirs.from_starts(stories)
    stream_N = np.array(theirs.stream(stories))
    bounds = story_bounds(stream_N, theirs.end)
    nats_N = nats_from_story_starts(load_model(folder), stream_N, bounds)
    np.testing.assert_allclose(nats_N[1:], expected, rtol=0, atol=TOLERANCE)
    score = summarise(nats_N, bounds, tokenizer.byte_lengths()[stream_N])
    text_bytes = sum(len(text.encode("utf-8")) for text in stories)
    assert score.loss == pytest.approx(np.mean(expected), abs=TOLERANCE)
    assert score.bits_per_byte == pytest.approx(sum(expected) / math.log(2) / text_bytes, abs=TOLERANCE)


@pytest.fixture
def stories(folder: Path) -> list[str]:
    """Short ones, such as just fit, and such as slide on many times."""
    half = CONTEXT // 2
    lengths = (
        1,
        5,
        2 * half - 2,
        2 * half - 1,
        2 * half,
        2 * half + 1,
        3 * half - 1,
        3 * half,
        3 * half + 1,
        20 * half,
    )
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(story(0, 0) + story(0, 1))
    made = ["Zoë saw a 🎈 in 日本.", *(tokenizer.decode(ids[:length]) for length in lengths)]
    assert len(tokenizer.encode(made[-1])) == 20 * half
    return made


def test_each_story_from_its_start(folder: Path, stories: list[str]):
    compare_from_starts(folder, stories)


def test_contiguous_windows(folder: Path, stories: list[str]):
    theirs = Theirs(folder)
    nats_N = nats_in_windows(load_model(folder), np.array(theirs.stream(stories)))
    np.testing.assert_allclose(nats_N[1:], theirs.in_windows(stories), rtol=0, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.skipif("TINYSTORIES" not in os.environ, reason="TINYSTORIES does not name the folder of TinyStories")
def test_the_shipped_weights_on_real_stories(repository: Path):
    text = (Path(os.environ["TINYSTORIES"]) / "valid.txt").read_text(encoding="utf-8")
    real = [story.strip() for story in text.split("<|endoftext|>") if story.strip()][:200]
    folder = repository / "weights" / "small" / "model"
    lengths = [len(load_tokenizer(folder).encode(story)) for story in real]
    assert max(lengths) > 384 and min(lengths) < 256  # some slide on by half a context, some do not
    compare_from_starts(folder, real)
