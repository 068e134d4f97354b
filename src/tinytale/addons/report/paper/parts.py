"""What a report is made of: sections of paragraphs, formulas, tables, figures and told stories; no layout."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from tinytale.addons.report.paper.facts import Fact
from tinytale.addons.report.paper.text import Number, Pointer, Text

Width = Literal["column", "page"]


@dataclass(frozen=True)
class Paragraph:
    """Running text, after words that name its subject, if it has some."""

    text: Text
    heading: str = ""


@dataclass(frozen=True)
class Display:
    """A formula on a line of its own, in Typst's notation."""

    typst: str


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Table:
    """Cells by rows, the first the heading; the first column is what a row is of."""

    name: str
    caption: Text
    rows: tuple[tuple[Text, ...], ...]
    width: Width = "column"
    align: str = ""
    """A letter for each column, `l` or `r`. Default: the first to the left, the others to the right."""
    groups: tuple[int, ...] = ()
    """Rows, counted from 1 below the heading, that have a line above them."""

    @property
    def alignment(self) -> str:
        """A letter for each column."""
        return self.align or "l" + "r" * (len(self.rows[0]) - 1)


@dataclass(frozen=True)
class Figure:
    """A drawing as SVG."""

    name: str
    caption: Text
    svg: bytes = field(repr=False)
    alt: str
    """What it shows, for who cannot see it."""
    width: Width = "column"


@dataclass(frozen=True)
class Story:
    """Something told: the prompt, if there was one, what came, and a line about it."""

    prompt: str
    told: str
    note: Text


@dataclass(frozen=True)
class Stories:
    """Told stories, one below the other."""

    stories: tuple[Story, ...]


Part: TypeAlias = Paragraph | Display | Bullets | Table | Figure | Stories


@dataclass(frozen=True)
class Section:
    """A chapter with its parts in order."""

    title: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Reference:
    """A work of the literature."""

    name: str
    text: Text


@dataclass(frozen=True)
class Document:
    """A whole report."""

    title: str
    author: str
    summary: Text
    sections: tuple[Section, ...]
    references: tuple[Reference, ...]
    """Those that the text refers to, in the order in which it does."""

    def parts(self) -> Iterator[Part]:
        """Every part of every section."""
        for section in self.sections:
            yield from section.parts

    def texts(self) -> Iterator[Text]:
        """Every text, in order."""
        yield self.summary
        for part in self.parts():
            yield from texts_of(part)
        for reference in self.references:
            yield reference.text

    def facts(self) -> Iterator[Fact]:
        """Every number, in order, each as often as it is printed."""
        for text in self.texts():
            yield from (span.fact for span in text if isinstance(span, Number))

    def numbered(self) -> dict[str, str]:
        """What each figure, table and reference is called where the text points to it."""
        counts = {Figure: 0, Table: 0}
        called: dict[str, str] = {}
        for part in self.parts():
            if isinstance(part, Figure | Table):
                counts[type(part)] += 1
                kind = "fig" if isinstance(part, Figure) else "tab"
                called[f"{kind}:{part.name}"] = f"{type(part).__name__} {counts[type(part)]}"
        return called | {work.name: f"[{place}]" for place, work in enumerate(self.references, 1)}


def texts_of(part: Part) -> Iterator[Text]:
    """The texts of a part."""
    match part:
        case Paragraph():
            yield part.text
        case Bullets():
            yield from part.items
        case Table():
            yield part.caption
            for row in part.rows:
                yield from row
        case Figure():
            yield part.caption
        case Stories():
            yield from (story.note for story in part.stories)
        case Display():
            return


def pointers(text: Text) -> Iterator[str]:
    """What a text points to."""
    yield from (span.target for span in text if isinstance(span, Pointer))
