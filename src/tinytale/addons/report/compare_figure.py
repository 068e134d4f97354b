"""One picture of a comparison: bits per byte of the dev split against tokens and against seconds, one line a run."""

from io import BytesIO
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from tinytale.addons.figures.style import COLOURS, STYLE

PALETTE = (*COLOURS.values(), "#8a4f7d", "#b89b2e", "#4f9da6", "#a83c3c", "#6b6f76")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
"""For each further round of the palette."""

TALLEST = 0.5
"""Bits per byte above the worst last point at which curves are cut off: first evaluations say little."""

NAMES_A_ROW = 5


def compare_figure(compared: dict[str, Any], kind: Literal["png", "svg"] = "png") -> bytes | None:
    """A picture 2000 pixels wide, two panels for each amount of each dev split; None if there is no curve.

    Only runs that looked at the same stories share a panel. The same comparison gives the same bytes.
    """
    runs = [one for one in compared["contenders"] if one["curve"]]
    if not runs:
        return None
    stories = list(dict.fromkeys(one["curve_of"] for one in runs))
    with mpl.rc_context({**STYLE, "svg.hashsalt": "tinytale"}):
        figure = Figure(figsize=(12.5, 5 * len(stories) + 0.5), dpi=160, layout="constrained")
        for axes, looked_at in zip(figure.subplots(len(stories), 2, squeeze=False), stories, strict=True):
            for panel, unit in zip(axes, ("tokens", "seconds"), strict=True):
                draw_curves(panel, runs, looked_at, unit)
        lines = [line for axes in figure.axes[::2] for line in axes.get_legend_handles_labels()[0]]
        figure.legend(handles=lines, loc="outside lower center", ncols=min(NAMES_A_ROW, len(lines)), frameon=False)
        figure.suptitle("Bits per byte while training", fontsize=14, fontweight="bold", x=0.008, ha="left")
        picture = BytesIO()
        figure.savefig(picture, format=kind, metadata={"Software": None} if kind == "png" else {"Date": None})
    return picture.getvalue()


def draw_curves(axes: Axes, runs: list[dict[str, Any]], looked_at: str, unit: Literal["tokens", "seconds"]) -> None:
    """The curves of the runs that looked at these stories; a colour stays with its run through all panels."""
    last, highest = 0.0, 0.0
    for number, run in enumerate(runs):
        if run["curve_of"] != looked_at:
            continue
        look: dict[str, Any] = {
            "color": PALETTE[number % len(PALETTE)],
            "linestyle": DASHES[number // len(PALETTE) % len(DASHES)],
        }
        points = [(point[unit], point["bits_per_byte"]) for point in run["curve"]]
        axes.plot(*zip(*points, strict=True), linewidth=1.6, alpha=0.9, label=run["name"], **look)
        axes.plot(*points[-1], "o", color=look["color"], markersize=4)
        last = max(last, points[-1][1])
        highest = max(highest, *(bits for _, bits in points))
    if highest > last + TALLEST:
        axes.set_ylim(top=last + TALLEST)
    axes.set_xlim(0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(looked_at, parse_math=False)
    axes.set_xlabel(f"{unit} of training")
    axes.set_ylabel("bits per byte, contiguous windows")
