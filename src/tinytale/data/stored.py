"""The stories of a prepared dataset, read back from its shards: nothing but the dataset folder is needed."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from tinytale.data.shards import BLOCK, Manifest
from tinytale.data.splits import SPLITS, Split
from tinytale.data.tokenizer import TOKENIZER_FILE, Tokenizer, read_tokenizer
from tinytale.errors import TaleError


class StoredStories:
    """The N stories of one split: by number, or all in order.

    In memory are only the places of the ends of text, eight bytes a story.
    """

    def __init__(self, folder: Path, manifest: Manifest, split: Split, tokenizer: Tokenizer):
        self._folder = folder
        self._tokens = manifest.tokens(folder, split)
        self._bytes = [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
        self._ends = self._tokens.ends_of_text(tokenizer.end_of_text)

    def __len__(self) -> int:
        """Number of stories."""
        return max(0, len(self._ends) - 1)

    def token_counts(self) -> Int64[np.ndarray, " N"]:
        """Tokens of each story, ends of text not counted."""
        return np.diff(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        """A story by its number, from 0."""
        return self._decode(self._tokens[int(self._ends[index]) + 1 : int(self._ends[index + 1])])

    def _decode(self, tokens_T: Int64[np.ndarray, " T"]) -> str:
        try:
            return b"".join(map(self._bytes.__getitem__, tokens_T.tolist())).decode("utf-8")
        except (UnicodeDecodeError, IndexError) as error:
            raise TaleError(
                f"{self._folder} holds a story that is no text: its shards or its tokenizer were changed; prepare it"
                " again"
            ) from error

    def __iter__(self) -> Iterator[str]:
        """Every story in order; about `BLOCK` tokens are in memory at a time."""
        first = 0
        while first < len(self):
            start = int(self._ends[first])
            last = max(first + 1, int(np.searchsorted(self._ends, start + BLOCK, side="right")) - 1)
            block = self._tokens[start : int(self._ends[last])]
            for opening, end in zip(
                self._ends[first:last] - start + 1, self._ends[first + 1 : last + 1] - start, strict=True
            ):
                yield self._decode(block[opening:end])
            first = last


def open_splits(folder: Path, manifest: Manifest) -> dict[Split, StoredStories]:
    """The stories of every split that has some.

    Raises:
        TaleError: the tokenizer is damaged, or a shard is missing or of the wrong size.
    """
    tokenizer = read_tokenizer(folder / TOKENIZER_FILE)
    filled: list[Split] = [split for split in SPLITS if manifest.splits[split].shards]
    return {split: StoredStories(folder, manifest, split, tokenizer) for split in filled}
