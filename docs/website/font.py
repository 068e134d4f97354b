"""The font of the mathematics: STIX Two Math as ziamath carries it, cut down to the signs that the pages use.

Not every system has a font that knows how to stretch a bracket and where to put an exponent; so the site brings one.
"""

import html
import re
import unicodedata
from collections.abc import Iterable
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

FORMULA = re.compile(r"<math.*?</math>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")


UNWRITTEN = {"√", "ℎ"}
"""What a browser draws though no page writes it: the root, and the slanted h, which has a place of its own."""


def signs(bodies: Iterable[str]) -> str:
    """Every sign of the formulas in these pages, and the slanted letters that browsers show for single ones; none for
    pages without a formula."""
    found = {
        sign for body in bodies for formula in FORMULA.findall(body) for sign in html.unescape(TAG.sub("", formula))
    }
    slanted = {
        sign
        for sign in map(chr, range(0x1D400, 0x1D800))
        if unicodedata.normalize("NFKC", sign) in found and "ITALIC" in unicodedata.name(sign, "")
    }
    return "".join(sorted(found | slanted | UNWRITTEN)) if found else ""


def write_font(path: Path, signs: str) -> None:
    """Write these signs of the font for browsers (WOFF)."""
    source = files("ziamath") / "fonts" / "STIXTwoMath-Regular.ttf"
    with source.open("rb") as file:
        font = TTFont(BytesIO(file.read()))
        options = Options(flavor="woff", layout_features=["ssty"], hinting=False, notdef_outline=True)
        subsetter = Subsetter(options)
        subsetter.populate(text=signs)
        subsetter.subset(font)
        font.flavor = "woff"
        font.save(path)
