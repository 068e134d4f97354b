"""A race: by hand-made curves, and run in the small by those who need nothing from outside."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from tinytale.bench.race import Distances, crossing, race_control, race_nanogpt, race_tinytale, target_loss
from tinytale.bench.race_runs import Course, Curve, Finished, Run, evaluation_steps, random_crops
from tinytale.bench.race_summary import earliest, headline, summarise
from tinytale.bench.sizes import Size
from tinytale.errors import TaleError, UsageError
from tinytale.report.race_figure import final_runs, race_figure

SIZE = Size(layers=1, width=8, heads=1, context_length=10, vocab_size=300, batch_size=10)
COURSE = Course(dataset_sha256="0" * 64, size=SIZE, dev_tokens=50, evaluations=2, precision="float32")
DISTANCES = Distances(tokens=1000, sweep_tokens=200, fractions=(0.5, 0.25), control_fractions=(0.5, 1.0))


def finished(who, tokens: int, curve: Curve, seed: int = 0, rate=None, embedding_rate=None) -> Finished:
    return Finished(Run(who=who, tokens=tokens, seed=seed, rate=rate, embedding_rate=embedding_rate), curve)


def test_a_curve_crosses_a_level_on_the_line_between_two_points():
    curve = [(100, 5.0), (200, 4.0), (300, 4.5), (400, 2.5)]
    assert crossing(curve, 4.0) == 200
    assert crossing(curve, 4.25) == 175
    assert crossing(curve, 3.5) == 350
    assert crossing(curve, 6.0) == 100
    assert crossing(curve, 2.0) is None


def test_the_target_is_the_lowest_point_of_the_whole_budget():
    runs = [
        finished("nanogpt", 1000, [(500, 3.0), (1000, 3.1)]),
        finished("nanogpt", 1000, [(500, 3.5), (1000, 3.2)], seed=1),
        finished("nanogpt", 200, [(200, 1.0)]),
        finished("tinytale", 1000, [(1000, 2.0)]),
    ]
    assert target_loss(runs, 1000) == 3.0
    assert target_loss(runs, 2000) is None


def test_a_budget_counts_by_its_slowest_seed_and_not_at_all_if_one_misses():
    early = [finished("tinytale", 250, [(250, loss)], seed) for seed, loss in enumerate((3.0, 4.0))]
    half = [finished("tinytale", 500, [(400, 4.0), (500, loss)], seed) for seed, loss in enumerate((3.0, 2.0))]
    assert earliest([*early, *half], 3.0) == 500
    assert earliest([*early[:1], *half], 3.0) == 500, "one seed is no match for two"
    assert earliest(early[:1], 3.0) == 250
    assert earliest(early, 2.5) is None
    assert earliest([], 2.5) is None


def test_crops_come_from_anywhere_and_targets_are_one_token_later():
    tokens_N = np.arange(12, dtype=np.int64)
    inputs_BT, targets_BT = random_crops(tokens_N, 10, 500, torch.Generator().manual_seed(0))
    assert inputs_BT.shape == targets_BT.shape == (500, 10)
    assert torch.equal(inputs_BT + 1, targets_BT)
    assert set(inputs_BT[:, 0].tolist()) == {0, 1}
    assert torch.equal(inputs_BT, random_crops(tokens_N, 10, 500, torch.Generator().manual_seed(0))[0])


def test_evaluations_are_spread_evenly_and_the_last_is_the_end():
    assert evaluation_steps(10, 4) == [3, 5, 8, 10]
    assert evaluation_steps(2, 5) == [1, 2]


def losing(loss: Callable[[Run], float]) -> tuple[list[Run], Callable[[Run], Finished]]:
    """The runs asked for, and a doer whose every run ends at this loss."""
    asked: list[Run] = []

    def do(run: Run) -> Finished:
        asked.append(run)
        return Finished(run, [(run.tokens, loss(run))])

    return asked, do


def test_nanogpt_sweeps_its_rate_and_runs_the_best_with_every_seed():
    asked, do = losing(lambda run: abs((run.rate or 0) - 3e-3))
    race_nanogpt(DISTANCES, do)
    assert [(run.tokens, run.rate, run.seed) for run in asked] == [
        *((200, rate, 0) for rate in (1e-3, 3e-3, 6e-3)),
        *((1000, 3e-3, seed) for seed in (0, 1)),
    ]


def test_the_control_sweeps_both_rates():
    asked, do = losing(lambda run: abs((run.rate or 0) - 6e-3) + abs((run.embedding_rate or 0) - 1e-2))
    race_control(DISTANCES, do)
    assert [(run.tokens, run.rate, run.embedding_rate) for run in asked] == [
        *((200, 3e-3, rate) for rate in (3e-3, 1e-2, 3e-2)),
        *((200, rate, 1e-2) for rate in (1e-3, 3e-3, 6e-3)),
        (500, 6e-3, 1e-2),
        (1000, 6e-3, 1e-2),
    ]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, [(250, 0), (500, 0)]),
        (3.0, [(250, 0), (250, 1)]),
        (2.0, [(250, 0), (500, 0), (500, 1)]),
        (1.8, [(250, 0), (500, 0), (500, 1)]),
        (1.0, [(250, 0), (500, 0)]),
    ],
)
def test_ours_go_up_until_a_budget_reaches_the_target_with_every_seed(target, expected):
    asked, do = losing(lambda run: {250: 3.0, 500: 1.75 + run.seed / 10}[run.tokens])
    race_tinytale(DISTANCES, do, target)
    assert [(run.tokens, run.seed) for run in asked] == expected


def hand_made_race() -> list[Finished]:
    return [
        finished("nanogpt", 200, [(200, 5.0)], rate=1e-3),
        finished("nanogpt", 1000, [(500, 4.0), (1000, 3.0)], rate=3e-3),
        finished("nanogpt", 1000, [(500, 4.0), (1000, 3.2)], seed=1, rate=3e-3),
        finished("control", 500, [(300, 4.0), (500, 3.0)], rate=3e-3, embedding_rate=1e-2),
        finished("tinytale", 250, [(100, 4.0), (250, 2.9)]),
        finished("tinytale", 250, [(100, 4.0), (250, 3.0)], seed=1),
    ]


def test_the_summary_counts_tokens_and_seconds():
    times = {"contenders": {"nanogpt": {"median_seconds": 2.0}, "tinytale": {"median_seconds": 1.0}}}
    times["contenders"]["tinytale-native"] = {"median_seconds": 0.5}
    summary = summarise(hand_made_race(), COURSE, 1000, times)
    assert summary["target_loss"] == 3.0
    found = summary["participants"]
    assert found["nanogpt"] == {
        "tokens_to_target": 1000.0,
        "seconds_to_target": 20.0,  # ten steps of 100 tokens
        "times_fewer_tokens": 1.0,
        "times_less_time": 1.0,
    }
    assert found["tinytale"]["tokens_to_target"] == 250
    assert (found["tinytale"]["times_fewer_tokens"], found["tinytale"]["times_less_time"]) == (4.0, 8.0)
    assert (found["control"]["times_fewer_tokens"], found["control"]["times_less_time"]) == (2.0, 8.0)
    assert headline(summary).splitlines()[0] == "tinytale: 4.00 times fewer tokens, 8.00 times less time"
    with pytest.raises(TaleError, match="no run on 2,000 tokens yet"):
        summarise(hand_made_race(), COURSE, 2000, times)


def test_without_times_only_tokens_are_counted():
    summary = summarise(hand_made_race()[:4], COURSE, 1000, None)
    assert summary["participants"]["control"]["times_less_time"] is None
    assert headline(summary).splitlines() == ["tinytale has not reached it", "control: 2.00 times fewer tokens"]


def test_the_picture_shows_the_runs_that_race():
    summary = summarise(hand_made_race(), COURSE, 1000, None)
    assert sorted((run["who"], run["tokens"]) for run in final_runs(summary)) == [
        ("control", 500),
        *[("nanogpt", 1000)] * 2,
        *[("tinytale", 250)] * 2,
    ]
    narrow = race_figure(summary)
    assert narrow == race_figure(summary)
    steps = {"nanogpt": 2.0, "control": 1.0, "tinytale": 1.0}
    wide = race_figure({**summary, "step_seconds": steps})
    sizes = [(int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")) for png in (narrow, wide)]
    assert sizes == [(1000, 800), (2000, 800)]


TINY_RACE = [
    *("--layers=1", "--width=16", "--heads=2", "--context-length=16", "--batch-size=4", "--threads=1"),
    *("--tokens=2560", "--sweep-tokens=640", "--dev-tokens=400", "--evaluations=3", "--precision=float32"),
]


def test_runs_are_done_once_and_kept(tale: Callable, dataset: Path, tmp_path: Path):
    race = ("bench", "race", dataset, "--out", tmp_path / "race", *TINY_RACE)
    for part, runs in (("ours", 4), ("control", 5 + 2)):
        assert tale(*race, f"--only={part}").code == 0
        files = sorted((tmp_path / "race").glob(f"run-{'tinytale' if part == 'ours' else part}-*.json"))
        assert len(files) == runs
        before = [path.stat().st_mtime_ns for path in files]
        assert tale(*race, f"--only={part}").code == 0
        assert [path.stat().st_mtime_ns for path in files] == before
    stored = json.loads((tmp_path / "race" / "run-tinytale-1280tokens-seed0.json").read_text(encoding="utf-8"))
    assert [tokens for tokens, _ in stored["curve"]] == [448, 896, 1280]
    assert stored["curve"][-1][1] < stored["curve"][0][1] < np.log(300) + 0.2
    assert stored["course"]["size"]["vocab_size"] == 300
    assert "no run on 2,560 tokens yet" in tale(*race, "--only=summary").err

    for run, loss in (("nanogpt-lr0.003-2560tokens-seed0", 5.7), ("nanogpt-lr0.003-2560tokens-seed1", 5.65)):
        curve = [(1280, 6.0), (2560, loss)]
        one = {"who": "nanogpt", "tokens": 2560, "seed": int(run[-1]), "rate": 3e-3, "embedding_rate": None}
        content = {"run": one, "course": stored["course"], "curve": curve}
        (tmp_path / "race" / f"run-{run}.json").write_text(json.dumps(content), encoding="utf-8")
    done = tale(*race, "--only=summary", "--json")
    assert done.code == 0
    assert json.loads(done.out)["target_loss"] == 5.65
    assert json.loads(done.out) == json.loads((tmp_path / "race" / "summary.json").read_text(encoding="utf-8"))
    assert (tmp_path / "race" / "race.png").stat().st_size > 10_000

    other = tale(*race[:5], *(option for option in race[5:] if "dev-tokens" not in str(option)), "--only=ours")
    assert other.code == 1
    assert "belongs to a race with other settings; name another folder with --out" in other.err
    (tmp_path / "race" / "run-tinytale-1280tokens-seed0.json").write_text("{}", encoding="utf-8")
    damaged = tale(*race, "--only=ours")
    assert damaged.code == 1
    assert "run-tinytale-1280tokens-seed0.json is damaged" in damaged.err


def test_a_run_is_the_same_whenever_it_is_done(tale: Callable, dataset: Path, tmp_path: Path):
    curves = []
    for name in ("one", "two"):
        race = ("bench", "race", dataset, "--out", tmp_path / name, *TINY_RACE)
        assert tale(*race, "--only=ours", "--fractions=0.1").code == 0
        (path,) = (tmp_path / name).iterdir()
        curves.append(json.loads(path.read_text(encoding="utf-8"))["curve"])
    assert curves[0] == curves[1]


def test_what_cannot_be_raced_is_said(tale: Callable, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    race = ("bench", "race", dataset, "--out", tmp_path / "race")
    done = tale(*race, "--only=nanogpt")
    assert (done.code, "nanoGPT's code is needed" in done.err) == (2, True)
    done = tale(*race, "--evaluations=0")
    assert (done.code, "1 evaluation; found 65536 and 0" in done.err) == (2, True)
    with pytest.raises(UsageError, match=r"fractions are \(0.0,\); expected numbers above 0"):
        Distances(fractions=(0.0,))
    with pytest.raises(UsageError, match="seeds is 0; expected at least 1"):
        Distances(seeds=0)
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda name: None)
    done = tale(*race)
    assert (done.code, "'matplotlib>=" in done.err) == (1, True)
