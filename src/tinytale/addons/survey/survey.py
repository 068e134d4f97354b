"""What is in a prepared dataset: sizes, lengths, repetition, damage, openings, and how far the splits overlap.

Two passes. The first looks at every story of every split and keeps some dozens of bytes of each; the second compares
the train stories, as they pass by, with a bounded sample of each split's. So memory hardly grows with the text.
"""

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt64

from tinytale.addons.survey.blemishes import ends_open, is_mojibake
from tinytale.addons.survey.near_duplicates import SEQUENCE_WORDS, SIMILARITY, NearDuplicates, shingles
from tinytale.addons.survey.sequences import SequenceIndex, Unit, WordNumbers, sequences, unit_of, words_of
from tinytale.data.prepare import Progress, silent
from tinytale.data.shards import Manifest
from tinytale.data.splits import Split, story_digest
from tinytale.data.stored import StoredStories, open_splits

SAMPLE: dict[Split, int] = {"train": 40_000, "dev": 10_000, "test": 10_000}
"""At most so many distinct stories of a split are compared with all of train: those with the smallest hashes."""

CONTEXTS = (256, 512, 1024)
OPENING_WORDS = 4
OPENING_CHARACTERS = 60
"""An opening is cut after so many, should its words be very long."""

OVERLAP_WORDS = 13
"""As in GPT-3's overlap analysis (Brown et al., 2020, appendix C)."""

FREQUENT = 10
BINS = 24
"""At most so many bars show 99% of the train stories; one more takes all that are longer."""


def survey(folder: Path, *, progress: Progress = silent) -> dict[str, Any]:
    """Figures about a dataset folder, as JSON has them; a split without stories is left out.

    Of the text they hold only the most frequent openings.

    Raises:
        TaleError: the folder is no dataset, or a file of it is altered.
    """
    progress("verifying", 0, None)
    manifest = Manifest.load(folder)
    manifest.verify(folder)
    stories = open_splits(folder, manifest)
    unit = unit_of(list(islice(stories["train"], 200)))
    numbers = WordNumbers()
    first: dict[Split, _Pass] = {
        split: _first_pass(stories[split], unit, numbers, _watch(progress, manifest, split)) for split in stories
    }
    sampled: dict[Split, Int64[np.ndarray, " _"]] = {split: first[split].sample(SAMPLE[split]) for split in stories}
    watch = _watch(progress, manifest, "train", "comparing with")
    compared = _second_pass(stories, first, sampled, unit, numbers, watch)
    width = _bin_width(stories["train"].token_counts())
    result = {
        "digest": manifest.digest,
        "vocab_size": manifest.vocab_size,
        "unit": unit,
        "removed_duplicates_of_test": manifest.duplicates_of_test,
        "near_duplicates": {"words": SEQUENCE_WORDS, "jaccard": SIMILARITY, "most_sampled": SAMPLE},
        "overlap_words": OVERLAP_WORDS,
        "histogram_bars": BINS,
        "splits": {},
    }
    for split in stories:
        tokens_N = stories[split].token_counts()
        result["splits"][split] = {
            "stories": len(stories[split]),
            "bytes": manifest.splits[split].bytes,
            "tokens": manifest.splits[split].tokens,
            "bytes_per_token": round(manifest.splits[split].bytes / int(tokens_N.sum()), 4),
            **_lengths(tokens_N, width),
            **first[split].figures(),
            **compared[split],
            "openings": first[split].openings(stories[split], unit),
        }
    return result


def random_stories(folder: Path, count: int, seed: int) -> list[str]:
    """Some stories of the train split, the same for the same seed.

    Raises:
        TaleError: the folder is no dataset, or a file of it is missing or of the wrong size.
    """
    train = open_splits(folder, Manifest.load(folder))["train"]
    return [train[index] for index in random.Random(seed).sample(range(len(train)), min(count, len(train)))]


@dataclass
class _Pass:
    """What the first pass keeps of the N stories of a split."""

    digests: UInt64[np.ndarray, " N"]
    """Eight bytes of each story's SHA-256: equal stories have equal ones."""
    heads: UInt64[np.ndarray, " N"]
    """A number for each story's opening."""
    words: Int64[np.ndarray, " N"]
    mojibake: int = 0
    replaced: int = 0
    """Stories with U+FFFD, which stands where a decoder met bytes that it did not understand."""
    open_ends: int = 0
    beyond_ascii: int = 0
    """Stories with such characters."""
    characters: int = 0
    rare: Counter[str] = field(default_factory=Counter)
    """Characters beyond ASCII, how often."""

    def sample(self, limit: int) -> Int64[np.ndarray, " n"]:
        """The distinct stories with the smallest hashes, by number."""
        return np.unique(self.digests, return_index=True)[1][:limit].astype(np.int64)

    def figures(self) -> dict[str, Any]:
        """Counts and shares of stories, and the characters."""
        stories = len(self.digests)
        repeated = stories - len(np.unique(self.digests))
        return {
            "words": _spread(self.words),
            "exact_duplicates": _share(repeated, stories),
            "mojibake": _share(self.mojibake, stories),
            "replaced": _share(self.replaced, stories),
            "open_ends": _share(self.open_ends, stories),
            "stories_beyond_ascii": _share(self.beyond_ascii, stories),
            "characters_beyond_ascii": _share(self.rare.total(), self.characters),
            "distinct_characters_beyond_ascii": len(self.rare),
            "frequent_characters_beyond_ascii": dict(
                sorted(self.rare.items(), key=lambda item: (-item[1], item[0]))[:FREQUENT]
            ),
        }

    def openings(self, stories: StoredStories, unit: Unit) -> list[dict[str, Any]]:
        """The most frequent openings; of equally frequent ones, those that come first."""
        _, firsts, counts = np.unique(self.heads, return_index=True, return_counts=True)
        frequent = np.lexsort((firsts, -counts))[:FREQUENT]
        blank = " " if unit == "word" else ""
        return [
            {"opening": blank.join(words_of(stories[int(firsts[place])], unit)[:OPENING_WORDS])[:OPENING_CHARACTERS]}
            | _share(int(counts[place]), len(self.heads))
            for place in frequent
        ]


