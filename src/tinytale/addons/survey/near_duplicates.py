"""Near duplicates: pairs of stories that share most of their word sequences, found by MinHash (Broder, 1997).

The Jaccard similarity of two stories is the size of the intersection of their sets of 5-word sequences over the size of
their union. Signatures of 128 minima in 16 bands of 8 bring together two stories of similarity s with probability
1 - (1 - s^8)^16 (Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, section 3.4); then the similarity is
computed exactly, so that every pair that is reported is one.

Shapes: N words of a story, S its distinct sequences.
"""

from typing import cast

import numpy as np
from jaxtyping import UInt32, UInt64

from tinytale.addons.survey.sequences import Sieve, sequences

SEQUENCE_WORDS = 5
SIMILARITY = 0.8
"""Stories at least this similar are near duplicates."""

BANDS, ROWS = 16, 8


def shingles(numbers_N: UInt64[np.ndarray, " N"]) -> UInt32[np.ndarray, " S"]:
    """The set of a story's 5-word sequences, sorted; of a shorter story, all its words as one."""
    found = sequences(numbers_N, min(SEQUENCE_WORDS, len(numbers_N)))
    return np.unique((found >> np.uint64(32)).astype(np.uint32))


class NearDuplicates:
    """Which of some probe stories have a near duplicate in a corpus that passes by once.

    Exact copies do not count. Memory: some five kilobytes a probe, whatever the size of the corpus.
    """

    def __init__(self) -> None:
        from datasketch import MinHash, MinHashLSH

        self._blank = MinHash(BANDS * ROWS, seed=1, hashfunc=int, scheme="affine32")
        self._index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))
        self._probes: list[tuple[int, UInt32[np.ndarray, " S"]]] = []
        self._sieve = Sieve(bits=26)
        self.found: set[int] = set()
        """Numbers of the probes that have a near duplicate, in the order in which they were added."""

    def _signature(self, shingles_S: UInt32[np.ndarray, " S"]):
        signature = self._blank.copy()
        signature.update_batch(shingles_S.tolist())
        return signature

    def add_probe(self, digest: int, shingles_S: UInt32[np.ndarray, " S"]) -> None:
        """One more story to look for; equal stories have equal digests."""
        self._index.insert(len(self._probes), self._signature(shingles_S), check_duplication=False)
        self._probes.append((digest, shingles_S))
        self._sieve.add(shingles_S)

    def compare(self, digest: int, shingles_S: UInt32[np.ndarray, " S"]) -> None:
        """One more story of the corpus.

        A story similar to a probe shares 80% of its own sequences with it; most can be passed over for sharing fewer
        with all probes together.
        """
        if np.count_nonzero(self._sieve.may_hold(shingles_S)) < SIMILARITY * len(shingles_S):
            return
        for key in self._index.query(self._signature(shingles_S)):
            probe = cast(int, key)
            if probe not in self.found and self._probes[probe][0] != digest:
                others_S = self._probes[probe][1]
                common = len(np.intersect1d(shingles_S, others_S, assume_unique=True))
                if common >= SIMILARITY * (len(shingles_S) + len(others_S) - common):
                    self.found.add(probe)
