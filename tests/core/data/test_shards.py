import json
import random
from dataclasses import replace

import numpy as np
import pytest

from tinytale.data.shards import Manifest, Shard, SplitShards
from tinytale.data.splits import SPLITS
from tinytale.errors import TaleError


def whole(folder, manifest, split):
    files = [folder / shard.file for shard in manifest.splits[split].shards]
    return np.concatenate([np.fromfile(file, manifest.dtype) for file in files]).astype(np.int64)


def test_every_shard_starts_with_an_end_of_text_and_only_the_last_ends_with_one(dataset):
    folder, manifest = dataset()
    for split in SPLITS:
        shards = manifest.splits[split].shards
        ends = []
        for shard in shards:
            tokens = np.fromfile(folder / shard.file, manifest.dtype)
            assert tokens[0] == manifest.end_of_text and len(tokens) == shard.tokens
            ends.append(tokens[-1] == manifest.end_of_text)
            assert (tokens == manifest.end_of_text).sum() == shard.stories + ends[-1]
        assert ends == [False] * (len(shards) - 1) + [True]
    assert len(manifest.splits["train"].shards) > 3


def test_tokens_are_sliced_across_shards(dataset):
    folder, manifest = dataset(shard_bytes=500)
    expected, tokens = whole(folder, manifest, "train"), manifest.tokens(folder, "train")
    assert len(tokens) == len(expected) == manifest.splits["train"].tokens
    assert tokens[:].dtype == np.int64
    draw = random.Random(0)
    borders = list(tokens.starts)
    for _ in range(300):
        start = draw.choice([draw.randrange(-5, len(expected) + 5), int(draw.choice(borders)) - draw.randrange(3)])
        span = slice(start, start + draw.choice([0, 1, 2, 300, 5000]))
        assert np.array_equal(tokens[span], expected[span]), span
    assert np.array_equal(tokens[-7:], expected[-7:]) and np.array_equal(tokens[:], expected)


def test_an_empty_split_has_no_tokens(dataset):
    folder, manifest = dataset(dev_fraction=0.0)
    assert len(manifest.tokens(folder, "dev")) == 0 and manifest.tokens(folder, "dev")[:5].tolist() == []


def test_manifest_comes_back_and_has_the_promised_form(dataset):
    folder, manifest = dataset()
    assert Manifest.load(folder) == manifest
    content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert content["format"] == 1 and content["dtype"] == "uint16" and content["end_of_text"] == manifest.end_of_text
    assert set(content["tokenizer"]) == {"file", "sha256", "vocab_size"}
    assert set(content["splits"]["train"]) == {"stories", "bytes", "tokens", "shards"}
    assert set(content["splits"]["train"]["shards"][0]) == {"file", "tokens", "stories", "bytes", "sha256"}
    assert str(folder.parent) not in json.dumps(content)


def test_digest_covers_content_alone(dataset):
    _, manifest = dataset()
    assert replace(manifest, settings={}, sources=[], duplicates_of_test=5).digest == manifest.digest
    assert replace(manifest, tokenizer_sha256="0" * 64).digest != manifest.digest
    assert replace(manifest, vocab_size=70_000).digest != manifest.digest
    train, dev = manifest.splits["train"], manifest.splits["dev"]
    assert replace(manifest, splits=manifest.splits | {"train": dev, "dev": train}).digest != manifest.digest
    assert (
        replace(manifest, splits=manifest.splits | {"train": SplitShards(train.shards[::-1])}).digest != manifest.digest
    )


def files_of(folder, manifest):
    return [folder / "manifest.json", folder / "tokenizer.json", *sorted(folder.glob("*.bin"))]


def check(folder):
    Manifest.load(folder).verify(folder)


def test_a_flipped_bit_anywhere_is_refused_by_name(dataset, count):
    folder, manifest = dataset(count=60)
    check(folder)
    draw = random.Random(10)
    files = files_of(folder, manifest)
    for turn in range(count(25, 200)):
        file = files[turn % 2] if turn % 4 < 2 else draw.choice(files[2:])
        before = file.read_bytes()
        damaged = bytearray(before)
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(TaleError) as refusal:
            check(folder)
        assert file.name in str(refusal.value)
        file.write_bytes(before)
    check(folder)


