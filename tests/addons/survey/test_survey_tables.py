"""The figures of a survey, as a person sees them."""

import struct
from copy import deepcopy

import pytest
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from tinytale.addons.survey.figure import draw_lengths, draw_shares, survey_figure
from tinytale.addons.survey.survey import survey
from tinytale.addons.survey.tables import SHOWN_CHARACTERS, bar_ranges, histogram, printable, survey_rows
from tinytale.data.prepare import prepare


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("tables") / "dataset"
    prepare("builtin", folder, stories=40, vocab_size=300, dev_fraction=0.1, test_fraction=0.1, processes=1)
    return survey(folder)


def row(figures: dict, name: str) -> list[str]:
    (found,) = [row for row in survey_rows(figures) if row[0].split(" (")[0] == name]
    return found


def test_the_rows_hold_the_figures(figures: dict):
    heading, *rows = survey_rows(figures)
    assert heading == ["", "train", "dev", "test"]
    assert {len(row) for row in rows} == {4}
    train, dev = figures["splits"]["train"], figures["splits"]["dev"]
    assert row(figures, "stories")[1] == str(train["stories"])
    assert row(figures, "tokens a story: mean")[1] == f"{train['story_tokens']['mean']:.1f}"
    assert row(figures, "words a story: longest")[2] == str(dev["words"]["longest"])
    assert row(figures, "exact copies of a train story")[1:] == ["", "0 (0.00%)", "0 (0.00%)"]
    part = dev["sequences_in_train"]
    assert row(figures, "sequences of 13 words that train has too")[1:3] == [
        "",
        f"{part['count']:,} ({part['share']:.2%})",
    ]


def test_a_sample_is_called_one(figures: dict):
    assert "sampled" not in str(survey_rows(figures))
    changed = deepcopy(figures)
    changed["splits"]["dev"]["sampled"] = 1
    assert row(changed, "with a near duplicate in train")[1:] == ["0 (0.00%)", "0 (0.00%) of 1 sampled", "0 (0.00%)"]
    assert row(changed, "sequences of 13 words that train has too")[2].endswith("of 1 sampled")


def test_the_bars_are_as_long_as_the_shares(figures: dict):
    changed = deepcopy(figures)
    changed["splits"]["train"]["histogram"] = {"width": 50, "stories": [0, 80, 40, 1, 3]}
    title, *lines = histogram(changed).splitlines()
    assert "50 tokens" in title
    assert [line.split()[0] for line in lines] == ["0-49", "50-99", "100-149", "150-199", "200-249"]
    assert [line.count("█") for line in lines] == [0, 40, 20, 0, 1]
    assert [line[8] for line in lines] == [" ", "█", "█", "▌", "█"]
    assert lines[1].endswith(" 64.52%")
    assert bar_ranges(changed)[-1] == "1200 or more"


def test_a_story_cannot_command_the_terminal():
    assert printable("a\x1b[2J\tb\r\nc\x07\x9b") == "a�[2J\tb\nc��"
    assert printable("👩‍👧 שלום\u200f.") == "👩‍👧 שלום\u200f."
    long = printable("x" * (SHOWN_CHARACTERS + 1500))
    assert len(long) < SHOWN_CHARACTERS + 50 and "1,500 more" in long


def test_the_picture_is_a_png_of_its_size_and_the_same_each_time(figures: dict):
    shown = survey_figure(figures, "tiny")
    assert shown[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", shown[16:24]) == (2000, 800)
    assert shown == survey_figure(figures, "tiny")


def test_the_bars_of_the_picture_are_the_figures(figures: dict):
    changed = deepcopy(figures)
    changed["splits"]["train"]["mojibake"]["share"] = 0.5
    lengths, shares = Figure().subplots(1, 2)
    draw_lengths(lengths, changed)
    draw_shares(shares, changed)
    train, dev, _ = changed["splits"].values()
    bars = train["histogram"]["stories"]
    shape = next(patch for patch in lengths.patches if isinstance(patch, StepPatch))
    assert shape.get_data().values.tolist() == [count / train["stories"] for count in bars]
    assert shape.get_data().edges[-1] == len(bars) * train["histogram"]["width"]
    drawn = [patch.get_width() for patch in shares.patches]
    assert len(drawn) == 3 * 9 - 1, "nine shares of three splits, but train does not overlap with itself"
    assert drawn.count(0.5) == 1
    assert dev["sequences_in_train"]["share"] in drawn
    assert [text.get_text() for text in shares.texts].count("50.00%") == 1


@pytest.mark.parametrize("name", ["故事" + "n" * 300, "$x_{$"])
def test_any_name_and_a_single_split_can_be_drawn(figures: dict, name: str):
    changed = deepcopy(figures)
    del changed["splits"]["dev"], changed["splits"]["test"]
    assert survey_figure(changed, name)
