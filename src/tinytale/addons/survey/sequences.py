"""Sequences of words as numbers, so that the text of a whole corpus can be compared in little memory.

Shapes: N words of a story, S sequences. All arithmetic is modulo 2^64.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Bool, UInt, UInt64

Unit: TypeAlias = Literal["word", "character"]
"""What counts as a word: what stands between blanks; in scripts that put none there, every character."""

SCRIPTS_WITHOUT_BLANKS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
"""As the names of their characters begin."""

REMEMBERED = 2**20
"""Words whose numbers are kept at a time."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
"""Odd, and without a pattern in its bits: 2^64 divided by the golden ratio."""


def unit_of(stories: Sequence[str]) -> Unit:
    """What to count in text like these stories: by the script of most of their letters."""
    letters = Counter(character for story in stories for character in story if character.isalpha())
    names = {letter: unicodedata.name(letter, "") for letter in letters}
    joined = sum(count for letter, count in letters.items() if names[letter].startswith(SCRIPTS_WITHOUT_BLANKS))
    return "character" if 2 * joined > letters.total() else "word"


def words_of(story: str, unit: Unit) -> list[str]:
    """The words of a story, or its characters but for blanks."""
    pieces = story.split()
    return pieces if unit == "word" else list("".join(pieces))


class WordNumbers(dict[str, int]):
    """The number of each word: eight bytes of its BLAKE2b hash, the same on every machine."""

    def __missing__(self, word: str) -> int:
        """Compute, and keep for the next time."""
        if len(self) >= REMEMBERED:
            self.clear()
        digest = hashlib.blake2b(word.encode("utf-8"), digest_size=8).digest()
        number = self[word] = int.from_bytes(digest, "big")
        return number

    def of(self, words: Sequence[str]) -> UInt64[np.ndarray, " N"]:
        """The numbers of some words."""
        return np.fromiter(map(self.__getitem__, words), np.uint64, len(words))


def sequences(numbers_N: UInt64[np.ndarray, " N"], length: int) -> UInt64[np.ndarray, " S"]:
    r"""A number for each run of `length` words: $\sum_i w_{t+i} M^{length-1-i}$; none if there are fewer words."""
    count = max(0, len(numbers_N) - length + 1)
    found_S = np.zeros(count, np.uint64)
    for place in range(length):
        found_S = found_S * MULTIPLIER + numbers_N[place : place + count]
    return found_S


class Sieve:
    """Tells quickly of most numbers that they were never added; of those that were, never (a Bloom filter of one hash).

    Takes 2^bits bytes. The numbers are hashes, 32 or 64 bits wide: their first bits are the place in the table.
    """

    def __init__(self, bits: int):
        self._bits = bits
        self._table = np.zeros(2**bits, bool)

    def _places(self, hashes_S: UInt[np.ndarray, " S"]) -> UInt[np.ndarray, " S"]:
        return hashes_S >> (8 * hashes_S.itemsize - self._bits)

    def add(self, hashes_S: UInt[np.ndarray, " S"]) -> None:
        """Note these numbers."""
        self._table[self._places(hashes_S)] = True

    def may_hold(self, hashes_S: UInt[np.ndarray, " S"]) -> Bool[np.ndarray, " S"]:
        """For each number, false if it was not added."""
        return self._table[self._places(hashes_S)]


class SequenceIndex:
    """The word sequences of some texts, and which of them occur in a corpus: some 25 bytes a sequence of the texts.

    `mark` takes the sequences of the corpus, story after story; `counts` then says what was found.
    """

    def __init__(self, texts_S: Sequence[UInt64[np.ndarray, " _"]]):
        joined = np.concatenate([np.zeros(0, np.uint64), *texts_S])
        self._distinct, self._occurrences = np.unique(joined, return_counts=True)
        self._found = np.zeros(len(self._distinct), bool)
        self._sieve = Sieve(bits=(8 * len(self._distinct)).bit_length())
        self._sieve.add(self._distinct)

    def mark(self, sequences_S: UInt64[np.ndarray, " S"]) -> None:
        """Note that the corpus holds these sequences."""
        likely_S = sequences_S[self._sieve.may_hold(sequences_S)]
        if len(likely_S):
            places = np.searchsorted(self._distinct, likely_S).clip(max=len(self._distinct) - 1)
            self._found[places[self._distinct[places] == likely_S]] = True

    def counts(self) -> tuple[int, int]:
        """Sequences of the texts, and how many of them occur in the corpus, each as often as the texts hold it."""
        return int(self._occurrences.sum()), int(self._occurrences[self._found].sum())
