"""Drawings for print: vectors whose text is drawn as paths, legible in grey, the same bytes for the same files."""

import warnings
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from tinytale.addons.figures.fonts import add_families
from tinytale.addons.report.paper.material import Material, RunMaterial

COLUMN, PAGE = 3.30, 6.85
"""Widths in inches, as the template lays them out: what is drawn at a size is printed at that size."""

INK, ACCENT, GREY = "#1d2126", "#2f5d8a", "#9aa1a9"
PRINT: Any = {
    "font.family": ["STIXGeneral", "DejaVu Sans"],
    "font.size": 9,
    "mathtext.fontset": "stix",
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "tinytale",
    "svg.fonttype": "path",
}
DASHES = ("-", (0, (5, 2)), (0, (1.2, 1.4)), (0, (6, 2, 1.2, 2)))
WINDOW = 50
"""Training steps in the running mean, or a tenth of the steps if that is less."""

RACERS = {
    "control": ("tinytale, AdamW", DASHES[0], "#c3c8cd", 3.0),
    "nanogpt": ("nanoGPT", DASHES[1], INK, 1.1),
    "tinytale": ("tinytale, Muon", DASHES[0], ACCENT, 1.3),
}


def svg_of(figure: Figure) -> bytes:
    """The drawing, with nothing in it that differs from one time to another."""
    add_families(figure)
    content = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a script that the fonts lack
        figure.savefig(content, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return content.getvalue()


def curves_figure(material: Material) -> bytes | None:
    """Training and dev loss of the subject, and the other runs' dev loss; None if there is nothing to draw."""
    subject = material.subject
    if not subject.looks:
        return None
    with mpl.rc_context(PRINT):
        figure = Figure(figsize=(COLUMN, 1.95), layout="constrained")
        axes = figure.subplots()
        for run, before in subject.lineage():
            tokens, losses = _training_curve(run, before)
            if len(tokens):
                window = min(WINDOW, max(1, len(tokens) // 10))
                axes.plot(tokens, losses, color=GREY, linewidth=0.3, alpha=0.7)
                smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
                label = "train" if run is subject else None
                axes.plot(tokens[window - 1 :], smooth, color=INK, linewidth=0.9, label=label)
            if before:
                axes.axvline(before, color=INK, linewidth=0.6, linestyle=DASHES[2])
        looked = [(place, run, one, before) for place, run in enumerate(material.runs) for one, before in run.lineage()]
        for place, run, one, before in looked:
            label = None if one is not run else "dev" if place == 0 else f"dev, {run.name}"
            seen = [before + tokens for _, tokens, _ in one.looks]
            points = [loss for _, _, loss in one.looks]
            look: Any = {"marker": "o", "markersize": 3.2} if place == 0 else {"linestyle": DASHES[place % len(DASHES)]}
            axes.plot(seen, points, color=ACCENT if place == 0 else INK, linewidth=1.2, label=label, **look)
        lowest = min(loss for *_, one, _ in looked for _, _, loss in one.looks)
        highest = max(one.looks[0][2] for *_, one, _ in looked if one.looks)
        axes.set_ylim(lowest - 0.25 * (highest - lowest) - 0.1, highest + 0.25)
        _label(axes, "tokens seen", "nats a token", 1.8)
        return svg_of(figure)


def _label(axes: Axes, tokens: str, loss: str, handle: float) -> None:
    """Finish a drawing of losses over tokens; `handle` is the length of a line in the legend, in letters."""
    axes.set_xlim(0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel(tokens)
    axes.set_ylabel(loss)
    axes.legend(frameon=False, handlelength=handle)


def _training_curve(run: RunMaterial, before: int) -> tuple[Any, Any]:
    steps = [entry for entry in run.metrics.content if entry.get("loss") is not None and entry.get("tokens")]
    return np.array([before + entry["tokens"] for entry in steps]), np.array([entry["loss"] for entry in steps])


def race_panels(summary: dict[str, Any]) -> bytes:
    """The final runs of a race over tokens."""
    with mpl.rc_context(PRINT):
        figure = Figure(figsize=(COLUMN, 1.95), layout="constrained")
        axes = figure.subplots()
        labelled = set()
        runs = sorted(_final_runs(summary), key=lambda run: list(RACERS).index(run["who"]))
        for run in runs:
            label, dash, colour, width = RACERS[run["who"]]
            axes.plot(
                *zip(*run["curve"], strict=True),
                color=colour,
                linestyle=dash,
                linewidth=width,
                label=None if label in labelled else label,
            )
            labelled.add(label)
        target = summary["target_loss"]
        axes.axhline(target, color=INK, linewidth=0.5, linestyle=(0, (4, 3)))
        highest = max(loss for run in runs for _, loss in run["curve"][1:] or run["curve"])
        axes.set_ylim(target - 0.2, highest)
        _label(axes, "tokens of training", "dev loss, nats", 2.4)
        return svg_of(figure)


def _final_runs(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Those that race, not those that chose a rate: nanoGPT's and the control's longest budgets, all ours."""
    longest = {who: max((run["tokens"] for run in summary["runs"] if run["who"] == who), default=0) for who in RACERS}
    return [run for run in summary["runs"] if run["who"] == "tinytale" or run["tokens"] == longest[run["who"]]]


def studies_figure(studies: dict[str, dict[str, Any]]) -> bytes:
    """A panel a study, by name: dots with intervals, one row a variation, the best drawn full."""
    columns = min(3, len(studies))
    rows = -(-len(studies) // columns)
    counts = [len({run["variation"] for run in study["runs"]}) for study in studies.values()]
    heights = [max(counts[row * columns : (row + 1) * columns]) for row in range(rows)]
    with mpl.rc_context(PRINT):
        size = (PAGE if columns > 1 else COLUMN, sum(0.165 * height + 0.6 for height in heights))
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, height_ratios=[height + 1 for height in heights])
        for axes in grid.flat[len(studies) :]:
            axes.set_visible(False)
        for axes, (name, study) in zip(grid.flat, studies.items(), strict=False):
            _draw_study(axes, study["runs"])
            axes.set_title(name, loc="left", parse_math=False)
        return svg_of(figure)


def _draw_study(axes: Axes, runs: list[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(run["variation"] for run in runs))
    scores = [run["dev"]["views"]["stories"] for run in runs]
    best = runs[min(range(len(runs)), key=lambda place: scores[place]["bits_per_byte"])]["variation"]
    for run, score in zip(runs, scores, strict=True):
        low, high = score["interval_95"] or [score["bits_per_byte"]] * 2
        height, chosen = names.index(run["variation"]), run["variation"] == best
        axes.plot((low, high), (height, height), color=ACCENT if chosen else GREY, linewidth=0.9)
        fill = ACCENT if chosen else "white"
        axes.plot(
            score["bits_per_byte"], height, "o", color=ACCENT if chosen else INK, markersize=3.6, mfc=fill, mew=0.8
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(axis="x", linewidth=0.3, color=GREY)
    axes.set_axisbelow(True)
    axes.set_xlabel("bits per byte, dev")


def attention_figure(heads: list[tuple[str, Float[np.ndarray, "T T"]]], tokens: list[str]) -> bytes:
    """One panel a head: rows look at columns, darker where they take more; `heads` have a title each."""
    with mpl.rc_context(PRINT):
        side = PAGE / len(heads)
        figure = Figure(figsize=(PAGE, side * 1.2), layout="constrained")
        for number, (axes, (title, weights_TT)) in enumerate(zip(figure.subplots(1, len(heads)), heads, strict=True)):
            axes.pcolormesh(weights_TT, cmap="Greys", vmin=0, vmax=1, edgecolors="#e8eaec", linewidth=0.3)
            axes.set_aspect("equal")
            axes.invert_yaxis()
            places = [place + 0.5 for place in range(len(tokens))]
            axes.set_xticks(places, tokens, rotation=90, fontsize=8, parse_math=False)
            shown = tokens if number == 0 else [""] * len(tokens)
            axes.set_yticks(places, shown, fontsize=8, parse_math=False)
            axes.tick_params(length=0, pad=1.5)
            for spine in axes.spines.values():
                spine.set_visible(True)
            axes.set_title(title, loc="left", parse_math=False)
        return svg_of(figure)
