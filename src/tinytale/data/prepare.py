"""From a source of stories to a dataset folder: split, tokenize, shard, and write the manifest last.

The same request on the same files gives the same bytes on any machine, with any number of processes, however often it
was killed on the way.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, nullcontext
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any, TypeAlias

from tinytale.data.encoding import SHARD_BYTES, Task, encode_tasks, tasks_of
from tinytale.data.ledger import LEDGER_FILE, Ledger
from tinytale.data.names import Renamer, find_names
from tinytale.data.raw_files import AS_USUAL, ReadingOptions, check
from tinytale.data.remarks import CUT, Distinct, remarks
from tinytale.data.shards import MANIFEST_FILE, Manifest, Shard, SplitShards, shard_name
from tinytale.data.splits import SPLITS, TEST_WORDS, Carved, Split, carve, check_fractions, sample
from tinytale.data.stories import HUB, Source, open_source, stories_of
from tinytale.data.tokenizer import SMALLEST, TOKENIZER_FILE, Tokenizer, load_tokenizer, read_tokenizer, train_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL, sha256_of, write_bytes
from tinytale.lock import LOCK_FILE, held
from tinytale.resources import available_cores

VOCAB_SIZE = 8192
"""Tokens that a tokenizer learns when nobody says how many."""

SAMPLE_BYTES = 32 * 2**20
"""The tokenizer learns from at most this much text."""

SPOOL_FILE, TEST_SPOOL_FILE = "stdin.txt", "test-stdin.txt"

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Called with what is being done, the bytes of text done, and about how many there are, if that is known."""


def silent(*_: object) -> None:
    """Say nothing."""


def prepare(
    source: str,
    out: Path,
    *,
    test: str | None = None,
    vocab_size: int | None = None,
    tokenizer: str | None = None,
    stories: int | None = None,
    dev_fraction: float = 0.02,
    test_fraction: float = 0.02,
    options: ReadingOptions = AS_USUAL,
    processes: int | None = None,
    rename: float = 0.0,
    progress: Progress = silent,
    say: Callable[[str], None] = silent,
) -> Manifest:
    """Prepare `source` in the folder `out`; a second time it verifies what is there and returns at once.

    `stories` takes only the first so many of the train files. `test` names a source of test stories; without it, and
    without test files in the source, they are carved from the train stories, as the dev split always is. With
    `tokenizer`, `vocab_size` does not count; without either, there are 8,192 tokens, or as many as the text allows.
    `options` say how files become stories. In the share `rename` of the train stories names become rare ones
    (`names.py`); the tokenizer, and the dev and test stories, are made from the text as it is. Without `processes`
    there is one for each core, or only this one for a text of less than a shard; a script that prepares more needs its
    `if __name__ == "__main__":`.

    Raises:
        UsageError: the request cannot be carried out, or `out` holds something else.
        TaleError: a source is damaged or holds no stories, another process prepares `out`, or the disk refuses.
    """
    check_fractions(dev_fraction, test_fraction)
    if stories is not None and stories < 1:
        raise UsageError(f"the number of stories must be at least 1, not {stories}")
    if not 0 <= rename <= 1:
        raise UsageError(f"the share of stories with other names must be from 0 to 1, not {rename}")
    if processes is not None and processes < 1:
        raise UsageError(f"the number of processes must be at least 1, not {processes}")
    if tokenizer is None and vocab_size is not None and vocab_size < SMALLEST:
        raise UsageError(f"the vocabulary must have at least {SMALLEST} tokens, not {vocab_size}")
    _check_folder(out)
    done = (out / MANIFEST_FILE).is_file()  # then nothing is written but what `_sweep` takes away
    with nullcontext() if done else held(out, doing="being prepared"):
        opened = open_source(source, options=options, stories=stories, spool=out / SPOOL_FILE)
        for line in opened.notes:
            say(line)
        if test is not None:
            if opened.test:
                say(f"left out, since --test is given: {', '.join(part.name for part in opened.test)}")
            other = open_source(test, options=options, spool=out / TEST_SPOOL_FILE)
            for line in other.notes:
                say(f"--test: {line}")
            opened = replace(opened, test=(*other.train, *other.test))
        elif opened.test and not source.startswith(HUB):
            names = ", ".join(part.name for part in opened.test[:4]) + (" ..." if len(opened.test) > 4 else "")
            words = ", ".join(sorted(TEST_WORDS))
            say(f"Test stories, since their names say so ({words}): {names}; rename what is none")
        progress("reading", 0, None)
        check((*opened.train, *opened.test))
        settings = {
            "source": _name_only(opened.asked),
            "test": test and _name_only(test),
            "stories": stories,
            "vocab_size": vocab_size if tokenizer is None else None,
            "tokenizer": tokenizer and _name_only(tokenizer),
            "dev_fraction": dev_fraction,
            "test_fraction": test_fraction,
            "errors": options.errors,
            "field": options.field,
            **({"rename": rename} if rename else {}),
            **({"encoding": options.encoding} if options.encoding != "utf-8" else {}),
            **({"split_at": options.split_at} if options.split_at is not None else {}),
        }
        given = load_tokenizer(tokenizer) if tokenizer is not None else None
        request = {
            "settings": settings,
            "sources": opened.fingerprint(),
            "tokenizer": given and hashlib.sha256(given.to_json().encode()).hexdigest(),
        }
        if (out / MANIFEST_FILE).is_file():
            manifest = _finished(out, request)
            say(f"{out} is prepared already; every file in it is as it was written")
        else:
            job = _Job(opened, out, request, given, progress, say)
            one_shard = opened.text_bytes < SHARD_BYTES  # other processes would only start, and import a script anew
            manifest = job.run(processes or (1 if one_shard else available_cores()))
        for line in remarks(opened, manifest):
            say(line)
        _sweep(out, manifest)
    return manifest


