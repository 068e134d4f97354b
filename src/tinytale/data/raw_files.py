"""Files as bytes, and the one place where bytes become text: what a file is, its encoding, its line ends."""

import codecs
import hashlib
import io
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

from tinytale.errors import TaleError, UsageError
from tinytale.files import LFS_POINTER

Errors: TypeAlias = Literal["strict", "replace"]

Fingerprint: TypeAlias = dict[str, Any]
"""`name`, `bytes` and `sha256` of one part of a source, as the manifest keeps them."""

MOST_BYTES = 16 * 2**20
"""A line, or a story, may have so many bytes (or characters): to encode one takes some forty times its size."""

CHUNK = 2**20
HEAD = 2**16

NO_TEXT = {
    LFS_POINTER: "a Git LFS pointer, not the file itself; fetch it: git lfs pull",
    b"%PDF-": "a PDF; save its text as .txt, for example: pdftotext FILE.pdf",
    b"PK\x03\x04": "a ZIP archive (.docx, .epub and .odt are such too); unpack it, or save its text as .txt",
    b"\x1f\x8b": "compressed with gzip; unpack it: gunzip FILE",
    b"BZh9": "compressed with bzip2; unpack it: bunzip2 FILE",
    b"\xfd7zXZ": "compressed with xz; unpack it: unxz FILE",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it: unzstd FILE",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"<!DOCTYPE html": "a web page (HTML), perhaps that of an error; download again, or save its text as .txt",
    b"<!doctype html": "a web page (HTML), perhaps that of an error; download again, or save its text as .txt",
    b"\xd0\xcf\x11\xe0": "an old Word or Excel document; save its text as .txt",
    b"{\\rtf": "rich text (RTF); save it as plain text",
    b"\x00\x05\x16\x07": "what macOS notes beside a file (AppleDouble); delete it",
    b"\x00\x05\x16\x00": "what macOS notes beside a file (AppleSingle); delete it",
}
"""How files begin that are no text, whatever their names say, and what to do about it."""

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, with whose mark it begins
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order marks: what a file that begins with one is encoded in."""

NOUGHTS = "\0\0\0"
"""What a crash leaves in a file, and what a letter in UTF-32 has; one NUL may be in a text."""

MARK = "\ufeff"
"""The same as a character: where files with marks were joined, it stands at the beginning of a line."""


@dataclass(frozen=True, kw_only=True)
class ReadingOptions:
    """How files become stories, as a person may choose."""

    field: str = "text"
    """Where a record has its story; dots lead into what it holds (`messages.content`)."""
    errors: Errors = "strict"
    """What to do with bytes that are not text in the encoding: refuse the file, or put U+FFFD in their place."""
    encoding: str = "utf-8"
    """Of files without a byte order mark: a name that Python knows, or `auto`: UTF-8, else UTF-16, else cp1252."""
    split_at: str | None = None
    """What stands between two stories of a text: a string, or `blank-line`. None: a line `<|endoftext|>`."""

    def __post_init__(self) -> None:
        if self.split_at is not None and (not self.split_at.strip() or "\n" in self.split_at or "\r" in self.split_at):
            raise UsageError(f"--split-at is {self.split_at!r}; expected blank-line, or some text of one line")
        try:
            known = self.encoding == "auto" or "x".encode(self.encoding).decode(self.encoding) == "x"
        except (LookupError, ValueError, TypeError):
            known = False
        if not known:
            raise UsageError(
                f"--encoding is {self.encoding!r}; expected auto, or an encoding such as utf-8, cp1252 or utf-16-le"
            )


AS_USUAL = ReadingOptions()


@dataclass(frozen=True)
class Look:
    """What one reading of a file found."""

    sha256: str
    size: int
    encoding: str
    guessed: bool
    """Whether `--encoding auto` took it for something else than UTF-8."""
    carriage_returns: int
    problem: str | None
    """Why the file cannot be read, and what to do; None if it can."""


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
    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """Its stories in order, ends not yet stripped, empty ones included; what is odd is counted in `noticed`."""


def shown(path: Path) -> str:
    """A path for a message or a manifest: bytes of its name that are not UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say which file the system would not read."""
    try:
        yield
    except OSError as error:
        raise TaleError(f"cannot read {shown(path)}: {error.strerror or error}") from error


@dataclass(frozen=True)
class RawFile(Part):
    """A file and how to read it."""

    path: Path
    called: str
    options: ReadingOptions = AS_USUAL

    @property
    def name(self) -> str:
        """What messages and the manifest call it."""
        return self.called

    @property
    def text_bytes(self) -> int:
        """Its size."""
        with reading(self.path):
            return self.path.stat().st_size

    def fingerprint(self) -> Fingerprint:
        """Name, size and SHA-256."""
        return {"name": self.name, "bytes": self.look.size, "sha256": self.look.sha256}

    @cached_property
    def look(self) -> Look:
        """The file read once, from end to end.

        Raises:
            TaleError: the system would not read it.
        """
        with reading(self.path), self.path.open("rb") as file:
            head = file.read(HEAD)
            problem = next((told for begin, told in NO_TEXT.items() if head.startswith(begin)), None)
            sha256 = hashlib.file_digest(_rewound(file), "sha256").hexdigest()
            size = file.tell()
            if problem or not self.is_text:
                return Look(sha256, size, "", False, 0, problem and f"{shown(self.path)} is {problem}")
            encoding, guessed = self._encoding(head, _rewound(file))
            returns = sum(chunk.count(b"\r") for chunk in _chunks(_rewound(file)))
            if encoding is None:
                problem = (
                    f"{shown(self.path)} looks like UTF-16 without a byte order mark; give --encoding utf-16-le"
                    " (or utf-16-be), or --encoding auto"
                )
                return Look(sha256, size, "", False, returns, problem)
            problem = None if self.options.errors == "replace" else self._not_text(encoding, _rewound(file))
            if guessed and encoding == "cp1252" and sum(byte >= 0x80 for byte in head) > 0.25 * len(head):
                problem = f"{shown(self.path)} is not UTF-8, and --encoding auto cannot tell what it is; name it"
        return Look(sha256, size, encoding, guessed, returns, problem)

    is_text = True
    """Whether the file as a whole is text."""

    def _encoding(self, head: bytes, file: io.BufferedReader) -> tuple[str | None, bool]:
        """What the file is encoded in, None if UTF-16 was not asked for; and whether that is a guess."""
        asked = self.options.encoding
        if mark := next((name for mark, name in MARKS.items() if head.startswith(mark)), None):
            return mark, False
        wide = _wide(head)
        if asked != "auto":
            return (None if wide and codecs.lookup(asked).name == "utf-8" else asked), False
        if wide:
            return wide, True
        return ("utf-8", False) if self._not_text("utf-8", file) is None else ("cp1252", True)

    def _not_text(self, encoding: str, file: io.BufferedReader) -> str | None:
        """Where the first byte or character is that is no text in that encoding, and what to do."""
        decoder, line = codecs.getincrementaldecoder(encoding)(), 1
        for chunk in _and_end(_chunks(file)):
            try:
                text = decoder.decode(chunk, final=not chunk)
            except UnicodeDecodeError as error:
                line += error.object.count(b"\n", 0, error.start)
                called = "UTF-8" if encoding.startswith("utf-8") else encoding
                return f"{shown(self.path)}, line {line}: byte 0x{error.object[error.start]:02x} is not {called}"
            if NOUGHTS in text:
                line += text.count("\n", 0, text.index(NOUGHTS))
                return (
                    f"{shown(self.path)}, line {line}: holds a row of NULs; a file that a crash has torn"
                    " ends so, or it has another encoding (UTF-32, say); to delete it: tr -d '\\0' < FILE > NEW"
                )
            line += text.count("\n")
        return None

    @contextmanager
    def text(self) -> Iterator[io.TextIOWrapper]:
        """The file opened as text, whose lines end with `\\n` whatever they end with there."""
        encoding, errors = self.look.encoding, self.options.errors
        try:
            with reading(self.path), self.path.open("rb") as raw, io.TextIOWrapper(raw, encoding, errors) as file:
                yield file
        except UnicodeDecodeError as error:
            raise TaleError(f"{shown(self.path)} is not the file that it was a moment ago: {error}") from error

    def lines(self) -> Iterator[tuple[int, str]]:
        """Numbered lines, each with its end as `\\n` (`\\r\\n` and `\\r` are line ends too).

        A byte order mark at the beginning of any line is left out.

        Raises:
            TaleError: the file cannot be read, or a line is too long.
        """
        with self.text() as file:
            number = 1
            while line := file.readline(MOST_BYTES + 1):
                if len(line) > MOST_BYTES:
                    raise TaleError(self.too_long(f"line {number}"))
                yield number, line.lstrip(MARK)
                number += 1

    def too_long(self, what: str) -> str:
        """A message for a line or a story that nothing here can take."""
        return (
            f"{shown(self.path)}, {what}: longer than {MOST_BYTES / 2**20:g} MiB; cut the text into stories"
            " (of a text file: with --split-at blank-line or --split-at STRING)"
        )


def check(parts: tuple[Part, ...]) -> None:
    """Look at every file, and refuse all that cannot be read at once.

    Raises:
        TaleError: some files are no text, or not in the encoding; the first of them are named.
    """
    problems = [part.look.problem for part in parts if isinstance(part, RawFile) and part.look.problem]
    if not problems:
        return
    advice = ""
    if any(" is not " in problem for problem in problems):
        advice = (
            "; give --encoding NAME (cp1252 for old Western Windows files, or auto), save as UTF-8,"
            " or --errors replace puts U+FFFD in place of such bytes"
        )
    many = f"{len(problems):,} of {len(parts):,} files cannot be read: " if len(problems) > 1 else ""
    more = f"; and {len(problems) - 8:,} more" if len(problems) > 8 else ""
    raise TaleError(f"{many}{'; '.join(problems[:8])}{more}{advice}")


def _rewound(file: io.BufferedReader) -> io.BufferedReader:
    file.seek(0)
    return file


def _chunks(file: io.BufferedReader) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _and_end(chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield from chunks
    yield b""


def _wide(head: bytes) -> str | None:
    """The kind of UTF-16 that text in some alphabet is, by its noughts at every second byte."""
    even, odd = head[0::2], head[1::2]
    if len(head) >= 8 and max(even.count(0), odd.count(0)) > 0.4 * len(odd):
        if even.count(0) < 0.05 * len(even):
            return "utf-16-le"
        if odd.count(0) < 0.05 * len(odd):
            return "utf-16-be"
    return None
