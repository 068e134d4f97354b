"""Stories from the Hugging Face Hub: named by commit, fetched by the official client, verified at every use.

A source is typed `hub:OWNER/NAME[@REVISION][#SELECTION]`. `resolve` turns it into files with sizes and hashes at one
commit, `download` into paths of verified files. The client (`huggingface_hub`) gives the cache, the addresses, the
token and the resumption of cut connections, and honours `HF_HOME`, `HF_HUB_OFFLINE`, `HF_ENDPOINT` and `HF_TOKEN`. It
does not read again what it once cached, so each file is hashed here before it is used: SHA-256 for files that the Hub
keeps in Git LFS, git's own SHA-1 for small ones.
"""

import hashlib
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from rich.progress import Progress, TaskID

from tinytale.addons.hub.client import PIECE, UnreachableError, attempt, bar_onto, check_home, client_settings
from tinytale.addons.hub.files import HubFile, list_files
from tinytale.console import console, progress_bar
from tinytale.errors import TaleError, UsageError

PINNED = {"roneneldan/TinyStories": "f54c09fd23315a6f9c86f9dc80f725de7d8f9c64"}
"""The revision of a data set when the person names none; any other data set then means its branch `main`."""

KINDS = (".parquet", ".jsonl", ".txt")
"""The kinds of file that hold stories; the first of these that a data set has is the only one taken."""

NOT_STORIES = frozenset({"citation", "licence", "license", "notice", "readme", "requirements"})

ABANDONED = 600.0
"""Seconds after which an unfinished file that nobody writes to was left by a killed process."""

