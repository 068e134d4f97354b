"""What `tinytale data` says of a dataset, against plain counting over the same stories."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from tinytale.addons.builtin.stories import story
from tinytale.addons.survey import survey as survey_module
from tinytale.addons.survey.survey import random_stories, survey
from tinytale.data import stored
from tinytale.data.prepare import prepare
from tinytale.data.shards import Manifest
from tinytale.data.splits import carve, story_digest
from tinytale.data.stored import open_splits
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError

PLAIN = [story(5, number, varied_names=True) for number in range(120)]
NEAR = [f"Well, {text}" for text in PLAIN[:30]]
TRAIN = [
    *PLAIN,
    *NEAR,
    *PLAIN[:12],
    "Zoë sang: “La la!”",
    "Zoë hummed “la la” all day.".encode().decode("cp1252", "replace").replace("\ufffd", ""),
    "The tale that breaks off in",
    "A tale that breaks off, too,",
]
TEST = [*PLAIN[40:44], *(f"So, {text}" for text in PLAIN[50:60]), "Short.", "Short."]


def write(path: Path, stories: list[str]) -> str:
    path.write_text("\n<|endoftext|>\n".join(stories), encoding="utf-8", newline="\n")
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("survey")
    train, test = write(place / "a.txt", TRAIN), write(place / "b.txt", TEST)
    prepare(train, place / "dataset", test=test, vocab_size=320, dev_fraction=0.1, processes=1)
    return place / "dataset"


@pytest.fixture(scope="module")
def figures(folder: Path) -> dict:
    return survey(folder)


@pytest.fixture(scope="module")
def splits() -> dict[str, list[str]]:
    carved = list(carve(TRAIN, TEST, 0.1, 0.0))
    return {split: [text for where, text, _ in carved if where == split] for split in ("train", "dev", "test")}


def runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = text.split()
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def with_near_duplicate(texts: list[str], corpus: list[str]) -> int:
    """How many of the texts have another in the corpus with a Jaccard similarity of 0.8."""
    sets = {text: set(runs(text, 5)) for text in (*texts, *corpus)}

    def near(text: str, other: str) -> bool:
        a, b = sets[text], sets[other]
        return text != other and len(a & b) >= 0.8 * len(a | b) > 0

    return sum(any(near(text, other) for other in set(corpus)) for text in texts)


@pytest.mark.parametrize("token", [256, 60_000])
def test_a_shard_whose_bytes_are_no_text_is_named(token: int, folder: Path, tmp_path: Path):
    shutil.copytree(folder, tmp_path / "changed")
    shard = min((tmp_path / "changed").glob("train-*.bin"))
    content = bytearray(shard.read_bytes())
    lone = next(n for n in range(320) if load_tokenizer(folder).token_bytes(n) == b"\xff")
    content[2:4] = (lone if token == 256 else token).to_bytes(2, "little")
    shard.write_bytes(content)
    with pytest.raises(TaleError, match="changed holds a story that is no text"):
        open_splits(tmp_path / "changed", Manifest.load(tmp_path / "changed"))["train"][0]


def test_stories_come_back_as_they_went_in(folder: Path, splits: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stored, "BLOCK", 300)  # some stories are longer, some shorter
    manifest, tokenizer = Manifest.load(folder), load_tokenizer(folder)
    opened = open_splits(folder, manifest)
    for split, expected in splits.items():
        assert list(opened[split]) == expected
        assert [opened[split][index] for index in range(len(opened[split]))] == expected
        assert opened[split].token_counts().tolist() == [len(tokenizer.encode(text)) for text in expected]


def test_sizes_and_lengths(folder: Path, figures: dict, splits: dict[str, list[str]]):
    tokenizer = load_tokenizer(folder)
    assert figures["digest"] == Manifest.load(folder).digest
    for split, texts in splits.items():
        found, lengths = figures["splits"][split], sorted(len(tokenizer.encode(text)) for text in texts)
        words = sorted(len(text.split()) for text in texts)
        text_bytes = len("".join(texts).encode())
        assert (found["stories"], found["bytes"]) == (len(texts), text_bytes)
        assert found["tokens"] == sum(lengths) + len(texts) + 1
        assert found["bytes_per_token"] == pytest.approx(text_bytes / sum(lengths), abs=1e-4)
        for key, values in (("story_tokens", lengths), ("words", words)):
            assert found[key]["mean"] == pytest.approx(sum(values) / len(values), abs=0.01)
            assert found[key]["longest"] == values[-1]
            for name, part in (("p5", 5), ("median", 50), ("p95", 95)):
                assert found[key][name] == values[-(-part * len(values) // 100) - 1], (split, key, name)
        for context, part in found["longer_than"].items():
            assert part["count"] == sum(length > int(context) for length in lengths)
        width = found["histogram"]["width"]
        bars = Counter(min(length // width, figures["histogram_bars"]) for length in lengths)
        assert found["histogram"]["stories"] == [bars[place] for place in range(max(bars) + 1)]


def test_repetition(figures: dict, splits: dict[str, list[str]]):
    train = splits["train"]
    assert figures["removed_duplicates_of_test"] == 4
    known = {run for text in train for run in runs(text, 13)}
    for split, texts in splits.items():
        found = figures["splits"][split]
        assert found["exact_duplicates"]["count"] == len(texts) - len(set(texts))
        alike = with_near_duplicate(list(set(texts)), train)
        assert found["near_duplicates_in_train"] == {"count": alike, "share": round(alike / len(set(texts)), 6)}
        assert found["sampled"] == len(set(texts))
        if split != "train":
            assert found["copies_in_train"] == {"count": 0, "share": 0.0}
            own = [run for text in set(texts) for run in runs(text, 13)]
            same = sum(run in known for run in own)
            assert found["sequences_in_train"] == {
                "count": same,
                "share": round(same / len(own), 6),
                "sequences": len(own),
            }
            assert 0 < same < len(own)
    assert figures["splits"]["train"]["exact_duplicates"]["count"] > 5
    assert figures["splits"]["train"]["near_duplicates_in_train"]["count"] > 20


def test_blemishes_characters_and_openings(figures: dict, splits: dict[str, list[str]]):
    found, train = figures["splits"]["train"], splits["train"]
    assert set(TRAIN[-4:]) <= set(train), "the figures below count on it"
    assert (found["mojibake"]["count"], found["open_ends"]["count"]) == (1, 2)
    rare = Counter(character for text in train for character in text if ord(character) > 127)
    assert found["characters_beyond_ascii"]["count"] == rare.total() > 8
    assert found["characters_beyond_ascii"]["share"] == pytest.approx(rare.total() / len("".join(train)), abs=1e-6)
    assert found["distinct_characters_beyond_ascii"] == len(rare)
    assert Counter(found["frequent_characters_beyond_ascii"]) == rare
    assert found["stories_beyond_ascii"]["count"] == sum(not text.isascii() for text in train)
    openings = Counter(" ".join(text.split()[:4]) for text in train)
    assert [(entry["opening"], entry["count"]) for entry in found["openings"]] == openings.most_common(10)


def test_a_copy_of_a_test_story_in_train_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def careless(train, *_):
        texts = list(train)
        yield from (("test", text, story_digest(text)) for text in texts[:10])
        yield from (("train", text, story_digest(text)) for text in texts[7:])

    monkeypatch.setattr("tinytale.data.prepare.carve", careless)
    prepare(write(tmp_path / "a.txt", PLAIN[:30]), tmp_path / "d", vocab_size=300, processes=1)
    test = survey(tmp_path / "d")["splits"]["test"]
    assert test["copies_in_train"] == {"count": 3, "share": 0.3}
    assert test["near_duplicates_in_train"]["count"] == 0, "an exact copy is no near duplicate"
    assert test["sequences_in_train"]["share"] > 0.3


def test_a_large_dataset_is_sampled_by_hash_against_all_of_train(
    folder: Path, figures: dict, splits: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(survey_module, "SAMPLE", {"train": 20, "dev": 5, "test": 5})
    sampled = survey(folder)
    train = sampled["splits"]["train"]
    assert {split: found["sampled"] for split, found in sampled["splits"].items()} == {"train": 20, "dev": 5, "test": 5}
    digests = {survey_module._digest(text): text for text in splits["train"]}
    chosen = [digests[digest] for digest in sorted(digests)[:20]]
    alike = with_near_duplicate(chosen, splits["train"])
    assert 0 < train["near_duplicates_in_train"]["count"] == alike < 20
    assert train["exact_duplicates"] == figures["splits"]["train"]["exact_duplicates"]


def test_text_without_blanks_is_counted_by_characters(tmp_path: Path):
    texts = [
        f"从前有一只小狐狸，它住在第{'一二三四五六七八九'[n % 9]}座山的森林里，有{n}个朋友。它每天都很快乐。"
        for n in range(60)
    ]
    prepare(write(tmp_path / "a.txt", texts), tmp_path / "d", vocab_size=330, dev_fraction=0.1, processes=1)
    found = survey(tmp_path / "d")
    assert found["unit"] == "character"
    train = found["splits"]["train"]
    assert train["words"]["longest"] == max(map(len, texts))
    assert train["openings"] == [{"opening": "从前有一", "count": train["stories"], "share": 1.0}]
    assert (train["open_ends"]["count"], train["mojibake"]["count"]) == (0, 0)
    carved = list(carve(texts, [], 0.1, 0.02))
    known = {text[at : at + 13] for where, text, _ in carved if where == "train" for at in range(len(text) - 12)}
    own = [text[at : at + 13] for where, text, _ in carved if where == "dev" for at in range(len(text) - 12)]
    assert found["splits"]["dev"]["sequences_in_train"]["count"] == sum(run in known for run in own) > 10


def test_a_split_without_stories_is_left_out(tmp_path: Path):
    write(tmp_path / "a.txt", PLAIN[:20])
    prepare(str(tmp_path / "a.txt"), tmp_path / "d", vocab_size=300, dev_fraction=0.0, test_fraction=0.0, processes=1)
    assert list(survey(tmp_path / "d")["splits"]) == ["train"]


def test_the_dataset_is_verified_first(folder: Path, tmp_path: Path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    shard = tmp_path / "test-00000.bin"
    shard.write_bytes(shard.read_bytes()[:-2] + b"\x07\x00")
    with pytest.raises(TaleError, match=r"test-00000\.bin is altered"):
        survey(tmp_path)
    with pytest.raises(TaleError, match="not a finished dataset"):
        survey(tmp_path.parent)


def test_random_stories_are_those_of_the_seed(folder: Path, splits: dict[str, list[str]]):
    first = random_stories(folder, 5, seed=1)
    assert first == random_stories(folder, 5, seed=1) != random_stories(folder, 5, seed=2)
    assert len(first) == 5 and set(first) <= set(splits["train"])
    assert sorted(random_stories(folder, 10**6, seed=0)) == sorted(splits["train"])


def test_progress_reaches_the_end(folder: Path, figures: dict, monkeypatch: pytest.MonkeyPatch):
    said: list[tuple[str, int, int | None]] = []
    again = survey(folder, progress=lambda *report: said.append(report))
    assert json.dumps(again) == json.dumps(figures), "the same dataset gives the same figures"
    assert next(name for name, *_ in said) == "verifying"
    assert {"reading train", "comparing with train"} <= {name for name, *_ in said}
    assert all(done <= total for _, done, total in said if total)
