"""The token stream to score: a split of a dataset, or any file of stories in the model's own tokens."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tinytale.console import console
from tinytale.data.prepare import SPOOL_FILE
from tinytale.data.raw_files import AS_USUAL, ReadingOptions
from tinytale.data.remarks import about_reading
from tinytale.data.shards import MANIFEST_FILE, Manifest
from tinytale.data.splits import Split
from tinytale.data.stories import open_source, stories_of
from tinytale.data.tokenizer import TOKENIZER_FILE, Tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import sha256_of


@dataclass(frozen=True)
class Stream:
    """N tokens, `<|endoftext|> story <|endoftext|> ... <|endoftext|>`, and where they come from."""

    tokens_N: np.ndarray
    split: str
    """Which split of a dataset; `all` for a file."""
    digest: str
    """SHA-256 that names the dataset or the file."""
    name: str
    """For a person: the folder or file."""


def stream_of(
    data: str, split: Split, tokenizer: Tokenizer, model_folder: Path, reading: ReadingOptions = AS_USUAL
) -> Stream:
    """Read the stories of a dataset folder's split, or of a file as `reading` says, as the model's tokens.

    Raises:
        TaleError: the dataset is damaged, was prepared with another tokenizer, or has no such stories.
        UsageError: there is nothing of that name.
    """
    folder = Path(data)
    if not folder.is_dir():
        return _stream_of_file(data, tokenizer, reading)
    if not (folder / MANIFEST_FILE).is_file():
        raise UsageError(
            f"{folder} is not a dataset folder (it has no {MANIFEST_FILE}); name a dataset, or a file of stories"
        )
    manifest = Manifest.load(folder)
    manifest.verify(folder)
    own = model_folder / TOKENIZER_FILE
    if not own.is_file() or sha256_of(own) != manifest.tokenizer_sha256:
        raise TaleError(
            f"{folder} was prepared with another tokenizer than the one of {model_folder};"
            " give --data the file of stories itself, and it is encoded with the model's own"
        )
    stream = manifest.tokens(folder, split)
    return Stream(stream[: len(stream)], split, manifest.digest, str(folder))


def _stream_of_file(data: str, tokenizer: Tokenizer, reading: ReadingOptions) -> Stream:
    with TemporaryDirectory(prefix="tinytale-") as spool:
        source = open_source(data, options=reading, spool=Path(spool) / SPOOL_FILE)
        pieces = [tokenizer.end_of_text]
        noticed: Counter[str] = Counter()
        for story in stories_of((*source.train, *source.test), noticed):
            pieces += tokenizer.encode(story)
            pieces.append(tokenizer.end_of_text)
        if len(pieces) == 1:
            raise TaleError(f"{data} holds no stories")
        marks = "".join(str(mark["sha256"]) for mark in source.fingerprint())
        marks += "" if reading == AS_USUAL else repr(reading)  # another text of the same bytes
        for line in (*source.notes, *about_reading(source, noticed)):
            console.print(line)
    return Stream(np.array(pieces, dtype=np.int64), "all", hashlib.sha256(marks.encode()).hexdigest(), data)
