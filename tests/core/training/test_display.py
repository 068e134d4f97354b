import pytest

from tinytale.training.display import ConsoleDisplay, clock, sparkline


def test_a_sparkline_scales_from_the_lowest_to_the_highest():
    assert sparkline([float(value) for value in range(8)], 8) == "▁▂▃▄▅▆▇█"


def test_a_sparkline_averages_equal_shares():
    assert sparkline([0.0, 2.0, 9.0, 9.0, 10.0, 8.0], 3) == "▁██"


@pytest.mark.parametrize(("values", "drawn"), [([], ""), ([3.0], "▁"), ([2.0, 2.0], "▁▁")])
def test_a_sparkline_of_little(values: list[float], drawn: str):
    assert sparkline(values, 10) == drawn


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00"), (61.9, "1:01"), (3600.0, "1:00:00"), (36_061.0, "10:01:01")]
)
def test_clock(seconds: float, shown: str):
    assert clock(seconds) == shown


def test_without_a_terminal_lines_say_what_matters(capsys: pytest.CaptureFixture[str]):
    with ConsoleDisplay("pocket on stories", 0, 2, 64) as display:
        display.step(1, 5.25)
        display.step(2, 4.5)
        display.evaluated(2, 4.75, 2.125, best_step=1)
        display.note("going on")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "pocket on stories"
    assert lines[1].startswith("step 2/2  loss 4.500") and lines[1].endswith("tokens/s  0:00 left")
    assert lines[2:] == ["step 2/2  dev loss 4.750  (2.125 bits per byte) at step 2, best was step 1", "going on"]


def test_the_curve_of_a_long_run_stays_small_and_true():
    display = ConsoleDisplay("long", 0, 100_000, 1)
    for step in range(1, 50_001):
        display.step(step, float(step))
    assert 1024 <= len(display.curve) < 2048
    points = [(place + 0.5) * display.steps_a_point + 0.5 for place in range(len(display.curve))]
    assert display.curve == pytest.approx(points)
    assert list(display.losses) == [float(step) for step in range(49_981, 50_001)]
