"""The scores of a Hugging Face folder are those that transformers gives, computed another way: story by story, window by
window, never a batch; a long story slides on by half a context. To 1e-4 nats, for every token and for the mean.
"""

import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from tinytale.data.builtin import story
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


def compare(folder: Path, stories: list[str]) -> None:
    """Hold both views of `stories`, and their mean, against transformers."""
    tokenizer = load_tokenizer(folder)
    theirs = transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    end, context = their_tokenizer.convert_tokens_to_ids("<|endoftext|>"), theirs.config.n_positions

    def nats_of(ids: list[int]) -> list[float]:
        with torch.inference_mode():
            return cross_entropy(
                theirs(torch.tensor([ids[:-1]])).logits[0], torch.tensor(ids[1:]), reduction="none"
            ).tolist()

    from_starts, stream = [0.0], [end]
    for text in stories:
        ids = [end, *their_tokenizer(text)["input_ids"], end]
        nats = nats_of(ids[: context + 1])
        start = 0
        while len(nats) < len(ids) - 1:
            start += context // 2
            window = ids[start : start + context + 1]
            nats += nats_of(window)[len(nats) - start :]
        from_starts += nats
        stream += ids[1:]
    in_windows = [0.0]
    for start in range(0, len(stream) - 1, context):
        in_windows += nats_of(stream[start : start + context + 1])

    model = load_model(folder)
    ours_N = np.array([end, *(token for text in stories for token in [*tokenizer.encode(text), end])])
    assert ours_N.tolist() == stream
    bounds = story_bounds(ours_N, end)
    nats_N = nats_from_story_starts(model, ours_N, bounds)
    np.testing.assert_allclose(nats_N, from_starts, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(nats_in_windows(model, ours_N), in_windows, rtol=0, atol=TOLERANCE)
    score = summarise(nats_N, bounds, tokenizer.byte_lengths()[ours_N])
    text_bytes = sum(len(text.encode("utf-8")) for text in stories)
    assert score.loss == pytest.approx(sum(from_starts) / (len(stream) - 1), abs=TOLERANCE)
    assert score.bits_per_byte == pytest.approx(sum(from_starts) / math.log(2) / text_bytes, abs=TOLERANCE)


def test_short_stories_and_such_as_slide_on_many_times(folder: Path):
    lengths = (
        1,
        5,
        CONTEXT - 2,
        CONTEXT - 1,
        CONTEXT,
        CONTEXT + 1,
        3 * CONTEXT // 2,
        3 * CONTEXT // 2 + 1,
        10 * CONTEXT,
    )
    tokenizer = load_tokenizer(folder)
    ids = tokenizer.encode(story(0, 0) + story(0, 1))
    stories = ["Zoë saw a 🎈 in 日本.", *(tokenizer.decode(ids[:length]) for length in lengths)]
    assert len(tokenizer.encode(stories[-1])) == 10 * CONTEXT
    compare(folder, stories)


@pytest.mark.slow
@pytest.mark.skipif("TINYSTORIES" not in os.environ, reason="TINYSTORIES does not name the folder of TinyStories")
def test_the_shipped_weights_on_real_stories(repository: Path):
    text = (Path(os.environ["TINYSTORIES"]) / "valid.txt").read_text(encoding="utf-8")
    stories = [story.strip() for story in text.split("<|endoftext|>") if story.strip()][:200]
    folder = repository / "weights" / "small" / "model"
    lengths = [len(load_tokenizer(folder).encode(story)) for story in stories]
    assert max(lengths) > 384 and min(lengths) < 256  # some slide on by half a context, some do not
    compare(folder, stories)
