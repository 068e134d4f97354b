"""One picture of a look inside: the text coloured by surprise, what was expected, the logit lens, every head.

Letters of shapes: T positions.
"""

import base64
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from tinytale.addons.figures.fonts import families_for
from tinytale.addons.figures.style import STYLE, png_of
from tinytale.addons.inspection.table import MOST_BITS, visible

DPI = 160
WIDTH, EDGE, GAP = 12.5, 0.15, 0.45
"""Inches: of the figure, of its margin, and between its parts."""
TICKS = 0.25
"""Inches of the lens's labels below it."""
LINE = 0.36
"""Inches from a line of the text to the next."""
PROSE = ("DejaVu Serif", "DejaVu Sans")
PROSE_SIZE = 14
END = "⟨end⟩"
"""How the end of a text is shown."""
PANELS = 6
"""At most so many places have their candidates shown: the most surprising ones."""
SURPRISING = 1.0
"""Bits from which a place is one of them; the most surprising one always is."""
COLUMNS = 12
"""Last places that the lens shows; more could not be read."""
QUIET = "#5f6470"
SURPRISE = LinearSegmentedColormap.from_list("surprise", ["#ffffff", "#f08a5d"])
WEIGHT = LinearSegmentedColormap.from_list("weight", ["#ffffff", "#33658a"])
SHARE = LinearSegmentedColormap.from_list("share", ["#ffffff", "#8fb8dc"])
"""Light enough for dark letters on it."""
BAR, CHOSEN = "#33658a", "#d1782c"


def look_figure(data: dict[str, Any], title: str, note: str = "") -> bytes:
    """A PNG 2000 pixels wide of a look, `data` as `inspection.page_data` gives it.

    The same look gives the same bytes.
    """
    with mpl.rc_context({**STYLE, "font.size": 9, "font.family": ["DejaVu Sans"]}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a script that the fonts lack
        lines = text_lines(data["tokens"], WIDTH - 2 * EDGE)
        square = min(0.62, 5.4 / data["heads"])
        last = max(0.29 * (data["layers"] + 1), square * data["layers"] - TICKS)
        heights = (0.7, LINE * len(lines), 1.75, last + TICKS)
        figure = Figure(figsize=(WIDTH, sum(heights) + 3 * GAP), dpi=DPI)
        page = _Page(figure)
        heading = page.axes(EDGE, heights[0] - 0.15, WIDTH - 2 * EDGE)
        heading.text(0, 0.72, title, fontsize=14, fontweight="bold", parse_math=False)
        heading.text(0, 0.12, note, color=QUIET, parse_math=False)
        _draw_scale(heading)
        page.next(heights[0])
        draw_text(page.axes(EDGE, heights[1], WIDTH - 2 * EDGE), lines)
        page.next(heights[1] + GAP)
        _draw_candidates(page, data["tokens"])
        page.next(heights[2] + GAP)
        left = WIDTH - 2 * EDGE - square * data["heads"] - 0.75
        draw_lens(page.axes(EDGE + 0.75, last, left - 0.75), data["tokens"])
        _draw_attention(page, left + 0.75 + EDGE, square, data)
        return png_of(figure)


class _Page:
    """A figure filled from the top, in inches."""

    def __init__(self, figure: Figure):
        self.figure, self.used = figure, 0.1

    def axes(self, left: float, height: float, width: float, down: float = 0.0) -> Axes:
        """Bare axes so far from the left, and so far below what is used."""
        whole = self.figure.get_figheight()
        box = (left / WIDTH, 1 - (self.used + down + height) / whole, width / WIDTH, height / whole)
        axes = self.figure.add_axes(box)
        axes.set_axis_off()
        return axes

    def next(self, height: float) -> None:
        """What comes now stands below."""
        self.used += height


def prose(tokens: list[dict[str, Any]]) -> FontProperties:
    """The font of the text, with others to fall back on for letters that it lacks."""
    return FontProperties(family=[*PROSE, *families_for("".join(map(_shown, tokens)))], size=PROSE_SIZE)


def text_lines(tokens: list[dict[str, Any]], width: float) -> list[list[tuple[float, float, dict[str, Any]]]]:
    """The tokens in lines of at most `width` inches, each with its place from the left and its width.

    A line ends before a token that would leave it, and after a line end of the text.
    """
    font = prose(tokens)
    renderer = FigureCanvasAgg(Figure(dpi=DPI)).get_renderer()

    def inches(text: str) -> float:
        """With the blanks at its ends, which the renderer leaves out."""
        wide, frame = (renderer.get_text_width_height_descent(f"x{part}x", font, False)[0] for part in (text, ""))
        return (wide - frame) / DPI

    lines: list[list[tuple[float, float, dict[str, Any]]]] = [[]]
    x = 0.0
    for token in tokens:
        wide = inches(_shown(token))
        if x + wide > width and lines[-1]:
            lines.append([])
            x = 0.0
        lines[-1].append((x, wide, token))
        x += wide
        if "\n" in token["text"]:
            lines.append([])
            x = 0.0
    return [line for line in lines if line]


def _shown(token: dict[str, Any]) -> str:
    return END if token["text"] == "<|endoftext|>" else token["text"].replace("\n", "⏎")


def _label(text: str, longest: int) -> str:
    """A token's text where there is room for so many letters."""
    return END if text == "<|endoftext|>" else visible(text)[:longest]


def draw_text(axes: Axes, lines: list[list[tuple[float, float, dict[str, Any]]]]) -> None:
    """The text, each token on the colour of its surprise."""
    font = prose([token for line in lines for _, _, token in line])
    axes.set_xlim(0, WIDTH - 2 * EDGE)
    axes.set_ylim(len(lines), 0)
    for number, line in enumerate(lines):
        for x, wide, token in line:
            colour = SURPRISE(min(1.0, (token["bits"] or 0.0) / MOST_BITS))
            axes.barh(number + 0.5, wide, height=0.84, left=x, color=colour)
            axes.text(x, number + 0.52, _shown(token), fontproperties=font, va="center", parse_math=False)


def _draw_scale(axes: Axes) -> None:
    """What the colours of the text mean."""
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.imshow(np.linspace(0, 1, 64)[None], cmap=SURPRISE, extent=(0.86, 0.94, 0.1, 0.4), aspect="auto")
    axes.text(0.855, 0.25, "surprise: 0", ha="right", va="center", color=QUIET)
    axes.text(0.945, 0.25, f"{MOST_BITS} bits", va="center", color=QUIET)


def _draw_candidates(page: _Page, tokens: list[dict[str, Any]]) -> None:
    """The five likeliest at the most surprising places, in the order of the text."""
    surprising = sorted(range(1, len(tokens)), key=lambda place: -tokens[place]["bits"])[:PANELS]
    surprising = [place for place in surprising if tokens[place]["bits"] >= SURPRISING] or surprising[:1]
    each = (WIDTH - 2 * EDGE) / PANELS
    page.figure.text(
        EDGE / WIDTH,
        1 - (page.used - 0.12) / page.figure.get_figheight(),
        "What was expected where the text surprised most",
        fontweight="bold",
        fontsize=11,
    )
    for number, place in enumerate(sorted(surprising)):
        axes = page.axes(EDGE + number * each + 0.75, 1.2, each - 1.2, down=0.5)
        draw_candidates(axes, tokens, place)


def draw_candidates(axes: Axes, tokens: list[dict[str, Any]], place: int) -> None:
    """Bars of what the model expected at one place; the chosen token, if among them, in another colour."""
    token, guesses = tokens[place], tokens[place - 1]["candidates"]
    before = "".join(_shown(one) for one in tokens[max(0, place - 3) : place])
    title = f"…{before[-14:]} ▸ {_label(token['text'], 12)}\n{token['bits']:.1f} bits"
    axes.text(-0.7, -0.8, title, fontsize=8.5, va="bottom", parse_math=False)
    for row, guess in enumerate(guesses):
        chosen = guess["text"] == token["text"]
        axes.barh(row, guess["probability"], height=0.7, color=CHOSEN if chosen else BAR)
        axes.text(-0.03, row, _label(guess["text"], 12), ha="right", va="center", parse_math=False)
        axes.text(guess["probability"] + 0.03, row, _percent(guess["probability"]), va="center", color=QUIET)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(guesses) - 0.5, -0.5)


