"""The Hub's official client, made to fit: its errors in one line, its cuts mended, its progress on our own bar."""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.progress import Progress, TaskID

from tinytale.errors import TaleError

WAITS = (1.0, 2.0, 4.0)
"""Seconds before each new attempt at a request that failed on the way."""

PIECE = 2**20
"""Bytes that the client writes at once. A cut connection is resumed after the last whole piece; its own are 10 MB."""

FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Numbers of the errors by which a system says that no more can be written."""

Answer = TypeVar("Answer")


class UnreachableError(TaleError):
    """The Hub gave no answer: no network, offline mode, or a failing server."""


def check_home() -> None:
    """Whether there is a folder for what comes from the Hub; the client would take one that is called `~`.

    Raises:
        TaleError: there is none.
    """
    from huggingface_hub import constants

    if constants.HF_HOME.startswith("~"):
        raise TaleError("files from the Hub are kept in the home folder, and there is none; set HF_HOME to a folder")


def bar_onto(progress: Progress, task: TaskID, what: str, size: int) -> type:
    """A progress bar for the client, which draws nothing itself and moves our own.

    It ends a download, by a TaleError, that has more bytes than the list of files says: it may have no end.
    """
    from huggingface_hub.utils import tqdm

    class Forward(tqdm):
        def __init__(self, *args: Any, **settings: Any):
            super().__init__(*args, **{**settings, "disable": True})
            self.arrived = settings.get("initial", 0)

        def update(self, n: int | float | None = 1) -> None:
            self.arrived += n or 0
            if self.arrived > size:
                raise TaleError(
                    f"{what}: the Hub sends more than the {size:,} bytes that it has listed; it was not kept"
                )
            progress.advance(task, n or 0)

        def update_transfer(self, n: int | float) -> None:
            """Bytes on the wire; the client calls `update` for the same ones once they are in the file."""

    return Forward


@contextmanager
def client_settings() -> Iterator[None]:
    """Smaller pieces, and none of the client's own reports of cuts that it mends by itself."""
    from huggingface_hub import constants
    from huggingface_hub.utils import logging

    before = constants.DOWNLOAD_CHUNK_SIZE, logging.get_verbosity()
    constants.DOWNLOAD_CHUNK_SIZE = PIECE
    logging.set_verbosity_error()
    try:
        yield
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = before[0]
        logging.set_verbosity(before[1])


def attempt(what: str, action: Callable[[], Answer]) -> Answer:
    """Run `action`, again after each of `WAITS` when the network failed.

    Raises:
        TaleError: it failed; one line says how.
    """
    for wait in (*WAITS, None):
        try:
            return action()
        except TaleError:
            raise
        except Exception as error:
            failure, passing = _explain(error, what)
            if wait is None or not passing:
                raise failure from error
            time.sleep(wait)
    raise AssertionError("the last wait is None")


def _explain(error: Exception, what: str) -> tuple[TaleError, bool]:
    """One of the client's many errors in a line for the person, and whether trying again may help."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    words = " ".join(str(error).split())[:200] or type(error).__name__
    status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
    number = None if status else getattr(error, "errno", None)
    if number in FULL or "No space left" in words:
        cache = constants.HF_HUB_CACHE
        return TaleError(f"no room for {what} in {cache}: make room, or set HF_HOME to a folder elsewhere"), False
    match error:
        case OfflineModeIsEnabled():
            return UnreachableError(f"{what}: HF_HUB_OFFLINE forbids the network"), False
        case LocalEntryNotFoundError(__cause__=Exception() as cause):
            return _explain(cause, what)[0], False  # the client has tried again itself
        case GatedRepoError():
            return TaleError(f"{what} is gated: accept its terms on its page, then set HF_TOKEN to your token"), False
        case RepositoryNotFoundError():
            return TaleError(f"{what}: no such data set, or a private one: check the name, or set HF_TOKEN"), False
        case RevisionNotFoundError():
            return TaleError(f"{what}: there is no such revision; leave it out for the newest one"), False
        case RemoteEntryNotFoundError():
            return TaleError(f"{what} is not on the Hub, though listed; the data set may have been rewritten"), False
    if status in (401, 403):
        return TaleError(f"{what}: the Hub refuses access ({status}); check HF_TOKEN"), False
    if status is not None:
        passing = status in (408, 429) or status >= 500
        kind = UnreachableError if passing else TaleError
        return kind(f"{what}: the Hub fails with {status}; try again later"), passing
    if isinstance(error, ValueError | TypeError | KeyError):
        return TaleError(f"{what}: the Hub's answer makes no sense ({words}); check HF_ENDPOINT"), False
    if number is not None and not isinstance(error, ConnectionError | TimeoutError):
        return TaleError(f"{what}: the cache {constants.HF_HUB_CACHE} cannot be used: {words}"), False
    return UnreachableError(f"{what}: the connection to {constants.ENDPOINT} failed: {words}"), True
