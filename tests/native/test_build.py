import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tinytale.files import cache_folder
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


@NEEDS
def test_a_library_that_was_cut_short_is_made_anew(source: Path):
    build = (
        "import sys; from pathlib import Path; from tinytale.native.build import library; library(Path(sys.argv[1]), "
    )
    subprocess.run([sys.executable, "-c", f"{build}[{FLAGS}])", source], check=True)  # not loaded by this process
    (built,) = cache_folder().iterdir()
    whole = built.read_bytes()
    built.write_bytes(whole[:100])
    assert library(source, [FLAGS]).answer() == 42 and built.read_bytes() == whole
    assert list(cache_folder().iterdir()) == [built]


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


@NEEDS
def test_the_named_compiler_is_taken(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mine = tmp_path / "mine"
    mine.write_text("#!/bin/sh\necho error: mine was called >&2\nexit 3\n")
    mine.chmod(mine.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CXX", str(mine))
    assert compiler() == str(mine) and os.access(mine, os.X_OK)
    with pytest.raises(UnavailableError, match="mine was called"):
        library(source, [FLAGS])