def _first_pass(stories: StoredStories, unit: Unit, numbers: WordNumbers, watch: Callable[[str], None]) -> _Pass:
    """Look at every story of a split by itself."""
    count = len(stories)
    found = _Pass(np.zeros(count, np.uint64), np.zeros(count, np.uint64), np.zeros(count, np.int64))
    for index, story in enumerate(stories):
        watch(story)
        words = words_of(story, unit)
        head = numbers.of(words[:OPENING_WORDS])
        found.digests[index] = _digest(story)
        found.heads[index] = sequences(head, len(head))[0] if words else 0
        found.words[index] = len(words)
        found.mojibake += is_mojibake(story)
        found.replaced += "\ufffd" in story
        found.open_ends += ends_open(story)
        found.characters += len(story)
        if not story.isascii():
            found.beyond_ascii += 1
            found.rare.update(character for character in story if character > "\x7f")
    return found


def _second_pass(
    stories: dict[Split, StoredStories],
    first: dict[Split, _Pass],
    sampled: dict[Split, Int64[np.ndarray, " _"]],
    unit: Unit,
    numbers: WordNumbers,
    watch: Callable[[str], None],
) -> dict[Split, dict[str, Any]]:
    """Compare the sample of every split with all train stories."""
    near = NearDuplicates()
    probes: dict[Split, range] = {}
    overlap: dict[Split, SequenceIndex] = {}
    begin = 0
    for split, chosen in sampled.items():
        long: list[UInt64[np.ndarray, " _"]] = []
        for index in chosen:
            words_N = numbers.of(words_of(stories[split][int(index)], unit))
            near.add_probe(int(first[split].digests[index]), shingles(words_N))
            if split != "train":
                long.append(sequences(words_N, OVERLAP_WORDS))
        probes[split] = range(begin, begin + len(chosen))
        begin += len(chosen)
        if split != "train":
            overlap[split] = SequenceIndex(long)
    for index, story in enumerate(stories["train"]):
        watch(story)
        words_N = numbers.of(words_of(story, unit))
        near.compare(int(first["train"].digests[index]), shingles(words_N))
        for split in overlap:
            overlap[split].mark(sequences(words_N, OVERLAP_WORDS))
    result: dict[Split, dict[str, Any]] = {}
    for split in stories:
        like_train = sum(probe in near.found for probe in probes[split])
        result[split] = {
            "sampled": len(probes[split]),
            "near_duplicates_in_train": _share(like_train, len(probes[split])),
        }
        if split != "train":
            total, known = overlap[split].counts()
            result[split]["copies_in_train"] = _part(np.isin(first[split].digests, first["train"].digests))
            result[split]["sequences_in_train"] = _share(known, total) | {"sequences": total}
    return result


def _digest(story: str) -> int:
    """Eight bytes of the story's hash; from its middle, since its head decides about the split."""
    return int.from_bytes(story_digest(story)[8:16], "big")


def _lengths(tokens_N: Int64[np.ndarray, " N"], width: int) -> dict[str, Any]:
    """How long stories are, in tokens. The last bar of the histogram takes all that are longer."""
    bars = np.bincount((tokens_N // width).clip(max=BINS))
    return {
        "story_tokens": _spread(tokens_N),
        "longer_than": {str(context): _part(tokens_N > context) for context in CONTEXTS},
        "histogram": {"width": width, "stories": bars.tolist()},
    }


def _bin_width(tokens_N: Int64[np.ndarray, " N"]) -> int:
    """A round number of tokens for each bar: one digit and noughts."""
    wanted = float(np.quantile(tokens_N, 0.99)) / BINS
    power = 10 ** max(0, math.floor(math.log10(max(1.0, wanted))))
    return max(1, math.ceil(wanted / power)) * power


def _spread(values_N: Int64[np.ndarray, " N"]) -> dict[str, Any]:
    """Mean, quantiles (each a length that occurs) and the longest."""
    low, median, high = np.quantile(values_N, (0.05, 0.5, 0.95), method="inverted_cdf")
    return {
        "mean": round(float(values_N.mean()), 2),
        "p5": int(low),
        "median": int(median),
        "p95": int(high),
        "longest": int(values_N.max()),
    }


def _part(where_N: np.ndarray) -> dict[str, Any]:
    return _share(int(np.count_nonzero(where_N)), len(where_N))


def _share(count: int, total: int) -> dict[str, Any]:
    return {"count": count, "share": round(count / total, 6) if total else 0.0}


def _watch(progress: Progress, manifest: Manifest, split: Split, doing: str = "reading") -> Callable[[str], None]:
    """A function to call with every story of a split, which reports progress now and then."""
    total, done, unsaid = manifest.splits[split].bytes, 0, 0

    def watch(story: str) -> None:
        nonlocal done, unsaid
        done += len(story.encode("utf-8"))
        unsaid += 1
        if unsaid == 100:
            progress(f"{doing} {split}", done, total)
            unsaid = 0

    return watch
