"""A prepared dataset: token shards and the manifest that names each by its SHA-256.

The stream of a split is `<|endoftext|> story <|endoftext|> story ... <|endoftext|>`: one token both closes a story and
opens the next. It is cut into shards before an end of text: every shard starts with one, only the last also ends so.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from tinytale.advice import command
from tinytale.data.splits import SPLITS, Split
from tinytale.data.tokenizer import TOKENIZER_FILE, token_dtype
from tinytale.errors import TaleError
from tinytale.files import read_json, sha256_of, write_json

MANIFEST_FILE = "manifest.json"
FORMAT = 1
BLOCK = 2**20
"""Tokens read at once."""


def shard_name(split: str, index: int) -> str:
    """File name of a shard."""
    return f"{split}-{index:05d}.bin"


@dataclass(frozen=True)
class Shard:
    """One file of tokens; `bytes` is the UTF-8 size of its stories."""

    file: str
    tokens: int
    stories: int
    bytes: int
    sha256: str

    def __post_init__(self) -> None:
        numbers = (self.tokens, self.stories, self.bytes)
        if not all(type(number) is int and number > 0 for number in numbers):
            raise ValueError(f"a shard has the sizes {numbers}; expected whole numbers above 0")
        _check_sha256(self.sha256)


@dataclass(frozen=True)
class SplitShards:
    """The shards of one split, in order."""

    shards: tuple[Shard, ...]

    @property
    def stories(self) -> int:
        """Number of stories."""
        return sum(shard.stories for shard in self.shards)

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of the stories."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def tokens(self) -> int:
        """Number of tokens, ends of text included."""
        return sum(shard.tokens for shard in self.shards)

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it."""
        totals = {"stories": self.stories, "bytes": self.bytes, "tokens": self.tokens}
        return totals | {"shards": [asdict(shard) for shard in self.shards]}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a dataset folder holds, and what it was made from."""

    tokenizer_sha256: str
    vocab_size: int
    end_of_text: int
    duplicates_of_test: int
    """Stories left out of train and dev since the test split has the very same."""
    settings: dict[str, Any]
    """What was asked of `prepare`."""
    sources: list[dict[str, Any]]
    """Name, bytes and SHA-256 of every file that was read."""
    splits: dict[Split, SplitShards]
    noticed: dict[str, int] = field(default_factory=dict)
    """What was odd in the sources, such as records without a text, and how often; ordinary ones have none of it."""

    def __post_init__(self) -> None:
        _check_sha256(self.tokenizer_sha256)
        numbers = (self.vocab_size, self.end_of_text, self.duplicates_of_test)
        if not all(type(number) is int and number >= 0 for number in numbers) or self.vocab_size > 2**32:
            raise ValueError(f"vocab_size, end_of_text, duplicates_of_test are {numbers}, not whole numbers from 0")
        if not all(type(count) is int for count in self.noticed.values()):
            raise ValueError(f"noticed is {self.noticed}; expected whole numbers")
        if self.end_of_text >= self.vocab_size:
            raise ValueError(f"end_of_text {self.end_of_text} is not in a vocabulary of {self.vocab_size}")

    @property
    def dtype(self) -> np.dtype:
        """The type of the shards' tokens: uint16 if that holds the vocabulary, else uint32."""
        return token_dtype(self.vocab_size)

    @property
    def digest(self) -> str:
        """SHA-256 of the content alone (tokenizer, dtype, every shard by split), by which runs and results name it."""
        shards = {split: [shard.sha256 for shard in self.splits[split].shards] for split in SPLITS}
        return _hash({"tokenizer": self.tokenizer_sha256, "dtype": self.dtype.name, "shards": shards})

    def to_json(self) -> dict[str, Any]:
        """The content of `manifest.json`; its last entry is a hash of all the others."""
        content = {
            "format": FORMAT,
            "tokenizer": {"file": TOKENIZER_FILE, "sha256": self.tokenizer_sha256, "vocab_size": self.vocab_size},
            "dtype": self.dtype.name,
            "end_of_text": self.end_of_text,
            "removed": {"duplicates_of_test": self.duplicates_of_test},
            "settings": self.settings,
            "sources": self.sources,
            "splits": {split: self.splits[split].to_json() for split in SPLITS},
            **({"noticed": self.noticed} if self.noticed else {}),
        }
        return content | {"sha256": _hash(content)}

    def save(self, folder: Path) -> None:
        """Write `manifest.json`, whole or not at all."""
        write_json(folder / MANIFEST_FILE, self.to_json())

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """Read `manifest.json`; anything but what `save` would write is refused.

        Raises:
            TaleError: it is missing, damaged, or of another format; the message names it.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise TaleError(
                f"{folder} is not a finished dataset ({MANIFEST_FILE} is missing); make it: "
                f"{command('prepare', 'SOURCE', '--out', folder)}"
            )
        content = read_json(path)
        try:
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}, this tinytale reads {FORMAT}")
            manifest = cls(
                tokenizer_sha256=content["tokenizer"]["sha256"],
                vocab_size=content["tokenizer"]["vocab_size"],
                end_of_text=content["end_of_text"],
                duplicates_of_test=content["removed"]["duplicates_of_test"],
                settings=dict(content["settings"]),
                sources=[dict(source) for source in content["sources"]],
                splits={split: _read_split(split, content["splits"][split]) for split in SPLITS},
                noticed=dict(content.get("noticed", {})),
            )
            if manifest.to_json() != content:
                raise ValueError("its parts do not agree with each other")
        except KeyError as error:
            raise TaleError(f"{path} is damaged: {error} is missing; prepare the dataset again") from error
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise TaleError(f"{path} is damaged: {error}; prepare the dataset again") from error
        return manifest

    def verify(self, folder: Path) -> None:
        """Read every file of the dataset and compare its SHA-256.

        Raises:
            TaleError: a file is missing or altered; the message names the first.
        """
        _verify(folder / TOKENIZER_FILE, self.tokenizer_sha256)
        for split in SPLITS:
            for shard in self.splits[split].shards:
                _check_size(folder / shard.file, shard.tokens * self.dtype.itemsize)
                _verify(folder / shard.file, shard.sha256)

    def tokens(self, folder: Path, split: Split) -> "Tokens":
        """The token stream of a split.

        Raises:
            TaleError: a shard is missing or of the wrong size.
        """
        return Tokens(folder, self.splits[split].shards, self.dtype)


class Tokens:
    """The token stream of a split: `len(tokens)` and `tokens[start:stop]`, across the borders of shards.

    Shards are read, not mapped into memory: memory stays flat, and a shard that is cut short while it is in use is an
    error with its name instead of a crash.
    """

    def __init__(self, folder: Path, shards: tuple[Shard, ...], dtype: np.dtype):
        self.dtype = dtype
        self.paths = [folder / shard.file for shard in shards]
        self.starts = np.cumsum([0, *(shard.tokens for shard in shards)])
        for path, shard in zip(self.paths, shards, strict=True):
            _check_size(path, shard.tokens * dtype.itemsize)

    def __len__(self) -> int:
        """Number of tokens."""
        return int(self.starts[-1])

    def __getitem__(self, span: slice) -> Int64[np.ndarray, " N"]:
        """The tokens from `span.start` to `span.stop`; steps are not supported.

        Raises:
            TaleError: a shard can no longer be read.
        """
        start, stop, step = span.indices(len(self))
        assert step == 1, "a stream of tokens is read in order"
        result = np.empty(max(0, stop - start), np.int64)
        shard = int(np.searchsorted(self.starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self.starts[shard + 1]))
            offset = (start - int(self.starts[shard])) * self.dtype.itemsize
            result[len(result) - (stop - start) :][: end - start] = self._read(self.paths[shard], end - start, offset)
            start, shard = end, shard + 1
        return result

    def ends_of_text(self, end_of_text: int) -> Int64[np.ndarray, " N"]:
        """The positions of the ends of text in order: where the stories begin, and where the last one ends.

        Raises:
            TaleError: a shard can no longer be read.
        """
        ends = [np.zeros(0, np.int64)]
        for start in range(0, len(self), BLOCK):
            ends.append(start + np.flatnonzero(self[start : start + BLOCK] == end_of_text))
        return np.concatenate(ends)

    def _read(self, path: Path, count: int, offset: int) -> np.ndarray:
        try:
            tokens = np.fromfile(path, self.dtype, count, offset=offset)
        except OSError as error:
            raise TaleError(f"cannot read {path}: {error.strerror or error}") from error
        if len(tokens) < count:
            raise TaleError(f"{path} became shorter while it was read; prepare the dataset again")
        return tokens


def _read_split(split: Split, content: dict[str, Any]) -> SplitShards:
    """The shards of one split, with the names that they must have."""
    shards = tuple(Shard(**shard) for shard in content["shards"])
    return SplitShards(tuple(replace(shard, file=shard_name(split, index)) for index, shard in enumerate(shards)))


def _check_sha256(text: Any) -> None:
    if not (isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")):
        raise ValueError(f"{str(text)[:80]!r} is not a SHA-256")


def _check_size(path: Path, expected: int) -> None:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise TaleError(f"{path} is missing or cannot be read ({error.strerror}); prepare the dataset again") from error
    if size != expected:
        raise TaleError(f"{path} has {size} bytes, its manifest says {expected}; prepare the dataset again")


def _verify(path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise TaleError(f"{path} is missing or cannot be read ({error.strerror}); prepare the dataset again") from error
    if found != sha256:
        raise TaleError(
            f"{path} is altered: its SHA-256 is {found[:12]}..., its manifest says {sha256[:12]}...; "
            "prepare the dataset again"
        )


def _hash(value: Any) -> str:
    """SHA-256 of a value's compact JSON with sorted keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
