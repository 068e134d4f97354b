"""How our pictures look, and how they become files."""

import warnings
from io import BytesIO
from typing import Any

from matplotlib.figure import Figure

from tinytale.addons.figures.fonts import add_families

COLOURS = {"train": "#33658a", "dev": "#d1782c", "test": "#3b8a5a"}
INK = "#30343b"

STYLE: Any = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def png_of(figure: Figure) -> bytes:
    """The picture as PNG, with nothing in it that differs from one time to another."""
    add_families(figure)
    png = BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a script that the fonts lack
        figure.savefig(png, format="png", metadata={"Software": None})
    return png.getvalue()
