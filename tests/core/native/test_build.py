import ctypes
import os
import stat
import sys
import time
from pathlib import Path

import pytest

from tinytale.files import cache_folder
from tinytale.native import build
from tinytale.native.build import UnavailableError, compiler, library

NEEDS = pytest.mark.skipif(sys.platform != "linux" or compiler() is None, reason="needs Linux and a C++ compiler")
FLAGS = ["-shared", "-fPIC"]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "answer.cpp"
    path.write_text('extern "C" int answer() { return 42; }')
    return path


@NEEDS
def test_a_library_is_built_once_and_said_so_and_anew_when_its_source_changes(source: Path, capsys):
    assert library(source, [FLAGS]).answer() == 42
    assert "Compiled answer.cpp" in capsys.readouterr().err
    (built,) = cache_folder().iterdir()
    before = built.stat().st_mtime_ns
    assert library(source, [FLAGS]).answer() == 42
    assert built.stat().st_mtime_ns == before and capsys.readouterr().err == ""
    source.write_text('extern "C" int answer() { return 43; }')
    assert library(source, [FLAGS]).answer() == 43
    assert len(list(cache_folder().iterdir())) == 2


@NEEDS
def test_a_library_is_built_anew_when_a_header_changes(source: Path):
    header = source.with_name("answer.h")
    source.write_text('#include "answer.h"\nextern "C" int answer() { return ANSWER; }')
    header.write_text("#define ANSWER 42")
    assert library(source, [FLAGS]).answer() == 42
    header.write_text("#define ANSWER 43")
    assert library(source, [FLAGS]).answer() == 43


@pytest.fixture
def cached(source: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library in the cache that this process has not loaded."""
    with monkeypatch.context() as patched:
        patched.setattr(build, "load", lambda path, kind: ctypes.CDLL(None))
        library(source, [FLAGS])
    (built,) = cache_folder().iterdir()
    return built


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def belongs_to_another(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    os.chown(path, 12345, 12345)


def links_elsewhere(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@NEEDS
@pytest.mark.parametrize(
    "damage", [cut, flip, belongs_to_another, lambda path: path.chmod(0o777), links_elsewhere, Path.unlink]
)
def test_a_library_that_is_damaged_or_that_others_could_have_written_is_made_anew(source: Path, cached: Path, damage):
    whole = cached.read_bytes()
    damage(cached)
    assert library(source, [FLAGS]).answer() == 42
    assert cached.read_bytes() == whole and not cached.is_symlink()
    assert cached.stat().st_uid == os.geteuid() and stat.S_IMODE(cached.stat().st_mode) == 0o700


@NEEDS
def test_nobody_else_can_write_where_libraries_are_kept_whatever_the_umask(source: Path):
    cache_folder().parent.mkdir()
    before = os.umask(0)
    try:
        library(source, [FLAGS])
        cache_folder().chmod(0o777)  # as an older version may have left it
        library(source, [FLAGS])
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (cache_folder(), *cache_folder().iterdir())]
    assert modes == [0o700, 0o700]


@NEEDS
@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a folder away")
def test_a_cache_of_another_user_is_refused(source: Path, cached: Path):
    os.chown(cached.parent, 12345, 12345)
    with pytest.raises(UnavailableError, match=r"belongs to another user.* XDG_CACHE_HOME"):
        library(source, [FLAGS])


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    for relative in ("cache", "", "./x"):
        monkeypatch.setenv("XDG_CACHE_HOME", relative)
        assert cache_folder() == tmp_path / ".cache" / "tinytale"


@NEEDS
def test_flags_that_the_compiler_does_not_know_give_way_to_the_next(source: Path):
    assert library(source, [[*FLAGS, "-mno-such-instructions"], FLAGS]).answer() == 42


@NEEDS
def test_what_does_not_compile_says_why_and_leaves_nothing(source: Path):
    source.write_text("int answer( {")
    with pytest.raises(UnavailableError, match=r"cannot compile answer\.cpp: .*error"):
        library(source, [FLAGS])
    assert list(cache_folder().iterdir()) == []


def test_without_a_compiler_the_reason_says_so(source: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UnavailableError, match=r"no C\+\+ compiler"):
        library(source, [FLAGS])


@NEEDS
def test_a_cache_that_cannot_be_written_is_a_reason_too(source: Path, tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UnavailableError, match="cannot be built or loaded"):
        library(source, [FLAGS])


@pytest.fixture
def my_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    mine = tmp_path / "mine"
    mine.touch(mode=0o755)
    monkeypatch.setenv("CXX", str(mine))
    return mine


@NEEDS
def test_the_named_compiler_is_taken_whatever_it_says(source: Path, my_compiler: Path):
    my_compiler.write_bytes(b"#!/bin/sh\necho error: mine was called \xe9 >&2\nexit 3\n")
    assert compiler() == str(my_compiler)
    with pytest.raises(UnavailableError, match="mine was called \ufffd"):
        library(source, [FLAGS])


@NEEDS
def test_a_compiler_that_hangs_is_given_up_with_all_that_it_started(source: Path, my_compiler: Path, monkeypatch):
    my_compiler.write_text("#!/bin/sh\nsleep 77.125 &\necho $! >$(dirname $0)/child\nwait\n")
    monkeypatch.setattr(build, "COMPILER_SECONDS", 0.5)
    with pytest.raises(UnavailableError, match="mine has not ended after"):
        library(source, [FLAGS, FLAGS])
    child = int(my_compiler.with_name("child").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
    assert list(cache_folder().iterdir()) == []
