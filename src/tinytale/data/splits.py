"""Which split a story belongs to, and which stories stand for all of them: decided by each story's own hash.

A hash does not depend on the order of the stories or on the machine, and equal stories always meet in the same split.
"""

import hashlib
import heapq
import re
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from tinytale.errors import UsageError

Split: TypeAlias = Literal["train", "dev", "test"]
Carved: TypeAlias = tuple[Split | Literal["removed"], str, bytes]
"""Where a story goes, the story, and its digest; "removed" is a story that the test split has too."""

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

TEST_WORDS = {"test", "valid", "validation", "eval"}
"""A file with one of these words in its name belongs to the test split."""


def split_by_name(name: str) -> Literal["train", "test"] | None:
    """What the words of a file's or folder's name (`TinyStoriesV2-GPT4-valid`) say of its split, if anything."""
    words = set(re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()))
    if words & TEST_WORDS:
        return "test"
    return "train" if "train" in words else None


def story_digest(story: str) -> bytes:
    """SHA-256 of a story's UTF-8 bytes."""
    return hashlib.sha256(story.encode("utf-8")).digest()


def check_fractions(dev_fraction: float, test_fraction: float) -> None:
    """Refuse shares that leave nothing to train on.

    Raises:
        UsageError: one is negative or not a number, or together they reach 1.
    """
    if not (dev_fraction >= 0 and test_fraction >= 0 and dev_fraction + test_fraction < 1):
        raise UsageError(
            f"expected a dev_fraction and a test_fraction from 0 that add up to less than 1; found {dev_fraction} "
            f"and {test_fraction}"
        )


def split_of(digest: bytes, dev_fraction: float, test_fraction: float) -> Split:
    """The split of a story: with u = first eight bytes / 2^64, dev if u < dev_fraction, then test, else train."""
    u = int.from_bytes(digest[:8], "big") / 2**64
    if u < dev_fraction:
        return "dev"
    return "test" if u < dev_fraction + test_fraction else "train"


def carve(train: Iterable[str], test: Iterable[str], dev_fraction: float, test_fraction: float) -> Iterator[Carved]:
    """Every story with where it goes: first those of `test`, then those of `train`, which lose what `test` has too."""
    in_test: set[bytes] = set()
    for story in test:
        in_test.add(digest := story_digest(story))
        yield "test", story, digest
    for story in train:
        digest = story_digest(story)
        yield "removed" if digest in in_test else split_of(digest, dev_fraction, test_fraction), story, digest


def sample(stories: Iterable[tuple[str, bytes]], limit: int) -> list[str]:
    """Stories of at most `limit` bytes in all: those with the smallest hashes, in order of hash.

    `stories` are pairs of a story and its digest, in any order. Memory does not grow beyond `limit`. All are taken if
    they fit; the first is taken in any case. The hash is read from its middle, since its head decides about the split.
    """
    heap: list[tuple[int, bytes]] = []
    size = 0
    bar: tuple[int, bytes] | None = None
    for story, digest in stories:
        item = (-int.from_bytes(digest[8:16], "big"), story.encode("utf-8"))
        if bar and item <= bar:
            continue
        heapq.heappush(heap, item)
        size += len(item[1])
        while size > limit and len(heap) > 1:
            bar = heapq.heappop(heap)
            size -= len(bar[1])
    return [content.decode("utf-8") for _, content in sorted(heap, reverse=True)]
