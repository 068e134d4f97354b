"""The longest runs of words that some texts share with a corpus of any size, exactly.

Shapes: N words of a text.
"""

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Int64

ROOT = 0


class WordRuns:
    """A suffix automaton of some texts: reads a corpus once, word by word, in memory that only the texts decide.

    Each state stands for the runs of words of the texts that end at the same places; its link leads to the next shorter
    ones (Blumer et al., 1985, "The smallest automaton recognizing the subwords of a text"). `read` follows the corpus
    through it and notes in each state the longest run that came by; `matches` then says what of each text was read.
    """

    def __init__(self, texts: Sequence[Sequence[str]]):
        self._next: list[dict[Hashable, int]] = [{}]
        self._link = [-1]
        self._length = [0]
        self._ends: list[list[int]] = []
        state = ROOT
        for number, text in enumerate(texts):
            ends = []
            for word in text:
                state = self._extend(state, word)
                ends.append(state)
            self._ends.append(ends)
            state = self._extend(state, number)  # no word: a run never leads from one text into the next
        self._read = [0] * len(self._next)

    def _new(self, length: int, link: int, following: dict[Hashable, int]) -> int:
        self._length.append(length)
        self._link.append(link)
        self._next.append(following)
        return len(self._next) - 1

    def _extend(self, last: int, word: Hashable) -> int:
        """Add a word after the state of all that was added; return the new state of all."""
        following, link, length = self._next, self._link, self._length
        whole = self._new(length[last] + 1, ROOT, {})
        state = last
        while state >= 0 and word not in following[state]:
            following[state][word] = whole
            state = link[state]
        if state < 0:
            return whole
        target = following[state][word]
        if length[target] == length[state] + 1:
            link[whole] = target
            return whole
        clone = self._new(length[state] + 1, link[target], following[target].copy())
        while state >= 0 and following[state].get(word) == target:
            following[state][word] = clone
            state = link[state]
        link[target] = link[whole] = clone
        return whole

    def read(self, words: Sequence[str]) -> None:
        """Read one story of the corpus."""
        following, link, lengths, read = self._next, self._link, self._length, self._read
        state, length = ROOT, 0
        for word in words:
            target = following[state].get(word)
            while target is None and state:
                state = link[state]
                length = lengths[state]
                target = following[state].get(word)
            if target is None:
                continue
            state = target
            length += 1
            if length > read[state]:
                read[state] = length

    def matches(self) -> list[Int64[np.ndarray, " N"]]:
        """For each word of each text, how long the longest run is that ends with it and occurs in the corpus."""
        longest = self._read.copy()
        by_length = np.argsort(self._length, kind="stable").tolist()[1:]
        for state in reversed(by_length):
            if longest[state]:
                longest[self._link[state]] = self._length[self._link[state]]
        for state in by_length:
            longest[state] = longest[state] or longest[self._link[state]]
        return [np.array([longest[state] for state in ends], np.int64) for ends in self._ends]
