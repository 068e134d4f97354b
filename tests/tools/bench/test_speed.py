"""What step times say, by hand-made numbers."""

import pytest
from rich.console import Console

from bench import contenders
from bench.sizes import Size
from bench.speed import as_json, median_ratio, peak_figures, round_medians, share_of_peak, speed_table, speeds
from bench.turns import Measured
from tinytale.config import TrainConfig
from tinytale.training.loop import TrainState, initial_state

SIZE = Size(layers=1, width=8, heads=1, context_length=10, vocab_size=300, batch_size=2)


def test_a_round_is_the_median_of_its_steps():
    assert round_medians([[1.0, 9.0, 2.0], [4.0, 4.0, 5.0]]) == [2.0, 4.0]


def test_the_ratio_is_taken_round_by_round_so_that_slow_weather_cancels():
    base = [[2.0], [20.0], [3.0]]
    other = [[1.0], [5.0], [3.0]]
    assert median_ratio(base, other) == 2.0
    assert median_ratio(other, base) == 0.5


def test_the_share_of_the_peak_is_flop_over_flop_in_the_same_rounds():
    assert share_of_peak(100, [[2.0], [4.0]], 50, [[0.5], [1.0]]) == pytest.approx(0.5)


def test_the_first_contender_is_the_one_to_beat():
    peak = Measured(set_up_seconds=1.0, facts={"flop_per_step": 1000, "dtype": "bfloat16", "side": 5})
    peak.rounds = [[0.5], [0.5]]
    slow = Measured(set_up_seconds=1.0, facts={"loss": 3.25}, rounds=[[2.0, 3.0], [2.0, 9.0]], peak_memory=2**30)
    fast = Measured(set_up_seconds=1.0, facts={"loss": 3.5}, rounds=[[1.0, 1.0], [1.0, 1.0]], peak_memory=2**29)
    found = speeds({"slow": slow, "fast": fast}, {"slow": "it is", "fast": "so it is"}, SIZE, 50, peak)
    assert list(found) == ["slow", "fast"]
    assert (found["slow"].ratio, found["slow"].fastest_seconds, found["slow"].slowest_seconds) == (1.0, 2.0, 9.0)
    assert found["slow"].median_seconds == 4.0
    assert found["fast"].ratio == 4.0
    assert found["fast"].tokens_per_second == 20.0
    assert found["fast"].share_of_peak == 0.5  # 50 FLOP a token x 20 tokens a second, of 2000

    result = {
        "contenders": as_json(found),
        "peak": peak_figures(peak),
        "threads": 1,
        "size": {"name": "tiny"},
        "machine": {"processor": "a processor"},
        "warm_up": 3,
    }
    assert result["peak"]["flop_per_second"] == 2000
    result["contenders"]["tinytale-bfloat16"] = {**result["contenders"]["fast"], "slowest_seconds": 12.345}
    console = Console(width=80)
    with console.capture() as said:
        console.print(speed_table(result))
    assert "…" not in said.get()
    (row,) = [line.split() for line in said.get().splitlines() if line.startswith("fast")]
    assert row == ["fast", "1000.0", "(1000–1000)", "20", "4.00", "50%", "0.50", "3.5000"]


def test_an_eager_rung_stays_eager_however_large_the_model(monkeypatch: pytest.MonkeyPatch):
    made = []

    def noted(config: TrainConfig, max_steps: int) -> TrainState:
        made.append(config)
        return initial_state(config, max_steps)

    monkeypatch.setattr(contenders, "initial_state", noted)
    for name in ("tinytale-float32", "tinytale-bfloat16"):
        contenders.CONTENDERS[name].build(SIZE, None)
    assert [config.run.compile for config in made] == [False, False]
