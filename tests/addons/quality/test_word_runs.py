from hypothesis import given
from hypothesis import strategies as st

from tinytale.addons.quality.word_runs import WordRuns

TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=9), max_size=3)


def by_trying_all(texts: list[list[str]], corpus: list[list[str]]) -> list[list[int]]:
    known = {tuple(s[i:j]) for s in corpus for i in range(len(s)) for j in range(i + 1, len(s) + 1)}
    return [
        [
            max([0, *(n for n in range(1, end + 1) if tuple(text[end - n : end]) in known)])
            for end in range(1, len(text) + 1)
        ]
        for text in texts
    ]


def matches(texts: list[list[str]], corpus: list[list[str]]) -> list[list[int]]:
    runs = WordRuns(texts)
    for story in corpus:
        runs.read(story)
    return [runs_N.tolist() for runs_N in runs.matches()]


@given(TEXTS, TEXTS)
def test_every_run_is_the_one_that_trying_all_finds(texts: list[list[str]], corpus: list[list[str]]):
    assert matches(texts, corpus) == by_trying_all(texts, corpus)


def test_a_run_leads_neither_over_the_end_of_a_text_nor_of_a_story():
    assert matches([["a", "b"], ["c", "d"]], [["a", "b", "c", "d"]]) == [[1, 2], [1, 2]]
    assert matches([["a", "b", "c", "d"]], [["a", "b"], ["c", "d"]]) == [[1, 2, 1, 2]]


def test_a_corpus_of_other_words_or_none_shares_nothing():
    assert matches([["a", "b"]], [["x", "y"]]) == matches([["a", "b"]], []) == [[0, 0]]
