"""Stories to the bytes of shards, on all cores: a pure function, so any number of processes gives the same bytes."""

import hashlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np

from tinytale.data.splits import SPLITS, Split
from tinytale.data.tokenizer import Tokenizer, read_tokenizer
from tinytale.errors import TaleError

SHARD_BYTES = 4 * 2**20
"""A shard is full once its stories have this many bytes."""

WAITING = 2
"""Shards handed out beyond one for each process: enough to keep all busy, few enough to keep memory flat."""


@dataclass(frozen=True)
class Task:
    """The stories of one shard; the `last` shard of a split also ends with an end of text."""

    split: Split
    index: int
    stories: Sequence[str]
    bytes: int
    """UTF-8 bytes of the stories."""
    text_sha256: str
    """A hash of the stories and of `last`."""
    last: bool


def tasks_of(stories: Iterable[tuple[Split, str, bytes]]) -> Iterator[Task]:
    """Gather stories, each with its split and digest, into shards of `SHARD_BYTES` or a story more, and the rest."""
    counts = dict.fromkeys(SPLITS, 0)
    gathered: dict[Split, tuple[list[str], list[bytes]]] = {split: ([], []) for split in SPLITS}
    sizes = dict.fromkeys(SPLITS, 0)

    def task(split: Split, last: bool) -> Task:
        texts, digests = gathered[split]
        text_sha256 = hashlib.sha256(b"".join(digests) + (b"last" if last else b"")).hexdigest()
        made = Task(split, counts[split], texts, sizes[split], text_sha256, last)
        counts[split] += 1
        gathered[split], sizes[split] = ([], []), 0
        return made

    for split, story, digest in stories:
        if sizes[split] >= SHARD_BYTES:
            yield task(split, last=False)
        gathered[split][0].append(story)
        gathered[split][1].append(digest)
        sizes[split] += len(story.encode("utf-8"))
    for split in SPLITS:
        if sizes[split]:
            yield task(split, last=True)


def encode_stories(tokenizer: Tokenizer, stories: Iterable[str], last: bool) -> bytes:
    """The tokens of a shard, in the tokenizer's dtype: an end of text before every story, and after the `last` one."""
    end = np.array([tokenizer.end_of_text], tokenizer.dtype).tobytes()
    return b"".join(end + tokenizer.encode_bytes(story) for story in stories) + (end if last else b"")


def encode_tasks(tasks: Iterable[Task], tokenizer_file: Path, processes: int) -> Generator[tuple[Task, bytes]]:
    """Encode tasks in the order given, each with its bytes, on `processes` processes; on one, in this one.

    Raises:
        TaleError: a process failed or was killed.
    """
    if processes == 1:
        tokenizer = read_tokenizer(tokenizer_file)
        for task in tasks:
            yield task, encode_stories(tokenizer, task.stories, task.last)
        return
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, spawn, _start_worker, (tokenizer_file,))
    pending: deque[tuple[Task, Future[bytes]]] = deque()
    try:
        for task in tasks:
            with _ctrl_c_withheld():
                pending.append((task, pool.submit(_encode_in_worker, task.stories, task.last)))
            if len(pending) >= processes + WAITING:
                done, future = pending.popleft()
                yield done, future.result()
        for done, future in pending:
            yield done, future.result()
    except BrokenProcessPool as error:
        raise TaleError(
            "a process that encodes stories was killed or could not start (out of memory?); run the same command again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_withheld() -> Iterator[None]:
    """A process that starts meanwhile never hears Ctrl-C, not even before its first line; this one hears it after."""
    if hasattr(signal, "pthread_sigmask"):
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
    else:
        yield


_tokenizer: Tokenizer
"""The tokenizer of a worker process."""


def _start_worker(tokenizer_file: Path) -> None:
    """Prepare a worker: it leaves Ctrl-C to its parent, dies with it, and uses one thread."""
    global _tokenizer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer = read_tokenizer(tokenizer_file)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _encode_in_worker(stories: Sequence[str], last: bool) -> bytes:
    return encode_stories(_tokenizer, stories, last)