def _percent(share: float) -> str:
    return "< 1%" if share < 0.005 else f"{share:.0%}"


def draw_lens(axes: Axes, tokens: list[dict[str, Any]]) -> None:
    """A table: below each of the last tokens, what each layer would have said comes next; layers from the bottom up."""
    shown = tokens[-COLUMNS:]
    shares = np.array([[guess["probability"] for guess in token["lens"]] for token in shown]).T
    axes.imshow(shares, cmap=SHARE, vmin=0, vmax=1, aspect="auto", origin="lower")
    for column, token in enumerate(shown):
        for layer, guess in enumerate(token["lens"]):
            name = _label(guess["text"], 9)
            axes.text(column, layer, name, ha="center", va="center", fontsize=8, parse_math=False)
    axes.set_axis_on()
    axes.set_xticks(range(len(shown)), [_label(token["text"], 9) for token in shown], fontsize=8, fontweight="bold")
    for label in axes.get_xticklabels():
        label.set_parse_math(False)
    names = ["embedding", *(f"layer {layer}" for layer in range(1, len(shares)))]
    axes.set_yticks(range(len(shares)), names, fontsize=8)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Logit lens: what each layer would have said next")


def _draw_attention(page: _Page, left: float, square: float, data: dict[str, Any]) -> None:
    """A small map for each head: a row for each layer, the first at the bottom, as in the lens."""
    for layer, heads in enumerate(data["attention"]):
        for head, weights in enumerate(heads):
            down = square * (data["layers"] - 1 - layer)
            axes = page.axes(left + head * square, square * 0.92, square * 0.92, down)
            axes.imshow(np.sqrt(unpacked(weights)), cmap=WEIGHT, vmin=0, vmax=1, interpolation="nearest")
            axes.set_axis_on()
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set(visible=True, color="#c9c3b8", linewidth=0.6)
            if head == 0:
                axes.set_ylabel(f"layer {layer + 1}", rotation=0, ha="right", va="center", fontsize=8)
            if head == data["heads"] - 1 and layer == data["layers"] - 1:
                axes.set_title("Attention of every head: rows look at columns", loc="right")


def unpacked(weights: str) -> Float[np.ndarray, "T T"]:
    """One head's weights from what `inspection.page_data.packed` made of them."""
    values = np.frombuffer(base64.b64decode(weights), np.uint8) / 255
    size = int((np.sqrt(8 * len(values) + 1) - 1) / 2)
    square_TT = np.zeros((size, size))
    square_TT[np.tril_indices(size)] = values
    return square_TT
