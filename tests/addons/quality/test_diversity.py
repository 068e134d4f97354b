import random
import zlib

import pytest

from tinytale.addons.quality.diversity import compression, distinct, diversity, of_equal_size, self_bleu


def words(text: str) -> list[str]:
    return text.split()


FOX, DOG = words("the quick brown fox jumps over a log"), words("one lazy old dog sleeps under that tree")


def test_distinct_n_by_hand():
    stories = [words("a b a"), words("a b c"), ["z"]]
    assert distinct(stories, 1)["value"] == 4 / 7
    assert distinct(stories, 2)["value"] == 3 / 4
    assert distinct(stories, 4) is None


def test_copies_are_less_diverse_by_every_figure():
    copies, different = [FOX, FOX, FOX], [FOX, DOG, [word[::-1] for word in FOX]]
    same, other = diversity(copies, "word"), diversity(different, "word")
    for length in (1, 2, 3, 4):
        assert same[f"distinct_{length}"]["value"] < other[f"distinct_{length}"]["value"]
    assert same["compression"]["value"] > other["compression"]["value"]
    assert same["self_bleu"]["value"] == pytest.approx(100) and other["self_bleu"]["value"] < 10


def test_compression_is_of_all_texts_together():
    text = "Once upon a time. " * 40
    assert compression([text, text])["value"] == len(f"{text}\n{text}") / len(
        zlib.compress(f"{text}\n{text}".encode(), 9)
    )


def test_self_bleu_is_the_mean_of_each_against_all_others():
    texts = ["the cat sat on the mat today", "the cat sat on the mat again", "a bird sang in the old tree"]
    import sacrebleu

    scores = [
        sacrebleu.sentence_bleu(text, [other for other in texts if other != text], use_effective_order=True).score
        for text in texts
    ]
    assert self_bleu(texts, "word")["value"] == pytest.approx(sum(scores) / 3)
    assert self_bleu(texts[:1], "word") is None


def test_without_blanks_characters_are_counted():
    figures = diversity([list("小猫看见小狗"), list("小猫看见大树")], "character")
    assert figures["distinct_1"]["value"] == 7 / 12
    assert 10 < figures["self_bleu"]["value"] < 100


def test_sets_are_brought_to_as_many_stories_of_the_same_lengths():
    first, second = [["a"] * 5, ["b"] * 2, ["c"] * 9], [["x"] * 7, ["y"] * 3]
    one, other = of_equal_size(first, second)
    assert [len(story) for story in one] == [len(story) for story in other] == [2, 5]
    assert one == [["b"] * 2, ["a"] * 5] and other == [["y"] * 2, ["x"] * 5]


def test_the_interval_of_distinct_n_is_that_of_other_draws():
    """Stories of Zipf's words: the spread of distinct-1 among fresh sets is what one set says of itself."""
    chance = random.Random(0)
    weights = [1 / rank for rank in range(1, 3001)]

    def draw_set() -> list[list[str]]:
        return [list(map(str, chance.choices(range(3000), weights, k=chance.randint(20, 80)))) for _ in range(60)]

    figures = [distinct(draw_set(), 1) for _ in range(25)]
    values = [figure["value"] for figure in figures]
    mean = sum(values) / len(values)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    widths = [(figure["interval_95"][1] - figure["interval_95"][0]) / 2 / 1.96 for figure in figures]
    assert sum(widths) / len(widths) == pytest.approx(spread, rel=0.4)
