import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tinytale.data.tokenizer import (
    END_OF_TEXT,
    StreamDecoder,
    Tokenizer,
    load_tokenizer,
    read_tokenizer,
    train_tokenizer,
)
from tinytale.errors import TaleError, UsageError

STORIES = [
    *["Once there was a cat. \"Meow,\" it said.\nIt's 12 o'clock, the cat thought."] * 30,
    *["The little girl wanted to play with her brother outside, but mother called them."] * 9,
    *["Zoë’s 🦊 从前"] * 3,
    *["a\n\n\n\nb   \t\t!\x1c\x1c!"] * 50,
]
CHARACTERS = " \n\r\t\x0b\x1c\x1f\x85\xa0\u2003\u2028\u3000\u180e'slrevdmabcÉ1٣½_.!<|>🦊从\0"
WORDS = [
    "\n\n",
    "\n\n\n",
    "  ",
    "   ",
    "\t\t",
    "\r\n",
    " \n",
    "!\x1c",
    "\x1c!",
    "'s",
    " 'll",
    "Once",
    " upon",
    "...",
    END_OF_TEXT,
]
ODD = st.text() | st.lists(st.sampled_from([*CHARACTERS, *WORDS]), max_size=40).map("".join)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(STORIES, 330)


@pytest.fixture(scope="module")
def gpt2() -> Tokenizer:
    folder = os.environ.get("TINYTALE_GPT2_TOKENIZER")
    if not folder:
        pytest.skip("TINYTALE_GPT2_TOKENIZER does not name a folder with GPT-2's vocab.json and merges.txt")
    return load_tokenizer(folder)


@given(ODD)
@example(END_OF_TEXT)
@example("")
@settings(max_examples=300, deadline=None)
def test_every_text_comes_back_and_special_tokens_stay_text(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.end_of_text not in ids
    assert tokenizer.byte_lengths()[ids].sum() == len(text.encode())


@given(ODD)
@settings(max_examples=400, deadline=None)
def test_word_by_word_is_the_same_as_the_whole_text(tokenizer, text):
    assert tokenizer.encode(text) == tokenizer.engine.encode(text, add_special_tokens=False).ids


def test_encode_bytes(tokenizer):
    ids = tokenizer.encode(STORIES[0])
    assert np.frombuffer(tokenizer.encode_bytes(STORIES[0]), tokenizer.dtype).tolist() == ids
    with pytest.raises(UsageError, match="lone surrogate"):
        tokenizer.encode("half \ud83d")


def test_the_memory_of_words_is_bounded(tokenizer, monkeypatch):
    monkeypatch.setattr("tinytale.data.words.REMEMBERED", 100)
    fresh = Tokenizer(tokenizer.engine)
    text = " ".join(map(str, range(1000)))
    assert fresh.decode(fresh.encode(text)) == text
    assert len(fresh._encode.spaced) == 100
    assert fresh.encode("x" * 1000) and "x" * 1000 not in fresh._encode.pieces


def test_token_bytes(tokenizer):
    assert sorted(tokenizer.token_bytes(i) for i in range(257)) == [b"", *(bytes([b]) for b in range(256))]
    assert tokenizer.token_bytes(tokenizer.end_of_text) == b""
    assert tokenizer.byte_lengths().shape == (330,) and tokenizer.byte_lengths()[tokenizer.end_of_text] == 0
    for index in (-1, 330):
        with pytest.raises(IndexError):
            tokenizer.token_bytes(index)


@given(st.lists(st.integers(0, 329), max_size=60))
@settings(deadline=None)
def test_streamed_text_is_unstreamed_text(tokenizer, ids):
    stream = StreamDecoder(tokenizer)
    assert "".join(map(stream.feed, ids)) + stream.finish() == tokenizer.decode(ids)


def test_a_stream_never_shows_half_a_character(tokenizer):
    text, stream = "a🦊é从\U0010ffff", StreamDecoder(tokenizer)
    parts = [stream.feed(token) for token in tokenizer.encode(text)]
    assert "".join(parts) == text and stream.finish() == "" and "" in parts
    assert stream.feed(tokenizer.end_of_text) == ""
    fox = tokenizer.encode("🦊")
    assert [stream.feed(token) for token in fox[:-1]] == [""] * (len(fox) - 1) and stream.finish() == "�"


def test_vocabulary_too_small_or_too_large():
    with pytest.raises(UsageError, match="at least 257"):
        train_tokenizer(STORIES, 256)
    with pytest.raises(UsageError, match=r"at most (\d+) tokens, not 5000") as refusal:
        train_tokenizer(STORIES, 5000)
    possible = int(str(refusal.value).split("--vocab-size ")[1].split(",")[0])
    assert train_tokenizer(STORIES, possible).vocab_size == possible
    assert train_tokenizer(STORIES, 257).vocab_size == 257


def test_a_long_run_without_blanks_does_not_hold_up_training():
    letters = random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=400_000)
    begin = time.monotonic()
    tokenizer = train_tokenizer(["".join(letters), *STORIES], 1000)
    assert time.monotonic() - begin < 30 and tokenizer.decode(tokenizer.encode("".join(letters))) == "".join(letters)


