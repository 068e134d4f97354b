"""Tokenizers as other programs leave them: what loses text is refused, and the rest encodes as transformers does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tinytale.data.tokenizer import END_OF_TEXT, Tokenizer, load_tokenizer, train_tokenizer
from tinytale.errors import TaleError

TEXT = "Once upon a  time, Zoë said <|happy|>: it's 12!\n\n <|sad|>[PAD] Bär <|endoftext|>"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def split(pattern: str = GPT2, behavior: str = "Isolated", **rest: Any) -> dict:
    first = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": behavior, "invert": False} | rest
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [first, BYTES]}}


@pytest.fixture(scope="module")
def plain() -> dict:
    """The settings of a small tokenizer."""
    return json.loads(train_tokenizer([TEXT, "Once upon a time there was a bear."] * 9, 290).to_json())


def write(folder: Path, settings: dict, **beside: Any) -> Path:
    """A folder with a `tokenizer.json`, and other files with these contents."""
    folder.mkdir(exist_ok=True)
    for name, content in {"tokenizer": settings, **beside}.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def write_merges(folder: Path, settings: dict, **beside: Any) -> Path:
    """The same in GPT-2's own format."""
    write(folder, settings, vocab=settings["model"]["vocab"], **beside)
    merges = "\n".join(" ".join(pair) for pair in settings["model"]["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    (folder / "tokenizer.json").unlink()
    return folder


def added(settings: dict, content: str, special: bool = False, **flags: bool) -> dict:
    """One more token."""
    index = len(settings["model"]["vocab"]) + len(settings["added_tokens"]) - 1
    off = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    token = {"id": index, "content": content, **off, "special": special} | flags
    return settings | {"added_tokens": [*settings["added_tokens"], token]}


def theirs(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    return transformers.AutoTokenizer.from_pretrained(folder)


def encodes_as_transformers(folder: Path) -> Tokenizer:
    tokenizer = load_tokenizer(folder)
    text = TEXT.replace(END_OF_TEXT, "")  # which transformers takes for the token, and we for what a person wrote
    assert tokenizer.encode(text) == theirs(folder)(text, add_special_tokens=False)["input_ids"]
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids) == TEXT and tokenizer.byte_lengths()[ids].sum() == len(TEXT.encode())
    return tokenizer


LOSING = {
    "Whitespace": {"pre_tokenizer": {"type": "Whitespace"}},
    "WhitespaceSplit, then bytes": {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, BYTES]}
    },
    "Metaspace": {
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    },
    "CharDelimiter": {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "CharDelimiterSplit", "delimiter": "x"}, BYTES],
        }
    },
    "Punctuation removed": {
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Punctuation", "behavior": "Removed"}, BYTES],
        }
    },
    "no split at all": {"pre_tokenizer": None},
    "nothing in a sequence": {"pre_tokenizer": {"type": "Sequence", "pretokenizers": []}},
    "Split with Removed": split(behavior="Removed"),
    "Split inverted": split(invert=True),
    "a regex that takes forever": split(r"(\s|.|x?)*$y"),
    "a regex that takes forever in a normalizer": {
        "normalizer": {"type": "Replace", "pattern": {"Regex": r"(x+x+)+y"}, "content": ""}
    },
    "a prefix": {"model": {"continuing_subword_prefix": "##"}},
    "a suffix": {"model": {"end_of_word_suffix": "</w>"}},
    "dropout": {"model": {"dropout": 0.1}},
}


@pytest.mark.parametrize("kind", LOSING)
def test_what_loses_text_or_is_not_the_same_twice_is_refused(kind: str, plain: dict, tmp_path: Path):
    change = LOSING[kind]
    change = {"model": plain["model"] | change["model"]} if "model" in change else change
    with pytest.raises(TaleError, match=r"tokenizer\.json: .*(expected|cannot)"):
        load_tokenizer(write(tmp_path, plain | change))


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word"])
def test_an_added_token_that_takes_blanks_along_is_refused(flag: str, plain: dict, tmp_path: Path):
    with pytest.raises(TaleError, match=f"'<x>' has {flag}"):
        load_tokenizer(write(tmp_path, added(plain, "<x>", **{flag: True})))


def test_an_added_token_with_the_id_of_another_text_is_refused(plain: dict, tmp_path: Path):
    index = plain["model"]["vocab"]["Ġa"]
    token = added(plain, "Ġa")["added_tokens"][-1] | {"id": index}
    with pytest.raises(TaleError, match="stands for another text"):
        load_tokenizer(write(tmp_path, plain | {"added_tokens": [*plain["added_tokens"], token]}))


