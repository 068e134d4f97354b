"""What `prepare` says of what it has read: line ends, encodings, records left out, repeats, splits without stories."""

from collections import Counter
from collections.abc import Mapping

from tinytale.data.formats import INSIDE_LINES, NULLS, SEPARATOR
from tinytale.data.raw_files import RawFile
from tinytale.data.shards import Manifest
from tinytale.data.stories import REPLACED, Source

REPEATS = "stories that repeat an earlier one"
MANY_REPEATS = 0.1
"""A share of repeats from which on they are worth a word."""

MOST_KNOWN = 2**17

CUT = "cut a text into stories with --split-at blank-line or --split-at STRING, or with lines <|endoftext|>"


class Distinct:
    """Counts stories and repeats among them; beyond `MOST_KNOWN` distinct ones, only repeats of those."""

    def __init__(self) -> None:
        self.known: set[bytes] = set()
        self.stories = self.repeats = 0

    def add(self, digest: bytes) -> None:
        """Count a story by its digest."""
        self.stories += 1
        if digest[8:16] in self.known:
            self.repeats += 1
        elif len(self.known) < MOST_KNOWN:
            self.known.add(digest[8:16])

    def many(self) -> dict[str, int]:
        """The count of repeats for the manifest, if there are many."""
        return {REPEATS: self.repeats} if self.repeats > MANY_REPEATS * self.stories else {}


def remarks(source: Source, manifest: Manifest) -> list[str]:
    """Lines for a person about a dataset; none about an ordinary text."""
    return about_reading(source, manifest.noticed) + _about_splits(manifest)


def about_reading(source: Source, noticed: Mapping[str, int]) -> list[str]:
    """Lines about how the files of a source were read, and what was odd in them."""
    lines: list[str] = []
    looks = [part.look for part in (*source.train, *source.test) if isinstance(part, RawFile)]
    if returns := sum(look.carriage_returns > 0 for look in looks):
        lines.append(f"{_files(returns)} with line ends \\r\\n or \\r: they are read as \\n.")
    for encoding, count in sorted(Counter(look.encoding for look in looks if look.guessed).items()):
        lines.append(f"{_files(count)} taken for {encoding}, since not UTF-8: look at some stories.")
    if count := noticed.get(NULLS):
        lines.append(f"{NULLS.capitalize()} (null), left out: {count:,}.")
    if count := noticed.get(REPLACED):
        lines.append(
            f"{REPLACED.capitalize()}: {count:,}; those letters are lost."
            " If they are of another encoding, give --encoding (cp1252, say, or auto) instead of --errors replace."
        )
    if count := noticed.get(INSIDE_LINES):
        lines.append(
            f"{SEPARATOR} stands {count:,} times inside a line and was taken as text;"
            f" to cut stories there: --split-at '{SEPARATOR}'"
        )
    if count := noticed.get(REPEATS):
        lines.append(f"{REPEATS.capitalize()} word for word: {count:,}; equal stories always come into the same split.")
    return lines


def _about_splits(manifest: Manifest) -> list[str]:
    """What it means that there is no dev or test split, and what to do."""
    stories = {split: shards.stories for split, shards in manifest.splits.items()}
    empty = [split for split in ("dev", "test") if not stories[split]]
    if not empty or not stories["train"]:
        return []
    named = " and ".join(empty)
    if sum(stories.values()) == 1:
        return [f"The whole text is one story, so {named} are empty and nothing can be trained: {CUT}."]
    repeats = manifest.noticed.get(REPEATS, 0)
    distinct = sum(stories.values()) - repeats
    what = f"{distinct:,} different stories" if repeats else f"{distinct:,} stories"
    consequence = "train needs dev" if "dev" in empty else "evaluate needs test, or --data FILE"
    return [
        f"The split{'s' * (len(empty) > 1)} {named} came out empty, as may be with {what}: a fiftieth goes to each,"
        f" chosen by a hash of the story ({consequence}). Prepare more different stories: {CUT}."
    ]


def _files(count: int) -> str:
    return f"{count:,} file{'s' * (count != 1)}"