def test_training_is_the_same_on_any_number_of_threads(tokenizer):
    code = (
        "import sys, json; from tinytale.data.tokenizer import train_tokenizer;"
        "sys.stdout.buffer.write(train_tokenizer(json.load(sys.stdin), 330).to_json().encode())"
    )
    for threads in ("1", "3"):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONPATH": ":".join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(STORIES).encode(),
            env=environment,
            capture_output=True,
            check=True,
        )
        assert done.stdout.decode() == tokenizer.to_json()


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    loaded = load_tokenizer(tmp_path)
    assert loaded.to_json() == tokenizer.to_json() == (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    assert loaded.encode(STORIES[0]) == tokenizer.encode(STORIES[0])


def test_a_folder_in_gpt2s_own_format(tokenizer, tmp_path):
    model = json.loads(tokenizer.to_json())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [" ".join(merge) for merge in model["merges"]]
    (tmp_path / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    loaded = load_tokenizer(tmp_path)
    text = STORIES[0] + END_OF_TEXT
    assert loaded.encode(text) == tokenizer.encode(text) and loaded.end_of_text == tokenizer.end_of_text


def change(tokenizer: Tokenizer, path: Path, **parts) -> Path:
    path.write_text(json.dumps(json.loads(tokenizer.to_json()) | parts), encoding="utf-8")
    return path


def test_what_would_add_tokens_is_left_out(tokenizer, tmp_path):
    adding = {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": END_OF_TEXT, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
        "special_tokens": {END_OF_TEXT: {"id": END_OF_TEXT, "ids": [0], "tokens": [END_OF_TEXT]}},
    }
    cut = {"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}
    path = change(tokenizer, tmp_path / "tokenizer.json", post_processor=adding, truncation=cut)
    assert read_tokenizer(path).to_json() == tokenizer.to_json()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"added_tokens": []}, None),
        ({"normalizer": {"type": "Lowercase"}}, "normalizer"),
        ({"decoder": None}, "byte-level BPE"),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
            "space",
        ),
        ({"model": {"type": "WordLevel", "vocab": {END_OF_TEXT: 0}, "unk_token": END_OF_TEXT}}, "byte-level BPE"),
        ({"model": {"type": "BPE", "vocab": {"a": 5}, "merges": []}}, "without a gap"),
        ({"model": {"type": "BPE", "vocab": {END_OF_TEXT: 0, "a": 1}, "merges": []}}, "lacks a token for some byte"),
        ({"model": "x"}, "cannot be read"),
    ],
)
def test_a_tokenizer_of_another_kind_is_refused_by_name(tokenizer, tmp_path, parts, message):
    path = change(tokenizer, tmp_path / "tokenizer.json", **parts)
    if parts == {"added_tokens": []}:
        content = path.read_text(encoding="utf-8").replace(END_OF_TEXT, "<|other|>")
        path.write_text(content, encoding="utf-8")
        message = "no token <|endoftext|>".replace("|", r"\|")
    with pytest.raises(TaleError, match=message) as refusal:
        load_tokenizer(tmp_path)
    assert "tokenizer.json" in str(refusal.value)


def test_no_tokenizer_there(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"expected gpt2, or a folder with tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes(b"\x80\x04junk")
    with pytest.raises(TaleError, match=r"tokenizer\.json cannot be read"):
        load_tokenizer(tmp_path)


def test_gpt2_from_the_hub_offline_is_one_clear_line(tmp_path, monkeypatch):
    code = "import sys; from tinytale.data.tokenizer import load_tokenizer; load_tokenizer('gpt2')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "TaleError: cannot get vocab.json of openai-community/gpt2 from the Hub" in done.stderr


def test_gpt2_has_its_own_ids(gpt2):
    assert (gpt2.vocab_size, gpt2.end_of_text, gpt2.dtype) == (50257, 50256, np.dtype("<u2"))
    assert gpt2.encode("Hello world<|endoftext|>") == [15496, 995, 27, 91, 437, 1659, 5239, 91, 29]


@given(st.lists(ODD, min_size=40, max_size=80))
@settings(max_examples=250, deadline=None)
def test_gpt2_ids_equal_those_of_tiktoken_on_odd_text(gpt2, lines):
    reference = tiktoken_gpt2()
    for line in lines:
        assert gpt2.encode(line) == reference.encode_ordinary(line)


def tiktoken_gpt2(made: list = []):  # noqa: B006
    if not made:
        tiktoken = pytest.importorskip("tiktoken")
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks

        folder = Path(os.environ["TINYTALE_GPT2_TOKENIZER"])
        ranks = data_gym_to_mergeable_bpe_ranks(str(folder / "merges.txt"), str(folder / "vocab.json"))
        pattern = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
        made.append(
            tiktoken.Encoding("gpt2", pat_str=pattern, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: 50256})
        )
    return made[0]
