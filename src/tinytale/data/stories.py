"""A source of stories, whatever a person typed: files, a folder, the Hub, the built-in corpus, standard input.

A story is the text between two separators without the blanks around it; nothing inside it is changed but line ends,
which all become `\\n`, and byte order marks at the beginnings of lines, which are left out.
"""

import glob
import hashlib
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from tinytale.data.formats import BLANKS, FIRST_KINDS, KINDS, TextFile, file_part
from tinytale.data.raw_files import AS_USUAL, Fingerprint, Part, RawFile, ReadingOptions, check, reading, shown
from tinytale.data.splits import split_by_name
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL

BUILTIN_STORIES = 20_000
"""How many stories `builtin` is, unless `--stories` says otherwise."""

STANDARD_INPUT = "-"

HUB = "hub:"

REPLACED = "characters U+FFFD in place of bytes"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a person typed, and where its stories come from."""

    asked: str
    train: tuple[Part, ...]
    test: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know of the choice of files."""

    def stories(self) -> Iterator[str]:
        """Every story, those of the train parts first."""
        return stories_of((*self.train, *self.test))

    def fingerprint(self) -> list[Fingerprint]:
        """Name, size and SHA-256 of every part, those of the train parts first."""
        return [part.fingerprint() for part in (*self.train, *self.test)]

    @property
    def text_bytes(self) -> int:
        """About how many bytes of text there are."""
        return sum(part.text_bytes for part in (*self.train, *self.test))


@dataclass(frozen=True)
class Builtin(Part):
    """The first `count` stories of the project's own generator, seed 0."""

    count: int

    @property
    def name(self) -> str:
        """What messages and the manifest call it."""
        return f"builtin, {self.count} stories"

    @property
    def text_bytes(self) -> int:
        """About how many bytes of text it makes, from a few stories."""
        sample = [len(story.encode()) for story in islice(self.stories(Counter()), 100)]
        return sum(sample) * self.count // max(1, len(sample))

    def fingerprint(self) -> Fingerprint:
        """Hash of a hundred stories, which a change of the generator changes."""
        sample = "\n".join(islice(self.stories(Counter()), 100))
        return {"name": self.name, "bytes": self.text_bytes, "sha256": hashlib.sha256(sample.encode()).hexdigest()}

    def stories(self, noticed: Counter[str]) -> Iterator[str]:
        """The stories in order; nothing is odd in them."""
        del noticed
        from tinytale.addons.builtin.stories import story

        return (story(0, index) for index in range(self.count))


def stories_of(parts: Iterable[Part], noticed: Counter[str] | None = None) -> Iterator[str]:
    """The stories of `parts` in order, without the blanks around them; empty ones are left out.

    Args:
        parts: where they come from; all are looked at before the first is read.
        noticed: counts what is odd, such as records without a text.

    Raises:
        TaleError: some of the files cannot be read; all are named.
    """
    parts, noticed = tuple(parts), Counter() if noticed is None else noticed
    check(parts)
    for part in parts:
        replaced = isinstance(part, RawFile) and part.options.errors == "replace"
        for story in part.stories(noticed):
            if story := story.strip(BLANKS):
                if replaced:
                    noticed[REPLACED] += story.count("\ufffd")
                yield story


def open_source(
    asked: str,
    *,
    options: ReadingOptions = AS_USUAL,
    stories: int | None = None,
    spool: Path | None = None,
) -> Source:
    """Find what a person typed: a file, a folder or pattern of files of one kind, `hub:OWNER/NAME`, `builtin`, or `-`.

    In a folder or pattern, files whose names say test, valid, validation or eval are the test parts. `stories` sets the
    size of `builtin`. Standard input and named pipes can be read only once, so they are kept in the file `spool`.

    Raises:
        UsageError: nothing is there, its kind is unknown, or the kinds are mixed.
    """
    if asked == "builtin":
        return Source(asked=asked, train=(Builtin(stories or BUILTIN_STORIES),))
    if asked.startswith(HUB):
        return _from_hub(asked, options)
    path = Path(asked).expanduser()
    if asked == STANDARD_INPUT or path.is_fifo():
        if spool is None:
            raise UsageError(f"standard input (-) and pipes cannot be used here ({asked}); name a file")
        of_shell = asked == STANDARD_INPUT or path.is_relative_to("/dev") or path.is_relative_to("/proc")
        name = STANDARD_INPUT if of_shell else shown(Path(path.name))
        kept = _keep(sys.stdin.buffer if asked == STANDARD_INPUT else path, spool)
        part = KINDS.get(Path(name).suffix.lower(), TextFile)(kept, name, options)
        return Source(asked=STANDARD_INPUT if of_shell else asked, train=(part,))
    if path.is_file():
        return Source(asked=asked, train=(file_part(path, options=options),))
    files, notes = _files_of_one_kind(asked, path)
    parts = [(file, file_part(file, options=options)) for file in files]
    train = tuple(part for file, part in parts if split_by_name(file.stem) != "test")
    test = tuple(part for file, part in parts if split_by_name(file.stem) == "test")
    if not train:
        names = ", ".join(part.name for part in test[:4])
        raise UsageError(f"{asked}: by their names all files hold test stories ({names}); name the file to train on")
    return Source(asked=asked, train=train, test=test, notes=notes)


