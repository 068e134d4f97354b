"""What a data set on the Hub consists of at one commit, asked once and remembered.

A commit's list of files never changes. It is kept in the client's folder for such notes (`HF_HOME/assets`), so that a
commit whose files are cached needs no network at all.
"""

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from tinytale.addons.hub.client import UnreachableError, attempt
from tinytale.console import console
from tinytale.data.splits import split_by_name
from tinytale.errors import TaleError
from tinytale.files import read_json, write_json

REPLY_TIME = 30.0
"""Seconds that the Hub has for its list of files; the client has no limit of its own there."""

MOST_FILES = 100_000
"""Files of a data set; the largest ones on the Hub have a third of these."""

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """One file of a data set at one commit. Exactly one of the two hashes is known."""

    path: str
    """Within the repository, with `/`."""

    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def split(self) -> Literal["train", "test"]:
        """`test` when a word of the file's name, or else of its nearest telling folder, says so; otherwise `train`."""
        path = PurePosixPath(self.path)
        for name in (path.stem, *reversed(path.parts[:-1])):
            if told := split_by_name(name):
                return told
        return "train"


def list_files(repo: str, asked: str) -> tuple[str, tuple[HubFile, ...]]:
    """The commit that a revision means, and every file of the repository there: remembered, or from the Hub."""
    if COMMIT.fullmatch(asked) and (files := _recall(repo, asked)):
        return asked, files
    try:
        commit, files = attempt(f"hub:{repo}@{asked}", lambda: _ask(repo, asked))
    except UnreachableError as error:
        commit = _branches(repo).get(asked, "")
        if not (files := _recall(repo, commit)):
            raise UnreachableError(f"{error}; it was not fetched before, so there is nothing to use") from error
        console.print(f"{error}: using commit {commit}, as the last time", soft_wrap=True)
        return commit, files
    if COMMIT.fullmatch(asked):
        if commit != asked:
            raise TaleError(f"hub:{repo}@{asked}: the Hub answered with another commit, {commit}")
        _remember(repo, commit, files)
        return commit, files
    before = _branches(repo).get(asked, commit)
    moved = f" (it was {before} the last time)" if before != commit else ""
    console.print(f"hub:{repo}: {asked} is commit {commit}{moved}", soft_wrap=True)
    _remember(repo, commit, files, branch=asked)
    return commit, files


def _ask(repo: str, asked: str) -> tuple[str, tuple[HubFile, ...]]:
    """Ask the Hub which commit a revision is, and for its files."""
    from huggingface_hub import HfApi

    info = HfApi().dataset_info(repo, revision=asked, files_metadata=True, timeout=REPLY_TIME)
    if not info.sha or not COMMIT.fullmatch(info.sha):
        raise TaleError(f"hub:{repo}@{asked}: the Hub named no commit but {info.sha!r}; check HF_ENDPOINT")
    entries, files = info.siblings or [], []
    if len(entries) > MOST_FILES:
        raise TaleError(f"hub:{repo}@{asked} has {len(entries):,} files; expected {MOST_FILES:,} at most")
    for entry in entries:
        size, sha256 = (entry.lfs.size, entry.lfs.sha256) if entry.lfs else (entry.size, None)
        if size is None or not (sha256 or entry.blob_id):
            raise TaleError(f"hub:{repo}@{asked}: the Hub gave no size or no hash of {entry.rfilename}")
        git_sha1 = None if sha256 else entry.blob_id
        files.append(HubFile(path=entry.rfilename, bytes=size, sha256=sha256, git_sha1=git_sha1))
    return info.sha, tuple(sorted(files, key=lambda file: file.path))


def _notes(repo: str) -> Path:
    """Our folder for lists of files, where the client wants other programs' notes."""
    from huggingface_hub import cached_assets_path

    return cached_assets_path("tinytale", namespace=repo, subfolder="files")


def _digest(commit: str, files: tuple[HubFile, ...]) -> str:
    """A hash of a list, so that a damaged one is not believed."""
    return hashlib.sha256(json.dumps([commit, [asdict(file) for file in files]]).encode()).hexdigest()


def _remember(repo: str, commit: str, files: tuple[HubFile, ...], branch: str | None = None) -> None:
    """Keep a list for use without the network. Where nothing can be written, only that use is lost."""
    with suppress(TaleError, OSError):
        entries = [asdict(file) for file in files]
        write_json(_notes(repo) / f"{commit}.json", {"sha256": _digest(commit, files), "files": entries})
        if branch:
            write_json(_notes(repo) / "branches.json", {**_branches(repo), branch: commit})


def _recall(repo: str, commit: str) -> tuple[HubFile, ...] | None:
    """A remembered list, or none when it is missing or damaged."""
    with suppress(TaleError, OSError, KeyError, TypeError):
        record = read_json(_notes(repo) / f"{commit}.json")
        files = tuple(HubFile(**entry) for entry in record["files"])
        if record["sha256"] == _digest(commit, files):
            return files
    return None


def _branches(repo: str) -> dict[str, str]:
    """The commit that each branch asked for here last meant."""
    with suppress(TaleError, OSError):
        record = read_json(_notes(repo) / "branches.json")
        if isinstance(record, dict):
            return {branch: commit for branch, commit in record.items() if isinstance(commit, str)}
    return {}
