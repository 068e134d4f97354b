"""Letters that matplotlib's own fonts lack are drawn with an installed font that has them; what none has is said."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from matplotlib.figure import Figure

from tinytale.addons.figures import fonts
from tinytale.addons.figures.style import png_of
from tinytale.addons.report.paper.figures import attention_figure


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """`install("Name", "letters")`: a font is there that has these letters, each a black square; no other is."""
    paths: list[str] = []
    kept = list(font_manager.fontManager.ttflist)

    def add(name: str, letters: str) -> None:
        pen = TTGlyphPen(None)
        pen.moveTo((0, 0)), pen.lineTo((0, 1000)), pen.lineTo((1000, 1000)), pen.lineTo((1000, 0)), pen.closePath()
        square, glyphs = pen.glyph(), [".notdef", *(f"u{ord(letter):04X}" for letter in letters)]
        font = FontBuilder(1000, isTTF=True)
        font.setupGlyphOrder(glyphs)
        font.setupCharacterMap({ord(letter): glyph for letter, glyph in zip(letters, glyphs[1:], strict=True)})
        font.setupGlyf(dict.fromkeys(glyphs, square))
        font.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 0)))
        font.setupHorizontalHeader(ascent=1000, descent=0)
        font.setupNameTable({"familyName": name, "styleName": "Regular"})
        font.setupOS2()
        font.setupPost()
        font.save(tmp_path / f"{name}.ttf")
        paths.append(str(tmp_path / f"{name}.ttf"))

    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: paths)
    fonts.installed_with.cache_clear()
    yield add
    fonts.installed_with.cache_clear()
    font_manager.fontManager.ttflist[:] = kept


def picture(text: str) -> bytes:
    figure = Figure(figsize=(2, 1))
    figure.text(0.1, 0.4, text, fontsize=30)
    return png_of(figure)


def test_a_letter_that_no_font_has_is_said_once_with_a_font_that_has_it(install, capsys: pytest.CaptureFixture[str]):
    boxes = picture("春眠 a é"), picture("夏眠 a é")
    said = capsys.readouterr().err
    assert "No installed font has 春, 眠: empty boxes" in said and "fonts-noto-cjk" in said and "é" not in said
    assert boxes[0] == boxes[1] and said.count("No installed font") == 2
    assert picture("春眠 a é") == boxes[0] and not capsys.readouterr().err


def test_what_an_installed_font_has_is_drawn_with_it(install, capsys: pytest.CaptureFixture[str]):
    before = picture("春眠"), attention_figure([(name, np.eye(2)) for name in "ab"], ["春", "眠"])
    install("Few", "春")
    install("More", "春眠")
    install("Other", "夏")
    capsys.readouterr()
    fonts.installed_with.cache_clear()
    assert fonts.families_for("春眠, ok") == ["More"] and fonts.families_for("plain é") == []
    after = picture("春眠"), attention_figure([(name, np.eye(2)) for name in "ab"], ["春", "眠"])
    assert before[0] != after[0] and before[1] != after[1] and not capsys.readouterr().err


def test_a_report_says_what_typst_has_no_font_for(install, capsys: pytest.CaptureFixture[str]):
    from tinytale.addons.report.paper.parts import Document, Paragraph, Section
    from tinytale.addons.report.paper.text import Words
    from tinytale.addons.report.paper.typeset import pdf_of

    def document(text: str) -> Document:
        paragraph = Paragraph((Words(text),), "")
        return Document("A title", "", (), (Section("A section", (paragraph,)),), ())

    pdf_of(document("Ein Märchen."))
    assert not capsys.readouterr().err
    pdf_of(document("一个故事"))
    assert "No installed font has" in capsys.readouterr().err
