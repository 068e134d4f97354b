"""Baselines that count instead of learning: uniform, unigram, and a 5-gram with modified Kneser-Ney smoothing.

They are counted on the train split and scored as a model is, each story from its start. Letters of shapes: N tokens of
a stream, G different n-grams of one order, H their contexts (the n-grams one shorter), V vocabulary.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from rich.table import Table

from tinytale.addons.report.paper.material import BASELINES
from tinytale.console import figures_table, progress_bar
from tinytale.data.shards import Manifest
from tinytale.data.splits import Split
from tinytale.data.tokenizer import load_tokenizer
from tinytale.evaluation.perplexity import story_bounds
from tinytale.evaluation.results import figures_row, stream_result
from tinytale.evaluation.story_scores import StoryScores
from tinytale.evaluation.stream import stream_of

FALLBACK = (0.5, 1.0, 1.5)
"""Discounts where there are too few n-grams to estimate them from (those of KenLM's `--discount_fallback`)."""


class Order(NamedTuple):
    """The n-grams of one length n, by ascending key."""

    keys_G: Int64[np.ndarray, " G"]
    """Each is the place of its first n - 1 tokens among the shorter n-grams, times V, plus its last token."""
    shares_G: Float64[np.ndarray, " G"]
    """What is left of its count after the discount, as a share of its context's counts."""
    left_H: Float64[np.ndarray, " H"]
    """What the discounts of each context leave to the shorter one; 1 where a context was never continued."""


@dataclass(frozen=True)
class NGrams:
    r"""An n-gram model with interpolated, modified Kneser-Ney smoothing (Chen & Goodman 1999, section 4.1.6).

    With $h$ the $n - 1$ tokens before token $w$, and $h'$ these without the first of them,

    $$P(w \mid h) = \frac{a(hw) - D(a(hw))}{\sum_v a(hv)} + \frac{\sum_v D(a(hv))}{\sum_v a(hv)}\, P(w \mid h')$$

    and $P(w \mid h) = P(w \mid h')$ if $h$ was never seen; below the unigram lies $1/V$. Here $a$ is the count of the
    longest n-grams, and of a shorter one the number of different tokens that were seen before it, or its count if it
    opens a story, where none can be before it. For each length the discounts are $D(0) = 0$ and, with $n_i$ n-grams of
    $a = i$,

    $$D(i) = i - (i + 1)\, \frac{n_1}{n_1 + 2 n_2}\, \frac{n_{i+1}}{n_i} \quad (i = 1, 2), \qquad D(3), D(4), \ldots
    = 3 - 4\, \frac{n_1}{n_1 + 2 n_2}\, \frac{n_4}{n_3}.$$

    A context never reaches back over the `<|endoftext|>` that opens its story.
    """

    vocab_size: int
    orders: tuple[Order, ...]
    """From the unigrams up; none for the uniform distribution."""

    @classmethod
    def count(
        cls,
        stream_N: Int64[np.ndarray, " N"],
        end_of_text: int,
        vocab_size: int,
        longest: int,
        advance: Callable[[int], None] = lambda tokens: None,
    ) -> "NGrams":
        """Count the n-grams of a stream up to a length, which takes about 130 bytes of memory for each of its tokens.

        `advance` hears of every token once for each length.

        Raises:
            TaleError: the stream holds no story.
        """
        depth_N, grams_N = _depths(stream_N, end_of_text), np.zeros(len(stream_N), np.int64)
        keys, counts = [], []
        for length in range(1, longest + 1):
            at = np.flatnonzero(depth_N >= max(1, length - 1))
            if not len(at):  # no story is that long
                break
            keys_G, first_G, places, counts_G = np.unique(
                grams_N[at - 1] * vocab_size + stream_N[at], return_index=True, return_inverse=True, return_counts=True
            )
            if counts:
                before = np.bincount(grams_N[at[first_G]], minlength=len(counts[-1]))
                counts[-1] = np.where(before > 0, before, counts[-1])
            keys.append(keys_G)
            counts.append(counts_G)
            grams_N[at] = places
            grams_N[0] = grams_N[-1]  # the stream begins with the token that it ends with
            advance(len(stream_N) - 1)
        sizes = [1, *map(len, keys)]
        return cls(vocab_size, tuple(_smooth(*three, vocab_size) for three in zip(keys, counts, sizes, strict=False)))

    def nats(self, stream_N: Int64[np.ndarray, " N"], end_of_text: int) -> Float64[np.ndarray, " N"]:
        """How surprising each token of a stream is, in nats, every story read from its start; 0 for the first token.

        Raises:
            TaleError: the stream holds no story.
        """
        depth_N, grams_N = _depths(stream_N, end_of_text), np.zeros(len(stream_N), np.int64)
        chance_N = np.full(len(stream_N), 1 / self.vocab_size)
        for length, order in enumerate(self.orders, 1):
            at = np.flatnonzero(depth_N >= max(1, length - 1))
            contexts, tokens = grams_N[at - 1], stream_N[at]
            wanted = contexts * self.vocab_size + tokens  # below 0 after a context that was never seen, which is -1
            places = np.minimum(np.searchsorted(order.keys_G, wanted), len(order.keys_G) - 1)
            seen = order.keys_G[places] == wanted
            left = np.where(contexts >= 0, order.left_H[contexts], 1.0)
            chance_N[at] = np.where(seen, order.shares_G[places], 0.0) + left * chance_N[at]
            grams_N[at] = np.where(seen, places, -1)
            grams_N[0] = grams_N[-1]
        chance_N[0] = 1.0
        return -np.log(chance_N)

    def parameter_count(self) -> int:
        """How many numbers the model holds, keys not counted."""
        return sum(len(order.shares_G) + len(order.left_H) for order in self.orders)


def _depths(stream_N: Int64[np.ndarray, " N"], end_of_text: int) -> Int64[np.ndarray, " N"]:
    """How many tokens of its story stand before each token, the opening end of text included; 0 for the first."""
    bounds = story_bounds(stream_N, end_of_text)
    return np.append(0, np.arange(1, len(stream_N)) - np.repeat(bounds[:-1], np.diff(bounds)))


def _smooth(keys_G: np.ndarray, counts_G: np.ndarray, contexts: int, vocab_size: int) -> Order:
    context_G, discount_G = keys_G // vocab_size, _discounts(counts_G)[np.minimum(counts_G, 3)]
    total_H = np.bincount(context_G, counts_G, minlength=contexts)
    left_H = np.bincount(context_G, discount_G, minlength=contexts)
    left_H = np.divide(left_H, total_H, out=np.ones(contexts), where=total_H > 0)
    return Order(keys_G, (counts_G - discount_G) / total_H[context_G], left_H)


def _discounts(counts_G: np.ndarray) -> np.ndarray:
    """The discounts of counts 0, 1, 2, and 3 or more."""
    having = np.bincount(np.minimum(counts_G, 5), minlength=6)[:5].astype(float)
    one = np.array([1.0, 2.0, 3.0])
    if having[1:].all():
        found = one - (one + 1) * having[1] / (having[1] + 2 * having[2]) * having[2:] / having[1:4]
        if (found > 0).all():
            return np.array([0, *found])
    return np.array([0, *FALLBACK])


def score_baselines(dataset: Path, split: Split) -> Iterator[tuple[str, dict[str, Any], StoryScores]]:
    """Each baseline's name, its result on a split of a dataset as `score` gives a model's, and what each story cost.

    Raises:
        TaleError: the dataset is missing or damaged, or has no stories in the split.
    """
    manifest, tokenizer = Manifest.load(dataset), load_tokenizer(dataset)
    train, stream = (stream_of(str(dataset), one, tokenizer, dataset) for one in ("train", split))
    with progress_bar("token") as bar:
        for name, longest in BASELINES.items():
            task = bar.add_task(f"{name}: counting", total=longest * (len(train.tokens_N) - 1))

            def advance(tokens: int, task: Any = task) -> None:
                bar.advance(task, tokens)

            model = NGrams.count(train.tokens_N, manifest.end_of_text, manifest.vocab_size, longest, advance)
            nats = {"stories": model.nats(stream.tokens_N, manifest.end_of_text)}
            result, scores = stream_result(stream, manifest.end_of_text, tokenizer.byte_lengths(), nats)
            yield name, {**result, "parameters": model.parameter_count(), "weights": f"{name} of train"}, scores


def baselines_table(results: dict[str, dict[str, Any]]) -> Table:
    """The baselines one below the other, for a person."""
    one = next(iter(results.values()))
    table = figures_table(
        f"{one['data']}, {one['split']}: {one['stories']:,} stories, {one['bytes']:,} bytes, each from its start",
        "loss in nats a token; bits per byte with its 95% interval over stories",
        ("baseline", "loss", "perplexity", "bits per byte", "95% interval"),
    )
    for name, result in results.items():
        table.add_row(name, *figures_row(result["views"]["stories"]))
    return table
