"""A whole result: from text to bits per byte, against an independent computation."""

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from tinytale.config import ModelConfig
from tinytale.data.shards import Manifest
from tinytale.data.tokenizer import Tokenizer, load_tokenizer
from tinytale.errors import TaleError
from tinytale.evaluation.results import results_table, save_results, score
from tinytale.evaluation.stream import Stream, stream_of
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

STORIES = ["Zoë saw a 🎈 in 日本.", "A cat sat. " * 12 + "“The end,” she said.", "Hi."]


@pytest.fixture
def tokenizer(dataset: Path) -> Tokenizer:
    return load_tokenizer(dataset)


@pytest.fixture
def model_folder(dataset: Path, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = GPT2(ModelConfig(vocab_size=tokenizer.vocab_size, context_length=32, layers=2, heads=2, width=16))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    save_model(tmp_path / "model", model, tokenizer.end_of_text, (dataset / "tokenizer.json").read_bytes())
    return tmp_path / "model"


@pytest.fixture
def text_file(tmp_path: Path) -> Path:
    path = tmp_path / "stories.txt"
    path.write_text("\n<|endoftext|>\n".join(STORIES), encoding="utf-8")
    return path


def result_of(text_file: Path, model_folder: Path, tokenizer: Tokenizer) -> dict:
    from tinytale.model.folder import load_model

    stream = stream_of(str(text_file), "test", tokenizer, model_folder)
    return score(load_model(model_folder), stream, tokenizer.end_of_text, tokenizer.byte_lengths())[0]


def test_the_scores_are_those_of_transformers_story_by_story(text_file: Path, model_folder: Path, tokenizer: Tokenizer):
    transformers = pytest.importorskip("transformers")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(model_folder)
    their_tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    end = their_tokenizer.eos_token_id
    result = result_of(text_file, model_folder, tokenizer)

    nats, tokens = 0.0, 0
    for story in STORIES:
        ids = torch.tensor([end, *their_tokenizer(story)["input_ids"], end])
        begin, scored = 0, 0
        while scored < len(ids) - 1:
            window = ids[begin : begin + 33]
            with torch.no_grad():
                logits_TV = theirs(window[None, :-1]).logits[0]
            unseen = slice(scored - begin, None)
            nats += torch.nn.functional.cross_entropy(logits_TV[unseen], window[1:][unseen], reduction="sum").item()
            tokens, scored, begin = tokens + len(window[1:][unseen]), begin + len(window) - 1, begin + 16
    text_bytes = len("".join(STORIES).encode("utf-8"))
    assert (result["stories"], result["tokens_scored"], result["bytes"]) == (3, tokens, text_bytes)
    assert result["views"]["stories"]["loss"] == pytest.approx(nats / tokens, abs=1e-4)
    assert result["views"]["stories"]["bits_per_byte"] == pytest.approx(nats / math.log(2) / text_bytes, abs=1e-4)
    assert result["views"]["stories"]["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-3)


def test_both_views_read_the_same_where_all_fits_into_the_context(
    model_folder: Path, tokenizer: Tokenizer, tmp_path: Path
):
    path = tmp_path / "one.txt"
    path.write_text("Hi there.")
    views = result_of(path, model_folder, tokenizer)["views"]
    assert views["stories"]["loss"] == pytest.approx(views["windows"]["loss"], abs=1e-6)


def test_a_split_of_a_dataset_is_scored_whole(dataset: Path, model_folder: Path, tokenizer: Tokenizer):
    manifest = Manifest.load(dataset)
    for split in ("dev", "test"):
        stream = stream_of(str(dataset), split, tokenizer, model_folder)
        result = score_of(stream, model_folder, tokenizer)
        recorded = manifest.splits[split]
        assert (result["stories"], result["tokens_scored"], result["bytes"]) == (
            recorded.stories,
            recorded.tokens - 1,
            recorded.bytes,
        )
        assert (result["split"], result["digest"]) == (split, manifest.digest)


def score_of(stream: Stream, model_folder: Path, tokenizer: Tokenizer) -> dict:
    from tinytale.model.folder import load_model

    return score(load_model(model_folder), stream, tokenizer.end_of_text, tokenizer.byte_lengths())[0]


def test_a_dataset_of_another_tokenizer_is_refused(dataset: Path, model_folder: Path, tokenizer: Tokenizer):
    path = model_folder / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(TaleError, match="prepared with another tokenizer"):
        stream_of(str(dataset), "test", tokenizer, model_folder)


def test_a_model_that_makes_no_numbers_is_refused(text_file: Path, model_folder: Path, tokenizer: Tokenizer):
    from tinytale.model.folder import load_model

    model = load_model(model_folder)
    torch.nn.init.constant_(model.embedding.weight_VC, math.nan)
    stream = stream_of(str(text_file), "test", tokenizer, model_folder)
    with pytest.raises(TaleError, match="not finite"):
        score(model, stream, tokenizer.end_of_text, tokenizer.byte_lengths())


def test_results_of_both_splits_stay_in_one_file_of_their_dataset(tmp_path: Path):
    for split, loss in (("dev", 1), ("test", 2), ("dev", 3)):
        path = save_results(tmp_path / "evaluation", {"digest": "ab" * 32, "split": split, "loss": loss})
    save_results(tmp_path / "evaluation", {"digest": "cd" * 32, "split": "all", "loss": 4})
    assert {p.name for p in path.parent.iterdir()} == {"ab" * 8 + ".json", "cd" * 8 + ".json"}
    kept = json.loads(path.read_text())
    assert {split: result["loss"] for split, result in kept.items()} == {"dev": 3, "test": 2}


def test_a_damaged_results_file_is_named(tmp_path: Path):
    (tmp_path / ("ab" * 8 + ".json")).write_text("[")
    with pytest.raises(TaleError, match=r"abab\.json"):
        save_results(tmp_path, {"digest": "ab" * 32, "split": "dev"})


def test_the_table_names_both_views(text_file: Path, model_folder: Path, tokenizer: Tokenizer, capsys):
    from rich.console import Console

    result = result_of(text_file, model_folder, tokenizer)
    Console(width=200).print(results_table(result))
    shown = capsys.readouterr().out
    for view, name in (("stories", "each story from its start"), ("windows", "contiguous windows")):
        (line,) = [line for line in shown.splitlines() if name in line]
        assert f"{result['views'][view]['bits_per_byte']:.4f}" in line


def test_the_bytes_of_the_stories_are_counted_not_those_of_the_file(
    text_file: Path, model_folder: Path, tokenizer: Tokenizer
):
    stream = stream_of(str(text_file), "test", tokenizer, model_folder)
    assert int(tokenizer.byte_lengths()[stream.tokens_N].sum()) == sum(len(story.encode()) for story in STORIES)
    assert stream.split == "all"
    assert np.count_nonzero(stream.tokens_N == tokenizer.end_of_text) == 4


def test_a_loss_beyond_all_perplexities_is_scored(text_file: Path, model_folder: Path, tokenizer: Tokenizer):
    from tinytale.model.folder import load_model

    model = load_model(model_folder)
    with torch.no_grad():
        model.final_norm.gain_C.mul_(3000)
    stream = stream_of(str(text_file), "test", tokenizer, model_folder)
    result = score(model, stream, tokenizer.end_of_text, tokenizer.byte_lengths())[0]
    (kept,) = json.loads(save_results(model_folder.parent / "evaluation", result).read_text()).values()
    views = kept["views"]
    assert views["stories"]["loss"] > 710 and views["stories"]["perplexity"] is None
    bits = views["stories"]["loss"] * result["tokens_scored"] / result["bytes"] / math.log(2)
    assert views["stories"]["bits_per_byte"] == pytest.approx(bits)
    assert list(results_table(result).columns[2].cells) == ["infinite"] * 2


def test_two_evaluations_that_end_at_once_lose_nothing(tmp_path: Path):
    def save(number: int) -> None:
        save_results(tmp_path, {"digest": "d" * 64, "split": f"split-{number}", "loss": 1.0})

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (path,) = tmp_path.iterdir()
    assert set(json.loads(path.read_text())) == {f"split-{number}" for number in range(8)}
