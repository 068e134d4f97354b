"""One picture of a study: the dev curve of every run, and the score that it ended with."""

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from tinytale.addons.figures.style import INK, STYLE, png_of

TALLEST = 0.5
"""Bits per byte above the best final score at which a curve is cut off: a run's first evaluations say little."""


def study_figure(result: dict[str, Any]) -> bytes:
    """A PNG, 800 pixels high: curves over tokens on the left, final scores on the right, one colour a variation."""
    names = list(dict.fromkeys(run["variation"] for run in result["runs"]))
    palette = mpl.colormaps["tab10" if len(names) <= 10 else "tab20"]
    colours = {name: palette(place) for place, name in enumerate(names)}
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 5), dpi=160, layout="constrained")
        curves, scores = figure.subplots(1, 2)
        _draw_curves(curves, result["runs"], colours)
        _draw_scores(scores, result["runs"], colours)
        figure.suptitle(result["question"], fontsize=14, fontweight="bold", x=0.008, ha="left", parse_math=False)
        return png_of(figure)


def _draw_curves(axes: Axes, runs: list[dict[str, Any]], colours: dict[str, Any]) -> None:
    """Contiguous windows of the dev split, as measured while training."""
    best = min(run["curve"][-1]["dev_bits_per_byte"] for run in runs)
    for run in runs:
        points = [(point["tokens"], point["dev_bits_per_byte"]) for point in run["curve"]]
        axes.plot(*zip(*points, strict=True), "o-", markersize=2.5, linewidth=1.4, color=colours[run["variation"]])
    axes.set_xlim(0)
    axes.set_ylim(top=best + TALLEST)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title("While training, in contiguous windows")
    axes.set_xlabel("tokens seen")
    axes.set_ylabel("bits per byte, dev")


def _draw_scores(axes: Axes, runs: list[dict[str, Any]], colours: dict[str, Any]) -> None:
    """A dot a seed, and the mean of the variation written beside them."""
    names = list(colours)
    scores = {
        name: [run["dev"]["views"]["stories"]["bits_per_byte"] for run in runs if run["variation"] == name]
        for name in names
    }
    left, right = min(map(min, scores.values())), max(map(max, scores.values()))
    span = right - left or right / 10
    for place, (name, seeds) in enumerate(scores.items()):
        axes.plot(seeds, [place] * len(seeds), "o", markersize=7, alpha=0.8, color=colours[name])
        mean = sum(seeds) / len(seeds)
        axes.annotate(f"{mean:.4f}", (right + span * 0.12, place), va="center", color=INK)
    axes.set_xlim(left - span * 0.12, right + span * 0.4)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.25)
    axes.set_title("In the end, each story from its start")
    axes.set_xlabel("bits per byte, dev (mean of the seeds on the right)")
