"""The console, and what the command line does before a verb begins."""

import io
import os
import sys
from pathlib import Path

import pytest

from tinytale import cli
from tinytale.cli import expanded
from tinytale.console import LastingConsole

POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes and closed streams as on Linux and macOS")


@POSIX
def test_work_goes_on_when_the_reader_of_the_console_has_gone(monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        console = LastingConsole(stderr=True)
        for _ in range(3):
            console.print("a line")
        pipe.write("from somebody else\n")


@POSIX
def test_a_terminal_that_has_closed_ends_nothing(monkeypatch: pytest.MonkeyPatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

        def fileno(self) -> int:
            return spare

    spare = os.open(os.devnull, os.O_WRONLY)
    monkeypatch.setattr(sys, "stderr", Gone())
    console = LastingConsole(stderr=True)
    console.print("a line")
    console.print("another")
    os.close(spare)


def test_a_closed_stream_stops_no_command(tale, monkeypatch: pytest.MonkeyPatch):
    """`2>&-`: Python has no `sys.stderr` then."""
    seen = []
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(cli, "app", lambda words: seen.append(sys.stderr))
    assert tale("train").code == 0 and seen[0].name == os.devnull
    seen[0].close()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("~/runs/x", "/home/me/runs/x"),
        ("--out=~/x", "--out=/home/me/x"),
        ("--run.start-from=~", "--run.start-from=/home/me"),
        ("~", "~"),
        ("~ once", "~ once"),
        ("--prompt=a ~/b", "--prompt=a ~/b"),
        ("a/~/b", "a/~/b"),
    ],
)
def test_the_home_folder_is_found_where_the_shell_has_not(word: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, "/home/me")
    assert expanded(word) == expected


def test_the_command_line_finds_the_home_folder(tale, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    asked: list[list[str]] = []
    monkeypatch.setattr(cli, "app", lambda words: asked.append(words))
    assert tale("prepare", "builtin", "--out=~/tales", "~/x").code == 0
    assert asked == [["prepare", "builtin", f"--out={tmp_path}/tales", f"{tmp_path}/x"]]
