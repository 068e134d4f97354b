"""A comparison says what the folders' files say, and puts nothing together that is not of the same stories."""

import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tinytale.addons.report.compare_figure import PALETTE, compare_figure, draw_curves
from tinytale.addons.report.compare_tables import compare_tables
from tinytale.addons.report.comparison import comparison, measures
from tinytale.addons.report.contender import distinct_names, read_contender
from tinytale.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from tinytale.errors import TaleError, UsageError
from tinytale.evaluation.results import save_results
from tinytale.evaluation.story_scores import StoryScores, save_story_scores
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.history import copy_record

SHAPE = ModelConfig(vocab_size=30, context_length=6, layers=1, heads=1, width=8)
MINE, OTHER = "ab" * 32, "cd" * 32
BYTES = np.array([10, 20, 30])


def result_of(bits: float, digest: str = MINE, split: str = "test", **more: object) -> dict:
    score = {"loss": 2.0, "perplexity": 7.4, "bits_per_byte": bits, "interval_95": [bits - 0.01, bits + 0.01]}
    result = {"data": "datasets/mine", "digest": digest, "split": split, "stories": 3, "bytes": 60}
    return result | {"views": {"stories": score, "windows": score}, "weights": "w", **more}


def make_run(folder: Path, bits: float, digest: str = MINE, evaluate_tokens: int = 0, scored: bool = True) -> Path:
    folder.mkdir(parents=True)
    data, run = (
        DataConfig(folder="datasets/mine", digest=digest, batch_size=2),
        RunConfig(evaluate_tokens=evaluate_tokens),
    )
    (folder / "config.toml").write_text(TrainConfig(model=SHAPE, data=data, run=run).to_toml(), encoding="utf-8")
    lines = [
        {"step": 1, "loss": 3.0, "tokens": 12, "seconds": 1.0},
        {"step": 2, "loss": 2.9, "tokens": 24, "seconds": 2.5},
        {"step": 2, "dev_loss": 2.5, "dev_bits_per_byte": bits + 1, "seconds": 2.5},
        {"step": 3, "loss": 2.0, "tokens": 36, "seconds": 3723.5},
        {"step": 3, "dev_loss": 2.4, "dev_bits_per_byte": bits, "seconds": 3723.5},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if scored:
        result = result_of(bits, digest)
        path = save_results(folder / "evaluation", result)
        save_story_scores(path, result, StoryScores(bits * BYTES, BYTES))
    return folder


def compare(*folders: Path) -> dict:
    return comparison(
        [read_contender(name, folder) for name, folder in zip(distinct_names([*folders]), folders, strict=True)]
    )


def shown(compared: dict, width: int = 100, whole: bool = True) -> str:
    console = Console(width=width, record=True, file=StringIO())
    for part in compare_tables(compared, width, whole):
        console.print(part)
    return console.export_text()


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    return make_run(tmp_path / "one", 0.75), make_run(tmp_path / "two", 0.5)


def test_the_tables_hold_what_the_files_say(two: tuple[Path, Path]):
    text = re.sub(r"  +", " ", shown(compare(*two)))
    assert f"one {GPT2(SHAPE).parameter_count():,} 36 1:02:03 mine (abababab)" in text
    assert "mine, test (abababab): 3 stories, 60 bytes" in text
    assert "one 0.7500 (0.7400 to 0.7600)" in text and "bits per byte minus one" in text


def test_the_difference_is_paired(two: tuple[Path, Path]):
    (scored,) = compare(*two)["scored"]
    difference = scored["difference"]["two"]
    assert difference["bits_per_byte"] == pytest.approx(-0.25 / np.log(2))
    assert difference["interval_95"] == pytest.approx([-0.25 / np.log(2)] * 2)
    assert "-0.3607 (-0.3607 to -0.3607)" in shown(compare(*two))


def test_only_results_on_the_same_stories_stand_side_by_side(two: tuple[Path, Path], tmp_path: Path):
    third = make_run(tmp_path / "three", 0.25, OTHER)
    compared = compare(*two, third)
    assert [set(scored["bits_per_byte"]) for scored in compared["scored"]] == [{"one", "two"}, {"three"}]
    lacking = {(one["name"], one["lacks"]) for one in compared["missing"]}
    assert lacking == {(name, "score on mine, test") for name in ("one", "two", "three")}
    assert shown(compared).count("–") >= 3


def test_without_all_other_measures_are_only_counted(two: tuple[Path, Path]):
    for folder in two:
        save_results(folder / "evaluation", result_of(0.5, **MEASURED))
    whole, short = shown(compare(*two)), shown(compare(*two), whole=False)
    rows = len(compare(*two)["scored"][0]["measures"])
    assert rows > 1 and f"{rows} other measures: --all shows them." in short and "--all" not in whole
    assert len(short.splitlines()) < 12 < len(whole.splitlines()) and "bits per byte" in short
    assert "nothing compares" not in short


def test_models_without_common_stories_are_told_so(two: tuple[Path, Path], tmp_path: Path):
    assert "nothing compares yet" in shown(compare(two[0], make_run(tmp_path / "three", 0.25, OTHER)))
    assert "nothing compares yet" not in shown(compare(two[0]))


def test_what_lacks_comes_with_the_command_that_makes_it(two: tuple[Path, Path], tmp_path: Path, monkeypatch):
    one, two_ = two
    new = make_run(tmp_path / "a new", 0.5, scored=False)
    save_results(one / "evaluation", result_of(0.7, split="dev"))
    (two_ / "evaluation" / f"{MINE[:16]}-test.safetensors").unlink()
    missing = {(gap["name"], gap["lacks"]): gap["command"] for gap in compare(one, two_, new)["missing"]}
    elsewhere = "--data datasets/mine"
    assert missing == {
        ("a new", "score yet"): f"tinytale evaluate '{new}'",
        ("two", "score on mine, dev"): f"tinytale evaluate {two_} {elsewhere} --split dev",
        ("two", "scores story by story on mine, test"): f"tinytale evaluate {two_} {elsewhere}",
    }
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets" / "mine").mkdir(parents=True)
    commands = [gap["command"] for gap in compare(one, two_)["missing"]]
    assert commands == [f"tinytale evaluate {two_}", f"tinytale evaluate {two_} --split dev"]


def test_measures_that_others_have_are_missed_where_they_can_be_made(two: tuple[Path, Path], tmp_path: Path):
    elsewhere = make_run(tmp_path / "elsewhere", 0.5, OTHER)
    for folder, more in ((two[0], MEASURED), (elsewhere, {})):
        path = save_results(folder / "evaluation", result_of(0.5, **more))
        save_story_scores(path, result_of(0.5), StoryScores(0.5 * BYTES, BYTES))
    missing = [gap for gap in compare(*two, elsewhere)["missing"] if gap["lacks"].startswith("other")]
    assert [gap["name"] for gap in missing] == ["two"]
    assert missing[0]["command"].endswith(" --suite full")


def test_any_model_takes_part_by_a_folder_of_results(two: tuple[Path, Path], tmp_path: Path):
    peer = tmp_path / "peer"
    save_results(peer, result_of(1.25, parameters=124_439_808))
    (peer / "samples.json").write_text('{"weights": "w", "stories": []}')
    text = re.sub(r"  +", " ", shown(compare(two[0], peer)))
    assert "peer 124,439,808 – – –" in text and "peer 1.2500 (1.2400 to 1.2600)" in text
    (gap,) = compare(two[0], peer)["missing"]
    assert gap["command"] == f"tinytale evaluate MODEL --data datasets/mine --out {peer}"


def figure(middle: float, **more: object) -> dict:
    return {**more, "interval_95": [middle - 1, middle + 1]}


MEASURED = {
    "memorisation": {"unit": "word", "samples": {"in_train": {"8": figure(0.1, sequences=9, found=1, share=0.1)}}},
    "rambling": {"settings": {"stories": 5}, "deep": {"er": figure(7.0, unheard_of=7.0, count=99)}, "n": 3},
    "flat": figure(5.0, value=5.0),
    "empty": {"share": None, "interval_95": None},
    "odd": {"interval_95": [1, "x"], "part": [figure(3.0)]},
    "judge": {"model": "m", "rubric": 1, "samples": {"plot": figure(4.0, mean=4.0)}},
}


def test_every_figure_with_an_interval_is_found_without_knowing_its_name():
    found = {name: (value["value"], value["share"]) for name, value in measures(result_of(1.0, **MEASURED))}
    assert found == {
        "memorisation: samples, in train, 8": (0.1, True),
        "rambling: deep, er": (7.0, False),
        "flat": (5.0, False),
        "judge m (rubric 1): samples, plot": (4.0, False),
    }


def test_measures_are_broken_into_tables_that_fit(tmp_path: Path):
    runs = [make_run(tmp_path / f"a-rather-long-name-{n}", 0.5) for n in range(7)]
    for run in runs[:6]:
        save_results(run / "evaluation", result_of(0.5, **MEASURED))
    text = shown(compare(*runs), 100)
    assert max(map(len, text.splitlines())) <= 100
    measured = text[text.index("other measures") :]
    assert all(measured.count(run.name) == 1 for run in runs[:6]) and runs[6].name not in measured
    assert "10.00% (-90.00 to 110.00)" not in measured and "10% (-90 to 110)" in measured


def test_figures_of_other_amounts_of_text_are_not_to_be_held_beside_one_another(two: tuple[Path, Path]):
    for run, words in zip(two, (900, 1200), strict=True):
        stories = {"equal_size": {"stories": 8, "words": words}, "diversity": {"samples": {"distinct_2": figure(0.5)}}}
        save_results(run / "evaluation", result_of(0.5, quality={"stories": stories}))
    text = " ".join(shown(compare(*two)).split())
    assert "which differs here (one: 8 stories, 900 words; two: 8 stories, 1,200 words)" in text
    assert "which differs" not in shown(compare(two[0]))


def test_names_are_as_short_as_tells_them_apart(tmp_path: Path):
    folders = [tmp_path / place / "small" for place in ("runs", "weights")]
    assert distinct_names(folders) == ["runs/small", "weights/small"]
    assert distinct_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    with pytest.raises(UsageError, match="named twice"):
        distinct_names([tmp_path / "a", tmp_path / "b" / ".." / "a"])


DAMAGED = {
    "no views": {"test": {"digest": MINE}},
    "a word for a number": {"test": result_of(1.0) | {"bytes": "many"}},
    "no interval": {"test": result_of(1.0, views={"stories": {"bits_per_byte": 1.0}})},
    "a list": [],
}


@pytest.mark.parametrize("damaged", DAMAGED)
def test_damaged_results_are_refused_by_name(damaged: str, two: tuple[Path, Path]):
    path = two[0] / "evaluation" / f"{MINE[:16]}.json"
    path.write_text(json.dumps(DAMAGED[damaged]))
    with pytest.raises(TaleError, match=re.escape(path.name)):
        compare(*two)


def test_a_folder_that_is_nothing_is_told_what_to_become(tmp_path: Path):
    with pytest.raises(UsageError, match=r"neither a run nor a folder of results.*--out RESULTS"):
        read_contender("x", tmp_path)


def test_the_picture_is_the_same_each_time_and_its_size_known(two: tuple[Path, Path]):
    compared = compare(*two)
    png = compare_figure(compared)
    assert png is not None and png == compare_figure(compared)
    assert (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) == (2000, 880)
    svg = compare_figure(compared, "svg")
    assert svg is not None and svg == compare_figure(compared, "svg") and b"<svg" in svg
    assert png != compare_figure({**compared, "contenders": compared["contenders"][:1]})
    assert compare_figure({**compared, "contenders": [{**compared["contenders"][0], "curve": []}]}) is None


def test_a_line_is_the_curve_of_its_run(two: tuple[Path, Path]):
    from matplotlib.figure import Figure

    runs = compare(*two)["contenders"]
    for unit, last in (("tokens", 36), ("seconds", 3723.5)):
        axes = Figure().subplots()
        draw_curves(axes, runs, runs[0]["curve_of"], unit)
        lines = [line for line in axes.get_lines() if len(line.get_xdata()) > 1]
        assert [line.get_xdata()[-1] for line in lines] == [last, last]
        assert [list(line.get_ydata()) for line in lines] == [[1.75, 0.75], [1.5, 0.5]]
        assert [line.get_color() for line in lines] == list(PALETTE[:2])
        assert axes.get_ylim()[1] == pytest.approx(1.25)


def test_a_run_that_began_with_the_weights_of_another_goes_on_where_that_one_was_best(two: tuple[Path, Path]):
    one, other = two
    copy_record(RunFolder(one), RunFolder(other).before)
    alone, after = compare(one, other)["contenders"]
    assert (after["tokens"], after["seconds"]) == (2 * alone["tokens"], 2 * alone["seconds"])
    assert [(point["tokens"], point["seconds"]) for point in after["curve"]] == [(36 + 24, 3723.5 + 2.5), (72, 7447.0)]
    (before,) = compare(other / "before")["contenders"]
    assert before["curve"] == alone["curve"]


def test_curves_of_other_stories_get_panels_of_their_own(two: tuple[Path, Path], tmp_path: Path):
    part = make_run(tmp_path / "part", 0.5, evaluate_tokens=1000)
    compared = compare(*two, part)
    assert {run["curve_of"] for run in compared["contenders"]} == {
        "mine (abababab), all of dev",
        "mine (abababab), first 1,000 tokens of dev",
    }
    png = compare_figure(compared)
    assert png is not None and int.from_bytes(png[20:24], "big") == 1680
