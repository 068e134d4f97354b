"""`tinytale data`, and the data sheet that is written from it."""

import json
import re
from pathlib import Path

import pytest

from tinytale.addons.survey.commands import data
from tinytale.addons.survey.survey import random_stories
from tinytale.addons.survey.tables import survey_rows
from tinytale.data.prepare import prepare
from tinytale.data.shards import Manifest
from tinytale.data.stored import open_splits
from tinytale.errors import TaleError, UsageError


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of few stories, since each command reads them all."""
    folder = tmp_path_factory.mktemp("data") / "small"
    prepare("builtin", folder, stories=40, vocab_size=300, dev_fraction=0.1, test_fraction=0.1, processes=1)
    return folder


def test_a_person_sees_tables_bars_and_stories(small: Path, capsys: pytest.CaptureFixture[str]):
    data(small, stories=2, seed=5)
    said = capsys.readouterr()
    assert said.out == ""
    seen = re.sub(r"\s+", " ", said.err)
    for text in random_stories(small, 2, seed=5):
        assert re.sub(r"\s+", " ", text) in seen
    for part in ("exact copies of a train story", "most frequent openings", "█", "random story 2 of 2"):
        assert part in seen


def test_json_is_one_object_without_stories(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = set(small.iterdir())
    data(small, png=tmp_path / "new" / "figure.png", json=True)
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert found["digest"] == Manifest.load(small).digest
    assert (tmp_path / "new" / "figure.png").stat().st_size > 10_000
    assert set(small.iterdir()) == files
    for story in open_splits(small, Manifest.load(small))["train"]:
        words = story.split()
        assert " ".join(words[:5]) not in said.out + said.err
        assert " ".join(words[10:15]) not in said.out + said.err


def test_what_cannot_be_done_is_said_at_once(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(UsageError, match="at least 0, not -1"):
        data(small, stories=-1)
    with pytest.raises(UsageError, match="is a folder"):
        data(small, png=tmp_path)
    with pytest.raises(TaleError, match="not a finished dataset"):
        data(tmp_path)
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda name: None if name == "matplotlib" else object())
    with pytest.raises(TaleError, match="matplotlib is not installed"):
        data(small, png=tmp_path / "figure.png")


@pytest.fixture(scope="module")
def results(repository_files: Path) -> dict:
    return json.loads((repository_files / "docs/results/data/tinystories.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def repository_files() -> Path:
    return Path(__file__).parents[3]


def test_the_data_sheet_has_the_figures_of_its_results_file(repository_files: Path, results: dict):
    sheet = (repository_files / "docs/data.md").read_text(encoding="utf-8")
    heading, *rows = survey_rows(results)
    rows += [[f"*{part['opening']}*", f"{part['share']:.2%}"] for part in results["splits"]["train"]["openings"]]
    for row in (heading, *rows):
        assert re.sub(r" +", " ", f"| {' | '.join(row)} |") in re.sub(r" +", " ", sheet)
    shares = set(re.findall(r"\d+\.\d\d%", " ".join(cell for row in rows for cell in row)))
    starts = sum(
        part["count"]
        for part in results["splits"]["train"]["openings"]
        if part["opening"].startswith("Once upon a time")
    )
    shares.add(f"{starts / results['splits']['train']['stories']:.2%}")
    assert set(re.findall(r"\d+\.\d+%", sheet)) <= shares, "a share in the sheet that no results file holds"
