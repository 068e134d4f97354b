"""A source of stories, whatever a person typed: files, a folder, the Hub, the built-in corpus, standard input.

A story is the text between two separators without the blanks around it; nothing inside it is ever changed.
"""

import glob
import hashlib
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from tinytale.data.formats import BLANKS, KINDS, Errors, Fingerprint, Part, TextFile, file_part, reading
from tinytale.data.splits import split_by_name
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL

BUILTIN_STORIES = 20_000
"""How many stories `builtin` is, unless `--stories` says otherwise."""

STANDARD_INPUT = "-"

HUB = "hub:"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a person typed, and where its stories come from."""

    asked: str
    train: tuple[Part, ...]
    test: tuple[Part, ...] = ()

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
        sample = [len(story.encode()) for story in islice(self.stories(), 100)]
        return sum(sample) * self.count // max(1, len(sample))

    def fingerprint(self) -> Fingerprint:
        """Hash of a hundred stories, which a change of the generator changes."""
        sample = "\n".join(islice(self.stories(), 100))
        return {"name": self.name, "bytes": self.text_bytes, "sha256": hashlib.sha256(sample.encode()).hexdigest()}

    def stories(self) -> Iterator[str]:
        """The stories in order."""
        from tinytale.data.builtin import story

        return (story(0, index) for index in range(self.count))


def stories_of(parts: Iterable[Part]) -> Iterator[str]:
    """The stories of `parts` in order, without the blanks around them; empty ones are left out."""
    for part in parts:
        for story in part.stories():
            if story := story.strip(BLANKS):
                yield story


def open_source(
    asked: str, *, field: str = "text", errors: Errors = "strict", stories: int | None = None, spool: Path | None = None
) -> Source:
    """Find what a person typed: a file, a folder or pattern of files of one kind, `hub:OWNER/NAME`, `builtin`, or `-`.

    In a folder or pattern, files whose names say test, valid, validation or eval are the test parts. `stories` sets the
    size of `builtin`. Standard input can be read only once, so it is kept in the file `spool`.

    Raises:
        UsageError: nothing is there, its kind is unknown, or the kinds are mixed.
    """
    if asked == "builtin":
        return Source(asked=asked, train=(Builtin(stories or BUILTIN_STORIES),))
    if asked == STANDARD_INPUT:
        if spool is None:
            raise UsageError("standard input (-) cannot be used here; save the text as a .txt file and name that")
        return Source(asked=asked, train=(TextFile(_keep_standard_input(spool), STANDARD_INPUT, errors),))
    if asked.startswith(HUB):
        return _from_hub(asked, field, errors)
    path = Path(asked).expanduser()
    if path.is_file():
        return Source(asked=asked, train=(file_part(path, field=field, errors=errors),))
    parts = [(file, file_part(file, field=field, errors=errors)) for file in _files_of_one_kind(asked, path)]
    train = tuple(part for file, part in parts if split_by_name(file.stem) != "test")
    test = tuple(part for file, part in parts if split_by_name(file.stem) == "test")
    if not train:
        names = ", ".join(part.name for part in test[:4])
        raise UsageError(f"{asked}: by their names all files hold test stories ({names}); name the file to train on")
    return Source(asked=asked, train=train, test=test)


def _from_hub(asked: str, field: str, errors: Errors) -> Source:
    """The files of a data set on the Hub, fetched and verified."""
    from tinytale.data.hub import download, resolve

    found = resolve(asked)
    parts = {"train": [], "test": []}
    for file, path in download(found):
        parts[file.split].append(file_part(path, name=file.path, field=field, errors=errors))
    if not parts["train"]:
        raise UsageError(f"{found.spec}: by their names all files hold test stories; choose others with #SELECTION")
    return Source(asked=found.spec, train=tuple(parts["train"]), test=tuple(parts["test"]))


def _files_of_one_kind(asked: str, path: Path) -> list[Path]:
    """The story files of a folder or pattern, sorted by name."""
    pattern = not path.is_dir() and glob.has_magic(asked)
    if not pattern and not path.is_dir():
        raise UsageError(
            f"there is no {asked!r}; expected a file or a folder of files ({', '.join(KINDS)}), a pattern such as "
            "'stories/*.txt', hub:OWNER/NAME, builtin, or - for standard input"
        )
    with reading(path):
        found = map(Path, glob.glob(str(path), recursive=True)) if pattern else path.iterdir()  # noqa: PTH207
        files = sorted(file for file in found if file.suffix.lower() in KINDS and file.is_file())
    if not files:
        raise UsageError(f"{asked} holds no {', '.join(f'*{suffix}' for suffix in KINDS)} file")
    kinds = sorted({file.suffix.lower() for file in files})
    if len(kinds) > 1:
        patterns = " or ".join(f"'{path / f'*{kind}'}'" for kind in kinds)
        raise UsageError(f"{asked} mixes {' and '.join(kinds)} files; choose one kind by typing {patterns}")
    return files


def _keep_standard_input(spool: Path) -> Path:
    """Copy standard input to a file."""
    spool = spool.with_name(spool.name + PARTIAL)
    try:
        spool.parent.mkdir(parents=True, exist_ok=True)
        with spool.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
    except OSError as error:
        spool.unlink(missing_ok=True)
        raise TaleError(f"cannot keep standard input in {spool}: {error.strerror}") from error
    return spool