SPEC = re.compile(r"hub:(?P<repo>[^@#]*)(?:@(?P<revision>[^#]*))?(?:#(?P<selection>.*))?", re.DOTALL)
REPO = re.compile(r"(?!.*(?:--|\.\.))[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """The files of a data set that hold stories, at one commit."""

    repo: str
    revision: str
    """A commit hash, always."""

    selection: str | None
    files: tuple[HubFile, ...]
    """Sorted by path."""

    @property
    def spec(self) -> str:
        """What to type for exactly these files."""
        return f"hub:{self.repo}@{self.revision}" + (f"#{self.selection}" if self.selection else "")


def resolve(spec: str) -> HubSource:
    """The files that `hub:OWNER/NAME[@REVISION][#SELECTION]` means, with sizes and hashes.

    REVISION is a commit, branch or tag. SELECTION is a pattern (`data/*.txt`), a folder (`en`) or a part of the file
    name (`V2`), whichever finds files first. Of the files selected, only those of the first kind in `KINDS` are taken.

    A commit whose list is remembered needs no network. A branch is asked for anew, and its commit is said; when the
    Hub gives no answer, the commit that it last meant here is used, and that is said.

    Raises:
        UsageError: the spec is no such spec, or its selection finds nothing.
        TaleError: no such data set or revision, no access, no stories in it, no folder to keep them in, or no network
            and nothing remembered.
    """
    check_home()
    match = SPEC.fullmatch(spec)
    if not match or not REPO.fullmatch(match["repo"]) or "" in (match["revision"], match["selection"]):
        raise UsageError(f"{spec!r} names no data set on the Hub: write hub:OWNER/NAME, then @REVISION or #SELECTION")
    repo, selection = match["repo"], match["selection"]
    asked = match["revision"] or PINNED.get(repo, "main")
    commit, files = list_files(repo, asked)
    return HubSource(repo=repo, revision=commit, selection=selection, files=_stories_of(repo, files, selection))


def download(source: HubSource) -> list[tuple[HubFile, Path]]:
    """Every file of `source` with its path in the Hub's cache, each verified now.

    What is cached already is not fetched again, unless it is corrupt: then it is deleted and fetched once more.

    Raises:
        TaleError: a file cannot be had whole (no network, no access, no room, corrupt twice). Complete files stay
            cached for the next attempt; a file that is not complete is never given out.
    """
    from huggingface_hub import constants

    paths: dict[HubFile, Path] = {}
    with client_settings(), progress_bar("byte") as progress:
        for file in source.files:
            path = _cached(source, file)
            if path and (fault := _fault(path, file, progress)):
                if constants.HF_HUB_OFFLINE:
                    raise TaleError(f"{path} is corrupt: {fault}; unset HF_HUB_OFFLINE once to fetch it again")
                console.print(f"{path} is corrupt: {fault}; fetching it again", soft_wrap=True)
                _delete(path)
            elif path:
                paths[file] = path
        missing = [file for file in source.files if file not in paths]
        if missing and constants.HF_HUB_OFFLINE:
            raise UnreachableError(
                f"{source.spec}: {len(missing)} of {len(source.files)} files are not in {_cache_folder(source.repo)} "
                f"(first {missing[0].path}) and HF_HUB_OFFLINE forbids the network; unset it once to fetch them"
            )
        if missing:
            _clear_abandoned(source.repo)
            _check_room(source, missing)
            total = sum(file.bytes for file in missing)
            said = f"fetching {total:,} bytes of {source.spec}: {_some(tuple(missing))}"
            console.print(said, soft_wrap=True)
            task = progress.add_task("fetching", total=total)
            done = 0
            for file in missing:
                paths[file] = _fetch(source, file, progress, task, done)
                done += file.bytes
    return [(file, paths[file]) for file in source.files]


def _stories_of(repo: str, files: tuple[HubFile, ...], selection: str | None) -> tuple[HubFile, ...]:
    """Those of a repository's files that hold stories."""
    selected = files
    if selection:
        finders: tuple[Callable[[PurePosixPath], bool], ...] = (
            lambda path: fnmatchcase(str(path), selection),
            lambda path: path.is_relative_to(selection) or selection in path.parts[:-1],
            lambda path: selection in path.name,
        )
        found = (tuple(file for file in files if finder(PurePosixPath(file.path))) for finder in finders)
        selected = next(filter(None, found), ())
        if not selected:
            raise UsageError(f"hub:{repo}#{selection} finds no file; there are: {_some(files)}")
    for kind in KINDS:
        of_kind = tuple(file for file in selected if _holds_stories(PurePosixPath(file.path), kind))
        if of_kind:
            return of_kind
    raise TaleError(
        f"hub:{repo} has no Parquet, JSONL or txt file here, only: {_some(selected)}; the Hub's own conversion "
        "to Parquet, where it exists, is @refs/convert/parquet"
    )


def _holds_stories(path: PurePosixPath, kind: str) -> bool:
    return path.suffix.lower() == kind and path.stem.lower() not in NOT_STORIES


def _some(files: tuple[HubFile, ...]) -> str:
    """The first dozen names, and how many more there are."""
    names = ", ".join(file.path for file in files[:12]) or "none"
    return names + (f" and {len(files) - 12} more" if len(files) > 12 else "")


def _fetch(source: HubSource, file: HubFile, progress: Progress, task: TaskID, done: int) -> Path:
    """Download one file that is not cached, after `done` bytes of others, and verify it; once more if corrupt."""
    from huggingface_hub import constants, hf_hub_download

    what = f"{source.spec}: {file.path}"

    def once() -> str:
        progress.update(task, description=PurePosixPath(file.path).name, completed=done)
        constants.DOWNLOAD_CHUNK_SIZE = min(PIECE, file.bytes + 1)  # so that a byte too many is seen as it comes
        return hf_hub_download(
            source.repo,
            file.path,
            repo_type="dataset",
            revision=source.revision,
            tqdm_class=bar_onto(progress, task, what, file.bytes),
        )

    fault = None
    for _ in range(2):
        path = Path(attempt(what, once))
        fault = _fault(path, file, progress)
        if not fault:
            return path
        _delete(path)
    raise TaleError(f"{what} arrived corrupt twice and was deleted: {fault}; try again later or by another network")


def _cached(source: HubSource, file: HubFile) -> Path | None:
    """Where the client's cache has the file, whatever its content."""
    from huggingface_hub import try_to_load_from_cache

    path = attempt(
        f"{source.spec}: {file.path}",
        lambda: try_to_load_from_cache(source.repo, file.path, revision=source.revision, repo_type="dataset"),
    )
    return Path(path) if isinstance(path, str) else None


def _fault(path: Path, file: HubFile, progress: Progress) -> str | None:
    """What is wrong with the bytes at `path`, or nothing."""
    if file.sha256:
        name, wanted, digest = "SHA-256", file.sha256, hashlib.sha256()
    else:
        name, wanted, digest = "git SHA-1", file.git_sha1, hashlib.sha1(f"blob {file.bytes}\0".encode())
    task = progress.add_task(f"verifying {PurePosixPath(file.path).name}", total=file.bytes)
    try:
        size = path.stat().st_size
        if size != file.bytes:
            return f"{size:,} bytes where {file.bytes:,} were expected"
        with path.open("rb") as stream:
            while piece := stream.read(PIECE):
                digest.update(piece)
                progress.advance(task, len(piece))
    except OSError as error:
        raise TaleError(f"cannot read {path}: {error.strerror}; delete it to have it fetched again") from error
    finally:
        progress.remove_task(task)
    return None if digest.hexdigest() == wanted else f"its {name} is {digest.hexdigest()}, not {wanted}"


def _delete(path: Path) -> None:
    """Delete a cached file and the chain of links that leads to it; one left behind would bring the bytes back."""
    chain = [path]
    while chain[-1].is_symlink():
        chain.append(chain[-1].parent / chain[-1].readlink())
    try:
        for link in chain:
            link.unlink(missing_ok=True)
    except OSError as error:
        raise TaleError(f"{path} is corrupt and cannot be deleted: {error.strerror}") from error


def _cache_folder(repo: str) -> Path:
    """Where the client keeps a data set."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / f"datasets--{repo.replace('/', '--')}"


def _clear_abandoned(repo: str) -> None:
    """Delete what killed downloads left; the client gives each attempt a file of its own and never looks back."""
    for path in (_cache_folder(repo) / "blobs").glob("*.incomplete"):
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - ABANDONED:
                path.unlink()


def _check_room(source: HubSource, missing: list[HubFile]) -> None:
    """Refuse to begin what cannot end."""
    folder = _cache_folder(source.repo)
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    needed, free = sum(file.bytes for file in missing), shutil.disk_usage(place).free
    if free < needed:
        raise TaleError(
            f"no room for {source.spec}: {needed:,} bytes are needed and {free:,} are free in {folder}; "
            "make room, or set HF_HOME to a folder on another disk"
        )
