"""Names replaced by rare ones in some stories, so that a model learns to repeat a name that it has never seen.

A tokenizer splits a rare name into pieces, and a model that has met only common names, each one token or two, does not
copy the pieces. This holds for languages in which few words but names have a capital letter, such as English.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

from tinytale.errors import UsageError

LEAST = 10
"""How often a word must stand with a capital letter within a sentence to count as a name."""

RARELY_SMALL = 20
"""And how much rarer it must be without the capital letter."""

MOST_OF_ALL_WORDS = 0.12
"""A larger share of the words than this cannot be names: German nouns, for instance."""

MOST_IN_A_STORY = 3
"""Names that are replaced in one story, the first that it says."""

WORD = re.compile(r"[^\W\d_]+")
WITHIN_A_SENTENCE = re.compile(r"(?<=[^\W\d_] |, )[^\W\d_]{2,}")


@dataclass(frozen=True)
class Renamer:
    """Replaces names in a share of the stories; what a story becomes is a function of the story alone."""

    names: frozenset[str]
    """The words that are names."""
    share: float
    """Of the stories, in [0, 1]."""

    def rename(self, story: str, digest: bytes) -> str:
        """The story, or with probability `share` the story in which up to three names are replaced throughout.

        Half of the replacements are uncommon names, half are invented; none is a name that the evaluation measures.
        Chance is PCG64's raw stream, seeded with the story's `digest`.
        """
        bits = np.random.PCG64(np.random.SeedSequence(int.from_bytes(digest, "big")))
        if bits.random_raw() / 2.0**64 >= self.share:
            return story
        words = dict.fromkeys(WORD.findall(story))
        found = [word for word in words if word in self.names][:MOST_IN_A_STORY]
        replacements: dict[str, str] = {}
        for name in found:
            while (other := _another_name(bits)) in words or other in replacements.values():
                pass
            replacements[name] = other
        return WORD.sub(lambda match: replacements.get(match[0], match[0]), story)


def find_names(stories: Iterable[str]) -> frozenset[str]:
    """The words that stand with a capital letter within sentences, and hardly ever without it.

    Raises:
        UsageError: there are none; or so many that capital letters do not tell names in this language.
    """
    words: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for story in stories:
        words.update(WORD.findall(story))
        within.update(WITHIN_A_SENTENCE.findall(story))
    no_names = name_lists()["no_names"]
    names = frozenset(
        word
        for word, count in within.items()
        if count >= LEAST and word.istitle() and word not in no_names and words[word.lower()] * RARELY_SMALL <= count
    )
    share = sum(words[name] for name in names) / max(1, words.total())
    if not names or share > MOST_OF_ALL_WORDS:
        raise UsageError(
            f"names cannot be told from other words in this text by their capital letters: {len(names)} words, or"
            f" {share:.0%} of it, would be names; leave out --rename"
        )
    return names


@lru_cache(maxsize=1)
def name_lists() -> dict[str, list[str]]:
    """The lists of `names.toml`, which says what each is."""
    file = resources.files("tinytale.data").joinpath("names.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def _another_name(bits: np.random.PCG64) -> str:
    lists = name_lists()
    while True:
        if bits.random_raw() % 2:
            name = _one_of(bits, lists["replacements"])
        else:
            count = 1 + bits.random_raw() % 3
            syllables = (_one_of(bits, lists["onsets"]) + _one_of(bits, lists["vowels"]) for _ in range(count))
            name = ("".join(syllables) + _one_of(bits, lists["codas"])).capitalize()
        if name not in lists["measured"]:
            return name


def _one_of(bits: np.random.PCG64, choices: list[str]) -> str:
    return choices[bits.random_raw() % len(choices)]
