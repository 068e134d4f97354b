"""The model as a drawing: the stack from tokens to the next token, and one of its blocks from inside."""

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from tinytale.addons.report.paper.figures import ACCENT, COLUMN, GREY, INK, PRINT, svg_of
from tinytale.config import ModelConfig

HEIGHT = 0.36
"""Of a box; the drawing is COLUMN inches wide and is measured in inches."""


def model_diagram(config: ModelConfig) -> bytes:
    """Above, the whole model; below, a block, with LayerNorm where this model has it."""
    with mpl.rc_context(PRINT):
        figure = Figure(figsize=(COLUMN, 1.62))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, COLUMN)
        axes.set_ylim(0, 1.62)
        axes.set_axis_off()
        _stack(axes, config)
        _block(axes, config.norm == "pre")
        return svg_of(figure)


def _stack(axes: Axes, config: ModelConfig) -> None:
    middle = 1.38
    last = "LayerNorm,\noutput" if config.norm == "pre" else "output"
    boxes = [("embedding +\npositions", 0.16, 0.78), ("block 1", 1.1, 0.5), (f"block {config.layers}", 1.88, 0.5)]
    boxes.append((last, 2.52, 0.62))
    for text, left, width in boxes:
        _box(axes, text, left, middle, width, ACCENT if text.startswith("block") else INK)
    for start, end in ((0.0, 0.16), (0.94, 1.1), (2.38, 2.52), (3.14, 3.29)):
        _arrow(axes, (start, middle), (end, middle))
    axes.text(1.74, middle, "···", ha="center", va="center")
    for top, bottom in ((1.1, 0.06), (1.6, 3.24)):
        axes.plot((top, bottom), (middle - HEIGHT / 2, 0.94), color=GREY, linewidth=0.6, linestyle=":")


def _block(axes: Axes, pre: bool) -> None:
    """The stream below, the two sub-layers above it, each adding to it."""
    stream, branch = 0.18, 0.68
    _arrow(axes, (0.06, stream), (3.24, stream))
    axes.text(0.08, stream + 0.07, "$x$", va="bottom")
    for text, start in (("attention", 0.3), ("feed-forward", 1.74)):
        names = (("LN", start + 0.14, 0.3), (text, start + 0.54, 0.74)) if pre else ((text, start + 0.14, 0.74),)
        end = start + 1.34 if pre else start + 0.98
        for name, left, width in names:
            _box(axes, name, left, branch, width, INK)
        axes.plot((start, start), (stream, branch), color=INK, linewidth=0.7)
        places = [start, *(edge for _, left, width in names for edge in (left, left + width)), end]
        for one, other in zip(places[::2], places[1::2], strict=True):
            axes.plot((one, other), (branch, branch), color=INK, linewidth=0.7)
        _arrow(axes, (end, branch), (end, stream + 0.07))
        axes.plot(end, stream, "o", markersize=8, mfc="white", mec=INK, mew=0.7)
        axes.text(end, stream - 0.005, "+", ha="center", va="center", fontsize=8)
        if not pre:
            _box(axes, "LN", end + 0.12, stream, 0.28, INK)


def _box(axes: Axes, text: str, left: float, middle: float, width: float, colour: str) -> None:
    corner = (left, middle - HEIGHT / 2)
    shape = FancyBboxPatch(
        corner, width, HEIGHT, boxstyle="round,pad=0,rounding_size=0.05", fc="white", ec=colour, lw=0.8, zorder=3
    )
    axes.add_patch(shape)
    axes.text(left + width / 2, middle, text, ha="center", va="center", fontsize=8.5, zorder=4, linespacing=0.95)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    look = {"arrowstyle": "-|>", "lw": 0.7, "color": INK, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
    axes.annotate("", end, start, arrowprops=look)
