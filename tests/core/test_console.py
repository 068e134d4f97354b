"""The console: what a terminal would obey never reaches it, and its reader may go. And what comes before a verb."""

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.panel import Panel

from tinytale import cli
from tinytale.cli import expanded
from tinytale.config import ModelConfig
from tinytale.console import SafeConsole, cleaned, console, figures_table
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

EVIL = "a\x1b[2J\x1b]0;title\x07b\x9b31m\x7f\rc"
SHOWN = "a�[2J�]0;title�b�31m��c"


def printed(show: Callable[[SafeConsole], None], terminal: bool) -> str:
    file = io.StringIO()
    show(SafeConsole(file=file, force_terminal=terminal, highlight=False, markup=False, width=200, color_system=None))
    return file.getvalue()


def a_table(where: SafeConsole) -> None:
    table = figures_table(EVIL, "", [EVIL])
    table.add_row(Panel(EVIL))
    where.print(table)


@pytest.mark.parametrize(
    "show", [lambda to: to.print(EVIL), lambda to: to.print(EVIL, soft_wrap=True, style="bold"), a_table]
)
def test_all_that_is_printed_on_a_terminal_is_cleaned(show):
    assert not set(printed(show, True)) & set("\x1b\x07\x9b\x7f\r")
    assert "\x1b[2J" in printed(show, False)


def test_only_what_a_terminal_obeys_is_replaced():
    assert cleaned(EVIL) == SHOWN
    fine = "Zoë\t\n„한국어“ 👩‍🚀 e\u0301\xa0\xad"
    assert cleaned(fine) == fine and cleaned("a\r\nb") == "a\nb"


@pytest.fixture
def folder(dataset: Path, tmp_path: Path) -> Path:
    model = GPT2(ModelConfig(vocab_size=300, context_length=64, layers=1, heads=1, width=4))
    save_model(
        tmp_path / "model", model, load_tokenizer(dataset).end_of_text, (dataset / "tokenizer.json").read_bytes()
    )
    return tmp_path / "model"


@pytest.mark.parametrize("options", [[], ["--beams=2"]])
def test_a_story_is_cleaned_on_a_terminal_and_as_it_is_in_a_file(tale, folder: Path, options, monkeypatch):
    asked = ["generate", folder, EVIL, "--max-new-tokens=1", *options]
    in_a_file = tale(*asked).out
    assert in_a_file.startswith(EVIL)
    assert json.loads(tale(*asked, "--json").out)["prompt"] == EVIL
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert tale(*asked).out == cleaned(in_a_file) != in_a_file


def test_a_turn_is_cleaned_on_a_terminal(tale, folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tinytale.storyteller.Storyteller.stream", lambda *_, **__: iter([EVIL]))
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert tale("chat", folder).out == SHOWN + "\n"


@pytest.mark.parametrize(
    "words", [["generate", EVIL], ["prepare", EVIL, "--out=x"], ["generate", "small", "--x=" + EVIL]]
)
def test_an_error_that_names_a_file_or_a_word_is_cleaned(tale, words, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr(console, "no_color", True)
    ended = tale(*words)
    assert ended.code == 2 and "title" in ended.err
    assert not any(mark in ended.err for mark in ("\x1b[2J", "\x1b]", "\x07", "\x9b"))


def test_the_number_of_tokens_a_second_is_of_those_that_were_made(tale, folder: Path, monkeypatch):
    torch.manual_seed(0)
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("tinytale.commands.generate.time.perf_counter", lambda: next(clock))
    monkeypatch.setattr(console, "_force_terminal", True)
    monkeypatch.setattr("tinytale.storyteller.stream_story", three_tokens)
    assert "6 tokens/s" in tale("generate", folder, "Hi", "--samples=4").err


def three_tokens(*arguments: object):
    advance = arguments[-1]
    assert callable(advance)
    for _ in range(3):
        advance(1)
        yield "x"


POSIX = pytest.mark.skipif(os.name == "nt", reason="pipes and closed streams as on Linux and macOS")


@POSIX
def test_work_goes_on_when_the_reader_of_the_console_has_gone(monkeypatch: pytest.MonkeyPatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w", encoding="utf-8", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        console = SafeConsole(stderr=True)
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
    console = SafeConsole(stderr=True)
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
