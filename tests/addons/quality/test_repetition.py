import pytest

from tinytale.addons.quality.repetition import has_loop, repeated, repetition


def words(text: str) -> list[str]:
    return text.split()


def test_rep_n_by_hand():
    story = words("the cat saw the cat and the dog")
    assert repeated(story, 1) == 1 - 5 / 8
    assert repeated(story, 2) == 1 - 6 / 7
    assert repeated(story, 3) == repeated(story, 8) == 0.0


def test_the_mean_is_over_stories_and_leaves_out_those_too_short():
    stories = [words("a a a a"), words("a b c d e"), ["a"]]
    figures = repetition(stories, stories)
    assert figures["rep_1"]["value"] == pytest.approx((3 / 4 + 0 + 0) / 3)
    assert figures["rep_4"]["value"] == 0.0
    assert repetition([["a"]], [["a"]])["rep_2"] is None


def test_rep_n_is_of_the_stories_cut_and_loops_of_the_whole():
    figures = repetition([words("a b c a a a a a")], [words("a b c a")])
    assert (figures["rep_1"]["value"], figures["loops"]["value"]) == (1 / 4, 1.0)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("no no no no no he said", True),
        ("no no no no he said", False),
        ("big red big red big red cat", True),
        ("big red big red cat", False),
        ("Tom ran to the park. Tom ran to the park. He sat.", True),
        ("Tom ran to the park. He sat. Tom ran to the park.", False),
        ("he saw a dog and he saw a dog and it barked", True),
        ("he sat he sat down", False),
        (" ".join(f"w{n}" for n in range(60)) + " " + " ".join(f"w{n}" for n in range(60)), True),
        ("", False),
        ("one", False),
    ],
)
def test_a_loop_is_the_same_twice_in_a_row(text: str, loops: bool):
    assert has_loop(text.split()) == loops
