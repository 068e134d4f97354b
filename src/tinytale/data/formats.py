"""The kinds of file that hold stories. Each reads one story at a time, so that memory does not grow with the file."""

import codecs
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tinytale.errors import TaleError, UsageError

Errors: TypeAlias = Literal["strict", "replace"]
"""What to do with bytes that are not UTF-8: refuse the file, or put U+FFFD in their place."""

Fingerprint: TypeAlias = dict[str, Any]
"""`name`, `bytes` and `sha256` of one part of a source, as the manifest keeps them."""

SEPARATOR = b"<|endoftext|>"
"""A line of a `.txt` file that holds nothing else stands between two stories."""

BLANKS = " \t\r\n"
"""What is stripped from both ends of a story."""

ROWS_AT_ONCE = 1024


class Part(ABC):
    """One part of a source: a file, or a generator of stories."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages and the manifest call it."""

    @property
    @abstractmethod
    def text_bytes(self) -> int:
        """About how many bytes of text it holds, for progress."""

    @abstractmethod
    def fingerprint(self) -> Fingerprint:
        """What tells its content from any other."""

    @abstractmethod
    def stories(self) -> Iterator[str]:
        """Its stories in order, ends not yet stripped, empty ones included."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say which file the system would not read."""
    try:
        yield
    except OSError as error:
        raise TaleError(f"cannot read {path}: {error.strerror or error}") from error


@dataclass(frozen=True)
class _File(Part):
    path: Path
    called: str
    errors: Errors = "strict"

    @property
    def name(self) -> str:
        return self.called

    @property
    def text_bytes(self) -> int:
        with reading(self.path):
            return self.path.stat().st_size

    def fingerprint(self) -> Fingerprint:
        with reading(self.path), self.path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": self.name, "bytes": file.tell(), "sha256": sha256}

    def decode(self, content: bytes, first_line: int) -> str:
        """`content`, which begins at `first_line` of the file, as text."""
        try:
            return content.decode("utf-8", self.errors)
        except UnicodeDecodeError as error:
            line = first_line + content.count(b"\n", 0, error.start)
            raise TaleError(
                f"{self.path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; "
                "save the file as UTF-8, or give --errors replace to put U+FFFD in place of such bytes"
            ) from error

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Numbered lines with their ends, without a byte order mark."""
        with reading(self.path), self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                yield number, line.removeprefix(codecs.BOM_UTF8) if number == 1 else line


class TextFile(_File):
    """A `.txt` file: stories between separator lines, or one story if it has no such line."""

    def stories(self) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: the file cannot be read or is not UTF-8 (with its line).
        """
        first_line, story = 1, []
        for number, line in self.lines():
            if SEPARATOR in line and line.strip(BLANKS.encode()) == SEPARATOR:
                yield self.decode(b"".join(story), first_line)
                first_line, story = number + 1, []
            else:
                story.append(line)
        yield self.decode(b"".join(story), first_line)


@dataclass(frozen=True)
class JsonLines(_File):
    """A `.jsonl` file: one JSON object a line, with the story in `field`."""

    field: str = "text"

    def stories(self) -> Iterator[str]:
        """The stories in order.

        Raises:
            TaleError: a line is not UTF-8, not a JSON object, or has no text in `field` (with its line).
        """
        for number, line in self.lines():
            if line.strip():
                yield self.story(self.decode(line, number), f"{self.path}, line {number}")

    def story(self, line: str, where: str) -> str:
        """The story of one line."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TaleError(f"{where}: expected one JSON object, found {line.strip()[:40]!r} ({error})") from error
        if not isinstance(record, dict):
            raise TaleError(f"{where}: expected a JSON object, found {line.strip()[:40]!r}")
        story = record.get(self.field)
        if not isinstance(story, str):
            fields = ", ".join(name for name, value in record.items() if isinstance(value, str)) or "none"
            raise TaleError(
                f"{where}: no text in field {self.field!r}; name one with --field (fields with text: {fields})"
            )
        try:
            return story.encode("utf-8", self.errors).decode("utf-8")
        except UnicodeEncodeError as error:
            raise TaleError(
                f"{where}: the story holds half a character (a lone surrogate); --errors replace puts ? in its place"
            ) from error


@dataclass(frozen=True)
class ParquetFile(_File):
    """A `.parquet` file with the stories in the column `field`."""

    field: str = "text"

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file as pyarrow sees it, with errors that name it."""
        import pyarrow
        import pyarrow.parquet

        try:
            with reading(self.path), pyarrow.parquet.ParquetFile(self.path) as file:
                yield file
        except pyarrow.ArrowException as error:
            raise TaleError(f"{self.path} cannot be read as Parquet: {' '.join(str(error).split())[:200]}") from error

    @property
    def text_bytes(self) -> int:
        """Size of the column before compression."""
        with self.opened() as file:
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            columns = [group.column(index) for group in groups for index in range(group.num_columns)]
            return sum(column.total_uncompressed_size for column in columns if column.path_in_schema == self.field)

    def stories(self) -> Iterator[str]:
        """The stories in order; a missing value is an empty story.

        Raises:
            TaleError: the file is damaged, has no text column `field`, or a row is not UTF-8 (with its row).
        """
        import pyarrow

        with self.opened() as file:
            types = pyarrow.types
            texts = [
                column.name
                for column in file.schema_arrow
                if types.is_string(column.type) or types.is_large_string(column.type)
            ]
            if self.field not in texts:
                known = ", ".join(texts) or "none"
                raise TaleError(
                    f"{self.path}: no column {self.field!r} of text; name one with --field (there: {known})"
                )
            row = 0
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[self.field]):
                for content in batch.column(0).cast(pyarrow.large_binary()).to_pylist():
                    row += 1
                    yield self.decode_row(content or b"", row)

    def decode_row(self, content: bytes, row: int) -> str:
        """One row as text."""
        try:
            return content.decode("utf-8", self.errors)
        except UnicodeDecodeError as error:
            raise TaleError(
                f"{self.path}, row {row}: not UTF-8; give --errors replace to put U+FFFD in place of such bytes"
            ) from error


KINDS = {".txt": TextFile, ".jsonl": JsonLines, ".parquet": ParquetFile}
"""Kinds of file by the end of their names."""


def file_part(path: Path, *, name: str | None = None, field: str = "text", errors: Errors = "strict") -> Part:
    """The part that reads `path`, by the kind that its name tells.

    Raises:
        UsageError: the name tells none of the known kinds.
    """
    kind = KINDS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: expected a file named {', '.join(f'*{suffix}' for suffix in KINDS)}")
    name = name or path.name
    return TextFile(path, name, errors) if kind is TextFile else kind(path, name, errors, field)
