"""The n-gram baselines: equal to the published formula written out with dictionaries, and true distributions."""

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ngrams import FALLBACK, NGrams
from tinytale.addons.report.contender import Stories, read_contender
from tinytale.data.shards import Manifest
from tinytale.data.tokenizer import load_tokenizer
from tinytale.errors import TaleError
from tinytale.evaluation.perplexity import story_bounds
from tinytale.evaluation.story_scores import load_story_scores

END, VOCABULARY = 2, 7

Gram = tuple[int | str, ...]
stories_of = st.lists(st.lists(st.sampled_from([0, 1, 3, 4]), max_size=12), min_size=1, max_size=8)
unseen_too = st.lists(st.sampled_from([0, 1, 3, 5, 6]), max_size=8)


def stream_of(stories: list[list[int]]) -> np.ndarray:
    return np.array([END, *(token for story in stories for token in [*story, END])], np.int64)


class Formula:
    """Chen & Goodman's formula, one n-gram at a time; `<s>` opens a story, and END only closes it."""

    def __init__(self, stories: list[list[int]], longest: int):
        self.counts: Counter[Gram] = Counter()
        for story in stories:
            text = ("<s>", *story, END)
            for n in range(1, longest + 1):
                self.counts.update(text[i : i + n] for i in range(len(text) - n + 1) if text[i : i + n] != ("<s>",))
        self.longest = longest
        self.lengths = [{gram: self.count(gram) for gram in self.counts if len(gram) == n} for n in range(longest + 1)]

    def count(self, gram: Gram) -> int:
        if len(gram) == self.longest or gram[0] == "<s>":
            return self.counts[gram]
        return sum(1 for longer in self.counts if longer[1:] == gram)

    def discounts(self, n: int) -> tuple[float, float, float]:
        n1, n2, n3, n4 = (sum(1 for count in self.lengths[n].values() if count == i) for i in (1, 2, 3, 4))
        if 0 in (n1, n2, n3, n4):
            return FALLBACK
        y = n1 / (n1 + 2 * n2)
        found = 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3
        return found if min(found) > 0 else FALLBACK

    def chance(self, token: int, before: Gram) -> float:
        if self.longest == 0:
            return 1 / VOCABULARY
        before = before[max(0, len(before) - self.longest + 1) :]
        shorter = self.chance(token, before[1:]) if before else 1 / VOCABULARY
        followed = {gram: count for gram, count in self.lengths[len(before) + 1].items() if gram[:-1] == before}
        total = sum(followed.values())
        if not total:
            return shorter
        discounts = self.discounts(len(before) + 1)
        discount = {gram: discounts[min(count, 3) - 1] for gram, count in followed.items()}
        gram = (*before, token)
        kept = followed[gram] - discount[gram] if gram in followed else 0.0
        return kept / total + sum(discount.values()) / total * shorter


def formula_nats(formula: Formula, stories: list[list[int]]) -> list[float]:
    found = [0.0]
    for story in stories:
        text: Gram = ("<s>", *story)
        found += [-math.log(formula.chance(token, text[: i + 1])) for i, token in enumerate([*story, END])]
    return found


def ours(train: list[list[int]], scored: list[list[int]], longest: int) -> np.ndarray:
    return NGrams.count(stream_of(train), END, VOCABULARY, longest).nats(stream_of(scored), END)


@settings(deadline=None, max_examples=40)
@given(stories_of, st.lists(unseen_too, min_size=1, max_size=3), st.integers(0, 5))
def test_every_token_costs_what_the_formula_says(train: list[list[int]], scored: list[list[int]], longest: int):
    expected = formula_nats(Formula(train, longest), scored)
    np.testing.assert_allclose(ours(train, scored, longest), expected, rtol=1e-9, atol=1e-12)