@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "longer", "folder"])
def test_a_damaged_file_is_refused_by_name(dataset, damage):
    folder, manifest = dataset(count=60)
    for file in files_of(folder, manifest):
        before = file.read_bytes()
        if damage in ("missing", "folder"):
            file.unlink()
            if damage == "folder":
                file.mkdir()
        else:
            file.write_bytes({"cut": before[:-2], "empty": b"", "longer": before + b"\0\0"}[damage])
        with pytest.raises(TaleError) as refusal:
            check(folder)
        assert file.name in str(refusal.value)
        if file.suffix == ".bin":
            with pytest.raises(TaleError, match=file.name):
                manifest.tokens(folder, file.name.split("-")[0])
        if damage == "folder":
            file.rmdir()
        file.write_bytes(before)


def test_swapped_shards_are_refused(dataset):
    folder, manifest = dataset()
    one, other = (folder / shard.file for shard in manifest.splits["train"].shards[:2])
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1]), other.write_bytes(contents[0])
    with pytest.raises(TaleError, match=one.name):
        check(folder)


def test_a_shard_cut_short_while_in_use_is_an_error_with_its_name(dataset):
    folder, manifest = dataset()
    tokens = manifest.tokens(folder, "train")
    file = folder / manifest.splits["train"].shards[1].file
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(TaleError, match=f"{file.name} became shorter"):
        tokens[:]
    file.unlink()
    with pytest.raises(TaleError, match=f"cannot read .*{file.name}"):
        tokens[:]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(format=2),
        lambda content: content.pop("splits"),
        lambda content: content.update(dtype="uint32"),
        lambda content: content.update(dtype="object"),
        lambda content: content["tokenizer"].update(vocab_size=70_000),
        lambda content: content["tokenizer"].update(vocab_size=-1),
        lambda content: content["tokenizer"].update(file="../tokenizer.json"),
        lambda content: content.update(end_of_text=320),
        lambda content: content["splits"]["train"].update(tokens=1),
        lambda content: content["splits"]["train"]["shards"][0].update(file="../../etc/passwd"),
        lambda content: content["splits"]["train"]["shards"][0].update(tokens=True),
        lambda content: content["splits"]["train"]["shards"][0].update(tokens=1e9),
        lambda content: content["splits"]["train"]["shards"][0].update(sha256="0" * 63),
        lambda content: content["splits"]["train"]["shards"][0].update(extra=1),
        lambda content: content["splits"].update(train=[]),
        lambda content: content.update(settings=5),
        lambda content: content.update(extra=1),
    ],
)
def test_a_manifest_that_disagrees_with_itself_is_refused_even_with_a_right_hash(dataset, change):
    from tinytale.data.shards import _hash

    folder, _ = dataset(count=60)
    path = folder / "manifest.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    del content["sha256"]
    path.write_text(json.dumps(content | {"sha256": _hash(content)}), encoding="utf-8")
    with pytest.raises(TaleError, match=r"manifest\.json is damaged"):
        Manifest.load(folder)


@pytest.mark.parametrize(
    "text", ["", "[]", "null", '"x"', "{}", "[" * 50_000, '{"format": ' + "9" * 5000 + "}", "\xff"]
)
def test_what_is_no_manifest_is_refused(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TaleError, match=r"manifest\.json"):
        Manifest.load(tmp_path)


def test_a_folder_without_manifest_says_what_to_type(tmp_path):
    with pytest.raises(TaleError, match=r"not a finished dataset.*tinytale prepare SOURCE --out"):
        Manifest.load(tmp_path)


def test_a_wide_vocabulary_takes_four_bytes_a_token(tmp_path):
    ids = np.array([0, 65_535, 65_536, 4], "<u4")
    (tmp_path / "train-00000.bin").write_bytes(ids.tobytes())
    shard = SplitShards((Shard("train-00000.bin", 4, 1, 4, "0" * 64),))
    manifest = Manifest(
        tokenizer_sha256="0" * 64,
        vocab_size=65_537,
        end_of_text=0,
        duplicates_of_test=0,
        settings={},
        sources=[],
        splits={"train": shard, "dev": SplitShards(()), "test": SplitShards(())},
    )
    assert manifest.tokens(tmp_path, "train")[1:].tolist() == [65_535, 65_536, 4]
    assert replace(manifest, vocab_size=65_536).dtype == np.dtype("<u2")
