import pytest

from tinytale.addons.quality.lexicon import Lexicon
from tinytale.addons.quality.spelling import spelling

STORIES = [
    "One day, Lily saw a kite. The kite was red, and Lily laughed.",
    "A boy saw Spot the dog. He said to Lily, “Once more!” The spot was red, a spot on a rug, a big spot.",
    *["The sun was red. He ran."] * 38,
]


@pytest.fixture
def lexicon() -> Lexicon:
    return Lexicon(STORIES, "word")


def test_names_have_a_capital_inside_a_sentence_or_are_known_to(lexicon: Lexicon):
    assert lexicon.names("Lily ran. Then Zork came, and he said, “Come, Tom. Once more.”") == {"Lily", "Zork", "Tom"}
    assert lexicon.names("Spot ran. The sun. I am here, and I sat. STOP it, NOW") == set()


def test_objects_are_the_rare_words_that_are_no_names(lexicon: Lexicon):
    assert lexicon.objects("Lily saw the kite. The sun was red on a rug.") == {"saw", "kite", "on", "a", "rug"}
    assert "dragon" in lexicon.objects("A dragon!")


def test_what_train_has_is_known_whatever_its_capitals(lexicon: Lexicon):
    figures = spelling(["Kite KITE kite.", "A qite, 3 times!"], lexicon)
    assert figures["unknown"]["value"] == 2 / 6
    assert spelling(["", "3!"], lexicon)["unknown"] is None


def test_marks_stay_with_their_letters():
    hindi = Lexicon(["एक लड़की थी।"], "word")
    assert hindi.words("एक लड़की थी।") == ["एक", "लड़की", "थी"]
    assert hindi.words("cafe\u0301 don't") == ["cafe\u0301", "don", "t"]


def test_without_blanks_every_character_is_a_word():
    chinese = Lexicon(["小猫看见小狗。"], "character")
    assert chinese.words("小猫。") == ["小", "猫"]
    assert chinese.names("小猫") == set()
    assert spelling(["小龙"], chinese)["unknown"]["value"] == 1 / 2