def _from_hub(asked: str, options: ReadingOptions) -> Source:
    """The files of a data set on the Hub, fetched and verified."""
    from tinytale.addons.hub.source import download, resolve

    found = resolve(asked)
    parts = {"train": [], "test": []}
    for file, path in download(found):
        parts[file.split].append(file_part(path, name=file.path, options=options))
    if not parts["train"]:
        raise UsageError(f"{found.spec}: by their names all files hold test stories; choose others with #SELECTION")
    return Source(asked=found.spec, train=tuple(parts["train"]), test=tuple(parts["test"]))


def _files_of_one_kind(asked: str, path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The story files of a folder or pattern, sorted by name; and what was left out, in a line for a person."""
    folder = path.is_dir()
    if not folder and not glob.has_magic(asked):
        raise UsageError(
            f"there is no {shown(Path(asked))!r}; expected a file or a folder of files ({', '.join(KINDS)}), a pattern"
            " such as 'stories/*.txt', hub:OWNER/NAME, builtin, or - for standard input"
        )
    with reading(path):
        found = sorted(path.iterdir() if folder else map(Path, glob.glob(str(path), recursive=True)))  # noqa: PTH207
        visible = [file for file in found if not file.name.startswith(".")]
        known = [file for file in visible if file.suffix.lower() in KINDS and file.is_file()]
        first = [file for file in known if file.suffix.lower() in FIRST_KINDS]
        files = [file for file in first or known if file.stat().st_size]
        left_out = Counter(_kind(file) for file in found if file not in set(files))
        below = _patterns_below(path, [file for file in visible if file.is_dir()]) if folder else []
    advice = f"; subfolders are not read: type {' or '.join(below)} in quotes, for files at any depth" if below else ""
    if not files:
        raise UsageError(f"{asked} holds no {', '.join(f'*{suffix}' for suffix in KINDS)} file with text in it{advice}")
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        patterns = " or ".join(f"'{path / f'*{kind}'}'" for kind in kinds)
        raise UsageError(f"{asked} mixes {' and '.join(kinds)} files; choose one kind by typing {patterns}")
    if not left_out:
        return files, ()
    kinds_out = ", ".join(f"{count:,} {kind}" for kind, count in sorted(left_out.items()))
    return files, (f"Read: {len(files):,} {kinds[0]} of {shown(path)}. Left out: {kinds_out}{advice}.",)


def _kind(file: Path) -> str:
    """What a file that is not read is called."""
    if file.name.startswith("."):
        return "hidden"
    if file.is_dir():
        return "folder"
    if not file.is_file():
        return "neither file nor folder"
    return "empty" if not file.stat().st_size else shown(Path(file.suffix.lower())) if file.suffix else "without suffix"


def _patterns_below(path: Path, folders: list[Path]) -> list[str]:
    """Patterns for the kinds of story file that lie deeper than a folder itself."""
    below = chain.from_iterable(folder.rglob("*") for folder in folders)
    inside = {file.suffix.lower() for file in islice(below, 10_000)}
    return [f"'{shown(path)}/**/*{kind}'" for kind in sorted(inside & set(FIRST_KINDS))]


def _keep(origin: BinaryIO | Path, spool: Path) -> Path:
    """Copy standard input or a pipe to a file."""
    spool = spool.with_name(spool.name + PARTIAL)
    try:
        spool.parent.mkdir(parents=True, exist_ok=True)
        with spool.open("wb") as file, origin.open("rb") if isinstance(origin, Path) else nullcontext(origin) as read:
            shutil.copyfileobj(read, file)
    except OSError as error:
        spool.unlink(missing_ok=True)
        raise TaleError(f"cannot keep standard input in {spool}: {error.strerror}") from error
    return spool