class _Job:
    """One request at work in its folder."""

    def __init__(
        self,
        source: Source,
        out: Path,
        request: dict[str, Any],
        given: Tokenizer | None,
        progress: Progress,
        say: Callable[[str], None],
    ):
        self.say = say
        self.source = source
        self.out = out
        self.request = request
        self.settings: dict[str, Any] = request["settings"]
        self.given = given
        self.progress = progress
        self.ledger = Ledger(out, request)
        self.removed = 0
        self.noticed: Counter[str] = Counter()
        self.distinct = Distinct()
        self.shards: dict[Split, list[Shard]] = {split: [] for split in SPLITS}

    def run(self, processes: int) -> Manifest:
        """Make the tokenizer, the shards and the manifest."""
        tokenizer = self.make_tokenizer()
        self.renamer = self.make_renamer()
        with closing(encode_tasks(self.unfinished_tasks(), self.out / TOKENIZER_FILE, processes)) as encoded:
            for task, tokens in encoded:
                self.write_shard(task, tokens, tokenizer.dtype.itemsize)
        if not self.shards["train"]:
            raise TaleError(f"{self.source.asked} leaves no stories to train on ({self.removed} are test stories too)")
        manifest = Manifest(
            tokenizer_sha256=sha256_of(self.out / TOKENIZER_FILE),
            vocab_size=tokenizer.vocab_size,
            end_of_text=tokenizer.end_of_text,
            duplicates_of_test=self.removed,
            settings=self.settings,
            sources=self.request["sources"],
            splits={
                split: SplitShards(tuple(sorted(shards, key=lambda shard: shard.file)))
                for split, shards in self.shards.items()
            },
            noticed={what: n for what, n in sorted((self.noticed | self.distinct.many()).items()) if n},
        )
        manifest.save(self.out)
        return manifest

    def make_tokenizer(self) -> Tokenizer:
        """The tokenizer that was given, that an earlier attempt trained, or a new one."""
        path = self.out / TOKENIZER_FILE
        if _is_whole(path, self.ledger.find(TOKENIZER_FILE)):
            return read_tokenizer(path)
        tokenizer = self.given or self.train()
        self.ledger.note(file=TOKENIZER_FILE, sha256=tokenizer.save(path))
        return tokenizer

    def train(self) -> Tokenizer:
        """A tokenizer trained on a bounded sample of the train stories."""
        chosen = self.sampled()
        self.progress("tokenizer", 0, None)
        asked: int | None = self.settings["vocab_size"]
        return train_tokenizer(chosen, asked or VOCAB_SIZE, or_fewer=asked is None)

    def make_renamer(self) -> Renamer | None:
        """Who replaces names in the train stories, if that was asked for; names are learned from a bounded sample."""
        share: float = self.settings.get("rename", 0.0)
        if not share:
            return None
        chosen = self.sampled()
        self.progress("looking for names", 0, None)
        renamer = Renamer(find_names(chosen), share)
        self.say(
            f"In {share:.0%} of the train stories names become rare ones; {len(renamer.names):,} words are names:"
            f" {', '.join(sorted(renamer.names)[:12])} ..."
        )
        return renamer

    def sampled(self) -> list[str]:
        """A bounded sample of the train stories, which stands for all."""
        carved = self.watched("choosing", self.carved())
        chosen = sample(((story, digest) for split, story, digest in carved if split == "train"), SAMPLE_BYTES)
        if not chosen:
            raise TaleError(f"{self.source.asked} holds no stories to train on; {CUT}")
        return chosen

    def carved(self) -> Iterator[Carved]:
        """Every story with where it goes; what is odd is counted anew."""
        self.noticed = Counter()
        train = islice(stories_of(self.source.train, self.noticed), self.settings["stories"])
        test_fraction = 0.0 if self.source.test else self.settings["test_fraction"]
        return carve(train, stories_of(self.source.test, self.noticed), self.settings["dev_fraction"], test_fraction)

    def watched(self, doing: str, carved: Iterable[Carved]) -> Iterator[Carved]:
        """The same, reporting progress now and then."""
        whole, limit = self.source.text_bytes, self.settings["stories"]
        total, done = whole, 0
        for count, item in enumerate(carved):
            if count and count % 1000 == 0:
                total = min(whole, done * limit // count) if limit else whole
                self.progress(doing, done, total)
            done += len(item[1].encode("utf-8"))
            yield item
        self.progress(doing, done, done)

    def unfinished_tasks(self) -> Iterator[Task]:
        """A task for every shard that no earlier attempt finished; those that one did are taken as they are."""
        for task in tasks_of(self.counted(self.watched("encoding", self.carved()))):
            name = shard_name(task.split, task.index)
            noted = self.ledger.find(name)
            if noted and noted["text_sha256"] == task.text_sha256 and _is_whole(self.out / name, noted):
                self.shards[task.split].append(Shard(**{key: noted[key] for key in Shard.__dataclass_fields__}))
            else:
                yield task

    def counted(self, carved: Iterable[Carved]) -> Iterator[tuple[Split, str, bytes]]:
        """Leave out the duplicates of test stories, and count them; replace names in train, if that was asked for."""
        for split, story, digest in carved:
            self.distinct.add(digest)
            if split == "removed":
                self.removed += 1
            elif split == "train" and self.renamer:
                yield split, self.renamer.rename(story, digest), digest
            else:
                yield split, story, digest

    def write_shard(self, task: Task, tokens: bytes, width: int) -> None:
        """Write one shard and note it."""
        shard = Shard(
            file=shard_name(task.split, task.index),
            tokens=len(tokens) // width,
            stories=len(task.stories),
            bytes=task.bytes,
            sha256=hashlib.sha256(tokens).hexdigest(),
        )
        write_bytes(self.out / shard.file, tokens)
        self.ledger.note(**asdict(shard), text_sha256=task.text_sha256)
        self.shards[task.split].append(shard)


def _check_folder(out: Path) -> None:
    """Refuse to write into a folder of something else.

    Raises:
        UsageError: `out` is a file, or a folder that holds neither a dataset nor an unfinished one.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file; choose another --out")
    if out.is_dir() and not (out / MANIFEST_FILE).is_file() and not (out / LEDGER_FILE).is_file():
        others = sorted(
            path.name for path in out.iterdir() if not path.name.endswith(PARTIAL) and path.name != LOCK_FILE
        )
        if others:
            raise UsageError(f"{out} holds other things ({', '.join(others[:3])}); choose another --out")


def _finished(out: Path, request: dict[str, Any]) -> Manifest:
    """The dataset that is there, verified.

    Raises:
        UsageError: it was made by another request, or its sources have changed since.
        TaleError: a file of it is damaged.
    """
    manifest = Manifest.load(out)
    asked = (
        {"rename": None, "encoding": None, "split_at": None}
        | request["settings"]
        | {"sources": request["sources"], "tokenizer content": request["tokenizer"]}
    )
    made = manifest.settings | {"sources": manifest.sources}
    made["tokenizer content"] = manifest.tokenizer_sha256 if request["tokenizer"] else None
    if differing := [name for name in asked if asked[name] != made.get(name)]:
        raise UsageError(
            f"{out} holds a dataset made by another request (other {', '.join(differing)}); "
            "delete the folder, or choose another --out"
        )
    manifest.verify(out)
    return manifest


def _is_whole(path: Path, noted: dict[str, Any] | None) -> bool:
    """Whether a file is as the ledger noted it."""
    return noted is not None and path.is_file() and sha256_of(path) == noted["sha256"]


def _sweep(out: Path, manifest: Manifest) -> None:
    """Remove what only an unfinished dataset needs, and shards of an attempt on sources that have changed."""
    (out / LEDGER_FILE).unlink(missing_ok=True)
    named = {shard.file for split in manifest.splits.values() for shard in split.shards}
    shards = (path for split in SPLITS for path in out.glob(f"{split}-*.bin"))
    for path in (*out.glob(f"*{PARTIAL}"), *shards):
        if path.name not in named:
            path.unlink()


def _name_only(asked: str) -> str:
    """What a person typed, but of an absolute path only the last name, so that the manifest fits any machine."""
    path = PurePath(asked)
    named = path.parent if path.name == "model" else path  # the tokenizer of a run lies with its model
    return (named.name if path.is_absolute() else asked).encode("utf-8", "backslashreplace").decode("utf-8")
