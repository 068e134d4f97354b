"""A document as PDF: its content becomes JSON, which a Typst template lays out. The same document, the same bytes."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typst

from tinytale.addons.figures.fonts import installed_with, seen
from tinytale.addons.report.paper.chapters.room import ROOMS, Room
from tinytale.addons.report.paper.parts import (
    Bullets,
    Display,
    Document,
    Figure,
    Paragraph,
    Part,
    Stories,
    Table,
)
from tinytale.addons.report.paper.text import Formula, Number, Pointer, Span, Text, Words
from tinytale.errors import TaleError

TEMPLATE = Path(__file__).with_name("paper.typ")
PAGES = 5
"""At most so many, references apart."""


def fitting(compose: Callable[[Room], Document]) -> tuple[Document, bytes]:
    """The document with the most in it that keeps to its pages, and its PDF.

    Raises:
        TaleError: it does not fit, however little is said; or Typst refuses it.
    """
    pages = 0
    for room in ROOMS:
        document = compose(room)
        pages, pdf = pdf_of(document)
        if pages <= PAGES:
            return document, pdf
    raise TaleError(
        f"the report needs {pages} pages, and may have {PAGES}; name fewer runs, or take --format html: it has no pages"
    )


def pdf_of(document: Document) -> tuple[int, bytes]:
    """How many pages it has, references apart, and the PDF.

    Raises:
        TaleError: Typst refuses it.
    """
    with _laid_out(document) as compiler:
        try:
            pdf = compiler.compile(format="pdf", timestamp=0)
            pages = json.loads(compiler.query("<pages>", field="value", one=True))
        except (typst.TypstError, RuntimeError) as error:
            raise TaleError(f"Typst cannot set the report: {error}") from error
    assert isinstance(pdf, bytes)
    return int(pages), pdf


@contextmanager
def _laid_out(document: Document) -> Iterator[typst.Compiler]:
    """A compiler over a folder with the template and what it lays out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(TEMPLATE, folder)
        for part in document.parts():
            if isinstance(part, Figure):
                (folder / f"{part.name}.svg").write_bytes(part.svg)
        (folder / "content.json").write_text(
            json.dumps({**content(document), "keywords": [digest(document)]}), encoding="utf-8"
        )
        (folder / "numbers.json").write_bytes(numbers(document))
        yield typst.Compiler(folder / TEMPLATE.name, root=folder, ignore_system_fonts=_fonts_suffice(document))


def numbers(document: Document) -> bytes:
    """Every number of the report, with its files and keys, as JSON."""
    return (json.dumps([fact.to_json() for fact in document.facts()], indent=1, ensure_ascii=False) + "\n").encode()


def digest(document: Document) -> str:
    """SHA-256 of all that the report says; drawings are apart, for they may differ in a last digit."""
    return hashlib.sha256(json.dumps(content(document)).encode()).hexdigest()


def content(document: Document) -> dict[str, Any]:
    """What the template reads."""
    called = document.numbered()
    return {
        "title": document.title,
        "author": document.author,
        "summary": _text(document.summary, called),
        "sections": [
            {"title": section.title, "parts": [_part(part, called) for part in section.parts]}
            for section in document.sections
        ],
        "references": [_text(work.text, called) for work in document.references],
    }


def _part(part: Part, called: dict[str, str]) -> dict[str, Any]:
    match part:
        case Paragraph():
            return {"kind": "paragraph", "heading": part.heading, "text": _text(part.text, called)}
        case Display():
            return {"kind": "display", "formula": part.typst}
        case Bullets():
            return {"kind": "bullets", "items": [_text(item, called) for item in part.items]}
        case Table():
            return {
                "kind": "table",
                "called": called[f"tab:{part.name}"],
                "caption": _text(part.caption, called),
                "rows": [[_text(cell, called) for cell in row] for row in part.rows],
                "align": part.alignment,
                "width": part.width,
                "groups": list(part.groups),
            }
        case Figure():
            return {
                "kind": "figure",
                "called": called[f"fig:{part.name}"],
                "caption": _text(part.caption, called),
                "file": f"{part.name}.svg",
                "alt": part.alt,
                "width": part.width,
            }
        case Stories():
            stories = [{"prompt": s.prompt, "told": s.told, "note": _text(s.note, called)} for s in part.stories]
            return {"kind": "stories", "stories": stories}


def _text(text: Text, called: dict[str, str]) -> list[dict[str, str]]:
    return [_span(span, called) for span in text]


def _span(span: Span, called: dict[str, str]) -> dict[str, str]:
    match span:
        case Words():
            return {"kind": span.style, "text": span.text}
        case Formula():
            return {"kind": "math", "text": span.typst}
        case Number():
            return {"kind": span.style, "text": span.fact.shown}
        case Pointer():
            return {"kind": "pointer", "text": called[span.target].replace(" ", "\N{NO-BREAK SPACE}")}


def _fonts_suffice(document: Document) -> bool:
    """Whether the fonts within Typst have every letter of the content; else those of the system help."""
    letters = set(json.dumps(content(document), ensure_ascii=False))
    lacking = frozenset(letter for letter in letters if seen(letter) and not _covered(letter))
    installed_with(lacking)  # which says what no font has
    return not lacking


def _covered(letter: str) -> bool:
    """Latin, Greek, Cyrillic and the signs between: what Libertinus Serif has."""
    code = ord(letter)
    return code < 0x530 or 0x1E00 <= code < 0x2600 or code in (0xFFFD, 0x2713)
