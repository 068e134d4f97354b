"""What a terminal would obey never reaches one from a story, a name or a message."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.panel import Panel

from tinytale.config import ModelConfig
from tinytale.console import CleanConsole, cleaned, console, figures_table
from tinytale.data.tokenizer import load_tokenizer
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2

EVIL = "a\x1b[2J\x1b]0;title\x07b\x9b31m\x7f\rc"
SHOWN = "a�[2J�]0;title�b�31m��c"


def printed(show: Callable[[CleanConsole], None], terminal: bool) -> str:
    file = io.StringIO()
    show(CleanConsole(file=file, force_terminal=terminal, highlight=False, markup=False, width=200, color_system=None))
    return file.getvalue()


def a_table(where: CleanConsole) -> None:
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
