"""Sequences of words as numbers, and near duplicates, against plain sets."""

import random

import numpy as np
import pytest

from tinytale.addons.builtin.stories import story
from tinytale.addons.survey import sequences as sequences_module
from tinytale.addons.survey.near_duplicates import NearDuplicates, shingles
from tinytale.addons.survey.sequences import SequenceIndex, WordNumbers, sequences, unit_of, words_of

NUMBERS = WordNumbers()


def runs(words: list[str], length: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]


def jaccard(left: list[str], right: list[str]) -> float:
    a, b = set(runs(left, 5)), set(runs(right, 5))
    return len(a & b) / len(a | b)


def test_sequences_are_equal_where_the_words_are():
    words = random.Random(0).choices("abc", k=400)
    found = sequences(NUMBERS.of(words), 3).tolist()
    plain = runs(words, 3)
    assert len(set(found)) == len(set(plain)) == 27
    assert len(set(zip(found, plain, strict=True))) == 27
    assert len(sequences(NUMBERS.of(words[:2]), 3)) == 0


def test_overlap_counts_every_occurrence():
    texts = ["a b c d a b c", "x y z", "a b"]
    index = SequenceIndex([sequences(NUMBERS.of(text.split()), 3) for text in texts])
    for text in ("z a b c", "y z x", "b c d"):
        index.mark(sequences(NUMBERS.of(text.split()), 3))
    assert index.counts() == (6, 3)  # abc twice and bcd, of abc bcd cda dab abc xyz
    empty = SequenceIndex([])
    empty.mark(sequences(NUMBERS.of(["a"] * 5), 3))
    assert empty.counts() == (0, 0)


def test_the_numbers_of_words_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sequences_module, "REMEMBERED", 10)
    numbers = WordNumbers()
    words = [f"word {place % 37}" for place in range(200)]
    assert np.array_equal(numbers.of(words), NUMBERS.of(words))
    assert len(numbers) <= 10


@pytest.mark.parametrize(
    ("text", "unit", "count"),
    [
        ("A fox ran.", "word", 3),
        ("Donaudampfschifffahrt macht Spaß.", "word", 3),
        ("从前有一只小狐狸，它住在很深很深的森林里。\n它很快乐。", "character", 26),
        ("นานมาแล้วมีเด็กหญิงคนหนึ่ง อาศัยอยู่ในหมู่บ้าน", "character", 45),
        ("옛날 옛적에 토끼가 살았다.", "word", 4),
        ("Она сказала 你好.", "word", 3),
        ("", "word", 0),
    ],
)
def test_what_counts_as_a_word(text: str, unit: str, count: int):
    assert unit_of([text]) == unit
    assert len(words_of(text, unit_of([text]))) == count


def test_near_duplicates_are_those_of_the_jaccard_similarity():
    rng = random.Random(1)
    probes = [story(3, place, varied_names=True).split() for place in range(250)]
    near = NearDuplicates()
    for number, words in enumerate(probes):
        near.add_probe(number, shingles(NUMBERS.of(words)))
    alike = set()
    for number, words in enumerate(probes):
        near.compare(number, shingles(NUMBERS.of(words)))
    assert not near.found, "a story is no near duplicate of itself"
    for number, words in enumerate(probes):
        changed = list(words)
        for place in rng.sample(range(len(words)), rng.choice((1, 2, 4, 6, 9, 20))):
            changed[place] = "otherwise"
        if jaccard(words, changed) >= 0.8:
            alike.add(number)
        near.compare(1000 + number, shingles(NUMBERS.of(changed)))
    assert 80 < len(alike) < 240
    assert near.found <= alike
    assert len(near.found) > 0.96 * len(alike)


def test_stories_of_fewer_than_five_words_are_compared_too():
    near = NearDuplicates()
    near.add_probe(0, shingles(NUMBERS.of(["The", "end."])))
    near.compare(1, shingles(NUMBERS.of(["The", "beginning."])))
    near.compare(3, shingles(NUMBERS.of([])))
    assert not near.found
    near.compare(2, shingles(NUMBERS.of(["The", "end."])))
    assert near.found == {0}