def test_it_is_the_formula_where_the_discounts_are_estimated():
    random = np.random.default_rng(0)
    train = [random.choice([0, 1, 3, 4, 5], random.integers(0, 30), p=[0.4, 0.3, 0.15, 0.1, 0.05]) for _ in range(12)]
    train = [story.tolist() for story in train]
    scored = [[0, 1, 3, 4, 5, 6, 0, 1, 0, 0], [], [5, 5, 5, 5], *train[:2]]
    formula = Formula(train, 5)
    assert sum(formula.discounts(n) != FALLBACK for n in range(1, 6)) >= 2
    np.testing.assert_allclose(ours(train, scored, 5), formula_nats(formula, scored), rtol=1e-9, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(stories_of, unseen_too, st.integers(0, 5))
def test_the_probabilities_of_all_tokens_sum_to_one_after_any_context(
    train: list[list[int]], before: list[int], longest: int
):
    model, chances = NGrams.count(stream_of(train), END, VOCABULARY, longest), []
    for token in range(VOCABULARY):
        nats = model.nats(stream_of([[*before, token] if token != END else before]), END)
        chances.append(math.exp(-nats[len(before) + 1]))
    assert sum(chances) == pytest.approx(1, abs=1e-12) and min(chances) > 0


def test_uniform_costs_the_logarithm_of_the_vocabulary():
    np.testing.assert_allclose(ours([[0]], [[0, 6], []], 0)[1:], math.log(VOCABULARY))


def test_a_unigram_is_its_share_of_the_counts_but_for_the_discount_that_is_spread_over_all_tokens():
    train = [[0] * 50, [1] * 30, [3] * 10, [4] * 8]
    total = 98 + 4
    spread = 5 * FALLBACK[2] / total / VOCABULARY
    chances = np.exp(-ours(train, [[0, 1, 3, 4, 6]], 1)[1:])
    expected = [*((count - FALLBACK[2]) / total + spread for count in (50, 30, 10, 8)), spread, 2.5 / total + spread]
    np.testing.assert_allclose(chances, expected)


@settings(deadline=None, max_examples=40)
@given(stories_of, st.lists(unseen_too, min_size=2, max_size=5), st.integers(0, 5))
def test_a_story_costs_the_same_whatever_stands_before_it(
    train: list[list[int]], scored: list[list[int]], longest: int
):
    alone = [ours(train, [story], longest)[1:] for story in scored]
    np.testing.assert_array_equal(ours(train, scored, longest)[1:], np.concatenate(alone))


def test_the_order_of_the_train_stories_does_not_matter():
    train = [[0, 1, 3], [1, 1, 0, 4], [], [3, 3, 3, 0, 1]]
    scored = [[0, 1, 3, 3, 0], [4]]
    np.testing.assert_array_equal(ours(train, scored, 5), ours(train[::-1], scored, 5))


def test_progress_counts_every_token_once_for_each_length():
    heard: list[int] = []
    NGrams.count(stream_of([[0, 1], [3]]), END, VOCABULARY, 4, heard.append)
    assert heard == [5] * 4


def test_a_stream_without_a_story_is_refused():
    with pytest.raises(TaleError, match="no story to score"):
        NGrams.count(np.array([END]), END, VOCABULARY, 2)


def test_the_command_scores_all_three_and_compare_reads_them(dataset: Path, tmp_path: Path, tale: Callable):
    shown = tale("bench", "baselines", dataset, "--split", "dev", "--out", tmp_path, "--json")
    found = json.loads(shown.out)
    assert shown.code == 0 and list(found) == ["uniform", "unigram", "5-gram"]
    losses = [result["views"]["stories"]["loss"] for result in found.values()]
    assert losses[0] == pytest.approx(math.log(300)) and losses[0] > losses[1] > losses[2]
    manifest = Manifest.load(dataset)
    stream = manifest.tokens(dataset, "dev")[:]
    lengths = load_tokenizer(dataset).byte_lengths()[stream].sum()
    for name, result in found.items():
        view, file = result["views"]["stories"], tmp_path / name / f"{manifest.digest[:16]}.json"
        assert view["bits_per_byte"] == pytest.approx(view["loss"] * (len(stream) - 1) / math.log(2) / lengths)
        assert json.loads(file.read_text()) == {"dev": result}
        scores = load_story_scores(file, result)
        assert scores and len(scores.nats_S) == len(story_bounds(stream, manifest.end_of_text)) - 1
        assert Stories(manifest.digest, "dev") in read_contender(name, tmp_path / name).scores
    compared = tale("compare", tmp_path / "5-gram", tmp_path / "unigram")
    assert compared.code == 0 and "unigram" in compared.err
    assert "5-gram" in tale("bench", "baselines", dataset).err


def test_the_command_refuses_what_is_no_dataset_or_no_folder(tmp_path: Path, tale: Callable):
    assert "not a finished dataset" in tale("bench", "baselines", tmp_path).err
    (file := tmp_path / "results.json").write_text("{}")
    assert "name a folder" in tale("bench", "baselines", tmp_path, "--out", file).err
