"""`tinytale report`: where it writes, and what it refuses."""

import re
from pathlib import Path

import pytest


@pytest.fixture
def run(tale, dataset: Path, tmp_path: Path, train_options: list[str]) -> Path:
    folder = tmp_path / "runs" / "mine"
    assert tale("train", dataset, "--out", folder, "--max-steps=2", *train_options).code == 0
    return folder


def test_a_run_gets_its_report_beside_its_other_files_and_says_what_its_dataset_holds(tale, run: Path, tmp_path: Path):
    page = tmp_path / "other.html"
    assert tale("report", run, "--author", "A Student").code == 0
    assert (run / "report.pdf").read_bytes().startswith(b"%PDF")
    assert tale("report", run, "--out", page, "--author", "A <Student>").code == 0
    text = page.read_text(encoding="utf-8")
    assert "A &lt;Student&gt;" in text and "mine: a GPT-2 from scratch on tiny" in text
    assert re.search(r"from its manifest", text) and "TinyStories" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a run"),
        (["small"], "--out FILE"),
        (["small", "--out", "report.doc"], "ends in .pdf"),
        (["small", "--out", "report.pdf", "--format", "html"], "ends in .html"),
        (["small", "--out", "report.pdf", "--results", "nowhere"], "not a folder"),
        (["nowhere"], "there is no folder"),
    ],
)
def test_a_wrong_request_is_answered_with_what_would_be_right(tale, arguments: list[str], message: str):
    outcome = tale("report", *arguments)
    assert outcome.code == 2 and message in outcome.err


@pytest.mark.parametrize("library", ["typst", "matplotlib"])
def test_a_missing_library_is_named_with_the_way_to_it(tale, library: str, tmp_path: Path, monkeypatch):
    from importlib import util

    find = util.find_spec
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda name: None if name == library else find(name))
    outcome = tale("report", "small", "--out", tmp_path / "report.pdf")
    assert outcome.code == 1 and library in outcome.err and "pip install" in outcome.err
