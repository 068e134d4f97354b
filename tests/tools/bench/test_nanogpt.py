"""Where nanoGPT's code comes from: a local repository stands in for the real one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from bench import nanogpt
from bench.nanogpt import cache_folder, nanogpt_folder
from tinytale.errors import TaleError


@pytest.fixture
def repository_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    origin = tmp_path / "origin"
    origin.mkdir()
    for variable in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        done = subprocess.run(["git", *identity, *arguments], cwd=origin, capture_output=True, check=True, text=True)
        return done.stdout.strip()

    git("init", "--quiet")
    for content in ("pinned", "newer"):
        (origin / "model.py").write_text(content, encoding="utf-8")
        git("add", ".")
        git("commit", "--quiet", "-m", content)
    monkeypatch.setattr(nanogpt, "ADDRESS", str(origin))
    monkeypatch.setattr(nanogpt, "COMMIT", git("rev-parse", "HEAD~1"))
    return origin


def test_auto_clones_the_pinned_commit_once(repository_of: Path):
    folder = nanogpt_folder("auto")
    assert folder.parent == cache_folder()
    assert (folder / "model.py").read_text(encoding="utf-8") == "pinned"
    repository_of.rename(repository_of.with_name("gone"))
    assert nanogpt_folder("auto") == folder
    assert [path.name for path in cache_folder().iterdir()] == [folder.name]


def test_no_git_and_no_network_are_said_and_leave_nothing(repository_of: Path, monkeypatch: pytest.MonkeyPatch):
    repository_of.rename(repository_of.with_name("gone"))
    with pytest.raises(TaleError, match=r"git cannot get .*origin.*; get it yourself and name its folder"):
        nanogpt_folder("auto")
    assert not list(cache_folder().iterdir())
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(TaleError, match="git is not installed"):
        nanogpt_folder("auto")