def test_the_probe_notices_what_the_list_does_not(plain: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinytale.data.tokenizer.check_byte_level", lambda *_: None)
    for kind in ("Split with Removed", "WhitespaceSplit, then bytes"):
        with pytest.raises(TaleError, match="loses text"):
            load_tokenizer(write(tmp_path, plain | LOSING[kind]))


@pytest.mark.parametrize("pattern", [GPT2, None])
def test_known_splits_stay(pattern: str | None, plain: dict, tmp_path: Path):
    change = split(pattern) if pattern else {"pre_tokenizer": BYTES}
    encodes_as_transformers(write(tmp_path, plain | change))


def test_an_added_token_with_umlauts_comes_back(plain: dict, tmp_path: Path):
    """Its letters are text, though each is also the stand-in of a byte."""
    tokenizer = encodes_as_transformers(write(tmp_path, added(added(plain, "Zoë"), "Bär")))
    assert tokenizer.token_bytes(290) == "Zoë".encode() and 290 in tokenizer.encode(TEXT)


def test_a_control_token_in_a_text_is_that_token(plain: dict, tmp_path: Path):
    tokenizer = encodes_as_transformers(write(tmp_path, added(plain, "<|happy|>", special=True)))
    assert tokenizer.encode("<|happy|> a")[0] == 290
    tokenizer.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path).encode("<|happy|> a")[0] == 290


@pytest.mark.parametrize("form", [write, write_merges])
def test_tokens_in_files_beside_are_kept(form: Any, plain: dict, tmp_path: Path):
    tokens = {"<|happy|>": 290, "<|sad|>": 291}
    folder = form(tmp_path, plain, added_tokens=tokens, tokenizer_config={"tokenizer_class": "GPT2Tokenizer"})
    tokenizer = encodes_as_transformers(folder)
    assert tokenizer.vocab_size == 292 and {290, 291} <= set(tokenizer.encode(TEXT))
    (folder / "added_tokens.json").unlink()
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    decoder = {"290": {"content": "<|happy|>", "special": True, **flags}, "291": {"content": "<|sad|>", **flags}}
    config = {"tokenizer_class": "GPT2Tokenizer", "added_tokens_decoder": decoder, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = encodes_as_transformers(folder)
    assert tokenizer.vocab_size == 293 and {290, 291, 292} <= set(tokenizer.encode(TEXT))


BESIDE = {
    "a space before": ({"tokenizer_config": {"add_prefix_space": True}}, "add_prefix_space: True"),
    "no control tokens": ({"tokenizer_config": {"split_special_tokens": True}}, "split_special_tokens: True"),
    "a gap": ({"added_tokens": {"<x>": 300}}, "gives '<x>' the id 300; the tokenizer's next is 290"),
    "another id": ({"added_tokens": {"a": 290}}, "gives 'a' the id 290; the tokenizer gives it"),
    "a list": ({"added_tokens": ["<x>"]}, r"added_tokens\.json beside it holds a list"),
    "blanks": ({"tokenizer_config": {"added_tokens_decoder": {"290": {"content": "<x>", "lstrip": True}}}}, "lstrip"),
    "no number": ({"tokenizer_config": {"added_tokens_decoder": {"x": {"content": "y"}}}}, "cannot be read"),
}


@pytest.mark.parametrize("form", [write, write_merges])
@pytest.mark.parametrize("kind", BESIDE)
def test_settings_beside_that_change_the_text_are_refused(kind: str, form: Any, plain: dict, tmp_path: Path):
    beside, message = BESIDE[kind]
    with pytest.raises(TaleError, match=message):
        load_tokenizer(form(tmp_path, plain, **beside))


def test_a_tokenizer_of_another_kind_in_gpt2s_format_is_refused(plain: dict, tmp_path: Path):
    with pytest.raises(TaleError, match="tokenizer_class: 'CLIPTokenizer'"):
        load_tokenizer(write_merges(tmp_path, plain, tokenizer_config={"tokenizer_class": "CLIPTokenizer"}))


def test_what_transformers_saves_of_ours_is_read(plain: dict, tmp_path: Path):
    before = load_tokenizer(write(tmp_path / "ours", plain))
    theirs(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    assert encodes_as_transformers(tmp_path / "theirs").encode(TEXT) == before.encode(TEXT)


def test_control_tokens_that_a_model_does_not_know_are_left_out(plain: dict, tmp_path: Path):
    """As transformers leaves a folder whose tokenizer got a [PAD] and whose embedding was not resized."""
    padded = load_tokenizer(write(tmp_path, added(plain, "[PAD]", special=True)))
    assert padded.vocab_size == 291 and padded.fitted(291) is padded
    fitted = padded.fitted(290)
    assert fitted.vocab_size == 290 and max(fitted.encode(TEXT)) < 290 and fitted.decode(fitted.encode(TEXT)) == TEXT
    with pytest.raises(TaleError, match=r"291 tokens, its model knows 289; '.*' belongs to another model"):
        padded.fitted(289)


@pytest.mark.parametrize("name", ["tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"])
def test_a_git_lfs_pointer_is_named_as_such(name: str, plain: dict, tmp_path: Path):
    form = write if name.startswith("tokenizer") else write_merges
    folder = form(tmp_path, plain)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 9\n"
    (folder / name).write_text(pointer)
    with pytest.raises(TaleError, match=re.escape(name) + " is a Git LFS pointer"):
        load_tokenizer(folder)


@pytest.mark.parametrize("form", [write, write_merges])
def test_the_mark_that_some_editors_put_before_a_file_is_no_damage(plain, tmp_path: Path, form):
    folder = form(tmp_path / "a", plain, tokenizer_config={"model_max_length": 8})
    expected = load_tokenizer(folder).encode(TEXT)
    for path in folder.iterdir():
        path.write_text(path.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert load_tokenizer(folder).encode(TEXT) == expected
