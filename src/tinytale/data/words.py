"""Fast encoding: the pieces of a text that byte-pair encoding never crosses are encoded once and remembered.

GPT-2's split pattern (Radford et al. 2019) never matches across the border from a character that is not white space to
one that is. So a text may be cut before every run of white space, the pieces encoded alone, and their tokens joined:
the result is the same. Stories repeat their words, so nearly every piece is found in a dictionary.
"""

import re
from collections.abc import Callable

import numpy as np

REMEMBERED = 2**15
"""Pieces kept in each dictionary, so that memory does not grow with the vocabulary of the text."""

LONGEST = 64
"""A longer piece (text without blanks) is encoded every time, since it will hardly come again."""

CUT = re.compile(r"(?<=\S)(?=[ \t\r\n])")
"""Python's white space holds all of the pattern's and a few characters more, so every cut is a right one."""


class _UnevenError(Exception):
    """The text has white space other than single spaces and single newlines between words."""


class _Memory(dict[str, bytes]):
    """Token ids of pieces, as bytes."""

    def __init__(self, encode: Callable[[str], bytes]):
        super().__init__()
        self.encode = encode

    def __missing__(self, piece: str) -> bytes:
        ids = self.encode(piece)
        if len(piece) <= LONGEST and len(self) < REMEMBERED:
            self[piece] = ids
        return ids


class _SpacedMemory(_Memory):
    """The same for pieces after a single space, which is left out, or after a single newline, which is not."""

    def __missing__(self, piece: str) -> bytes:
        body = piece.removeprefix("\n")
        if not body or body[0].isspace() or body[-1].isspace():
            raise _UnevenError
        return super().__missing__(piece)


class WordEncoder:
    """Encodes text to token ids as little-endian bytes of `dtype`; equal to `encode` on the whole text.

    `encode` must split text by GPT-2's pattern and do nothing else before byte-pair encoding.
    """

    def __init__(self, encode: Callable[[str], list[int]], dtype: np.dtype):
        def as_bytes(piece: str) -> bytes:
            return np.array(encode(piece), dtype).tobytes()

        self.pieces = _Memory(as_bytes)
        self.spaced = _SpacedMemory(lambda piece: as_bytes(piece if piece[0] == "\n" else " " + piece))

    def __call__(self, text: str) -> bytes:
        """The tokens of `text`."""
        first, *rest = text.replace("\n", " \n").split(" ")
        try:
            if first and first[-1].isspace():
                raise _UnevenError
            return self.pieces[first] + b"".join(map(self.spaced.__getitem__, rest))
        except _UnevenError:
            return b"".join(map(self.pieces.__getitem__, CUT.split(text)))
