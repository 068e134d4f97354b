"""One picture of a race: the dev loss of every final run against tokens and, where they are known, seconds."""

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from tinytale.report.style import COLOURS, INK, STYLE, png_of

LOOK = {
    "nanogpt": (COLOURS["dev"], "nanoGPT"),
    "control": (COLOURS["test"], "tinytale's loop with AdamW for all"),
    "tinytale": (COLOURS["train"], "tinytale"),
}


def race_figure(summary: dict[str, Any]) -> bytes:
    """A PNG, 800 pixels high: one panel over tokens, and one over seconds if the summary has step times."""
    step_seconds = summary["step_seconds"]
    per_step = summary["course"]["size"]["batch_size"] * summary["course"]["size"]["context_length"]
    panels = [("tokens", dict.fromkeys(LOOK, 1.0))]
    if step_seconds:
        panels.append(("seconds", {who: seconds / per_step for who, seconds in step_seconds.items()}))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.25 * len(panels), 5), dpi=160, layout="constrained")
        for axes, (unit, scale) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            draw_curves(axes, summary, unit, scale)
        figure.suptitle("Time to nanoGPT's best loss", fontsize=14, fontweight="bold", x=0.008, ha="left")
        return png_of(figure)


def draw_curves(axes: Axes, summary: dict[str, Any], unit: str, scale: dict[str, float]) -> None:
    """One line a run; nanoGPT's sweep and the control's are left out. `scale` is how many `unit`s a token costs."""
    target, labelled = summary["target_loss"], set()
    for run in final_runs(summary):
        colour, label = LOOK[run["who"]]
        points = [(tokens * scale[run["who"]], loss) for tokens, loss in run["curve"]]
        axes.plot(
            *zip(*points, strict=True),
            color=colour,
            linewidth=1.6,
            alpha=0.85,
            label=None if run["who"] in labelled else label,
        )
        axes.plot(*points[-1], "o", color=colour, markersize=4)
        labelled.add(run["who"])
    axes.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.annotate(f"{target:.3f}", (0.01, target), xycoords=("axes fraction", "data"), va="bottom", fontsize=9)
    highest = max(loss for run in final_runs(summary) for tokens, loss in run["curve"][1:] or run["curve"])
    axes.set_ylim(top=highest + 0.1)
    axes.set_xlim(0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(f"Dev loss against {unit}")
    axes.set_xlabel(f"{unit} of training")
    axes.set_ylabel("nats a token")
    axes.legend(frameon=False)


def final_runs(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that race, not those that chose a rate: nanoGPT's and the control's longest budgets, all ours."""
    longest = {who: max((run["tokens"] for run in summary["runs"] if run["who"] == who), default=0) for who in LOOK}
    return [run for run in summary["runs"] if run["who"] == "tinytale" or run["tokens"] == longest[run["who"]]]
