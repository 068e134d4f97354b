import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tinytale.cli import app

MAIN = "from tinytale.cli import main; main()"


def seconds(code: str, *arguments: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begun


@pytest.mark.timed
def test_help_answers_in_under_700_milliseconds(repository: Path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(repository / "src"))
    seconds(MAIN, "--help")  # compiles what is not compiled yet
    answers = [seconds(MAIN, "--help") for _ in range(5)]
    bare = statistics.median(seconds("pass") for _ in range(3))
    usual = 0.02  # a bare interpreter on a machine that does nothing else
    assert min(statistics.median(answers), min(answers) * usual / max(bare, usual)) < 0.7


def test_help_names_every_verb(tale):
    ended = tale("--help")
    assert ended.code == 0
    assert all(verb in ended.out for verb in ("prepare", "train", "evaluate", "generate", "doctor"))


def test_help_says_in_one_line_what_each_verb_does(tale, monkeypatch: pytest.MonkeyPatch):
    """In a terminal of 80 columns, too."""
    monkeypatch.setattr(app, "console", Console(width=80))
    lines = tale("--help").out.splitlines()
    for verb in (name for name in app if not name.startswith("-")):
        (line,) = [line for line in lines if line.startswith(f"│ {verb} ")]
        assert re.fullmatch(rf"│ {verb} +[A-Z][^.]*\. +│", line), line
    assert len(lines) < 30


def test_an_unknown_verb_is_refused_with_the_nearest(tale):
    ended = tale("trian")
    assert ended.code == 2 and 'Did you mean "train"?' in ended.err


def test_a_missing_argument_is_refused(tale):
    assert tale("train").code == 2


def test_ctrl_c_and_a_closed_pipe_are_no_errors(tale, monkeypatch):
    for raised, code in ((KeyboardInterrupt, 130), (BrokenPipeError, 0)):

        def stopped(tokens, raised=raised):
            raise raised

        monkeypatch.setattr("tinytale.cli.app", stopped)
        assert tale("doctor").code == code


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_an_error_of_one_line(error: Exception, tale, monkeypatch):
    def greedy(tokens):
        raise error

    monkeypatch.setattr("tinytale.cli.app", greedy)
    ended = tale("train")
    assert ended.code == 1 and ended.err.startswith("Error: there is not enough memory for that; a smaller model")


def test_another_fault_of_ours_is_not_hidden(tale, monkeypatch):
    def faulty(tokens):
        raise RuntimeError("a bug")

    monkeypatch.setattr("tinytale.cli.app", faulty)
    with pytest.raises(RuntimeError, match="a bug"):
        tale("train")


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("TINYSTORIES"), reason="TINYSTORIES names no folder with train.txt and valid.txt"
)
def test_real_stories_are_prepared_trained_on_scored_and_told(tale, tmp_path: Path):
    source, data, run = Path(os.environ["TINYSTORIES"]), tmp_path / "data", tmp_path / "run"
    test = tmp_path / "valid.txt"
    with (source / "valid.txt").open(encoding="utf-8") as file:
        test.write_text("".join(line for line, _ in zip(file, range(500), strict=False)), encoding="utf-8")
    options = ["--test", test, "--stories=500", "--vocab-size=512", "--processes=1", "--out", data]
    assert tale("prepare", source / "train.txt", *options).code == 0
    shape = ["--model.layers=1", "--model.width=32", "--model.context-length=64", "--data.batch-size=8"]
    assert tale("train", data, "--out", run, *shape, "--max-steps=10", "--run.evaluate-tokens=2000").code == 0
    assert tale("evaluate", run, "--json").code == 0
    assert tale("generate", run, "Once upon a time", "--max-new-tokens=20").out.startswith("Once upon a time")
