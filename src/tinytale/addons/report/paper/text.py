"""Running text as data: templates in a small markup become spans, and what a file says is set in as it is.

The markup of templates: `_emphasis_`, `*strong*`, `` `code` ``, `$a formula in Typst's notation$`, `[name]` for a
reference to the literature, `[fig:name]` and `[tab:name]` for one to a figure or table, `{name}` for a value. Values
are never read as markup: a number is a `Fact`, any other text is taken letter by letter. Apostrophes of templates
become curly.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tinytale.addons.report.paper.facts import Fact


@dataclass(frozen=True)
class Words:
    """Plain text, in a style."""

    text: str
    style: Literal["plain", "emphasis", "strong", "code"] = "plain"
    given: bool = False
    """Taken from a file as it is, and not from a template."""


@dataclass(frozen=True)
class Formula:
    """Mathematics in Typst's notation, within a line."""

    typst: str


@dataclass(frozen=True)
class Number:
    """A number that a file holds, in a style."""

    fact: Fact
    style: Literal["plain", "strong"] = "plain"


@dataclass(frozen=True)
class Pointer:
    """A reference: to a figure (`fig:name`), a table (`tab:name`), or the literature (`name`)."""

    target: str


Span: TypeAlias = Words | Formula | Number | Pointer
Text: TypeAlias = tuple[Span, ...]
Value: TypeAlias = "Fact | str | Text"

MARKUP = re.compile(
    r"(?P<code>`[^`]+`)|(?P<math>\$[^$]+\$)|(?P<pointer>\[[a-z0-9:-]+\])"
    r"|(?P<strong>\*(?! )[^*]+\*)|(?P<emphasis>(?<!\w)_[^_]+_(?!\w))"
)
FIELD = re.compile(r"\{(\w+)\}")


def say(template: str, **values: "Value") -> Text:
    """Spans of a template with its values set in."""
    return tuple(_spans(template, values, "plain"))


def join(texts: list[Text], between: str = " ", last: str | None = None) -> Text:
    """One text of several; `last` stands before the last one, where it is another word."""
    joined: list[Span] = []
    for place, text in enumerate(texts):
        if place:
            joined.append(Words(last if last is not None and place == len(texts) - 1 else between))
        joined.extend(text)
    return tuple(joined)


def plain(text: Text) -> str:
    """The text without its styles: numbers as they are printed."""
    shown = {Words: lambda s: s.text, Formula: lambda s: s.typst, Number: lambda s: s.fact.shown}
    return "".join(shown.get(type(span), lambda s: f"[{s.target}]")(span) for span in text)


def _spans(template: str, values: dict[str, "Value"], style: str) -> Iterator[Span]:
    place = 0
    for found in MARKUP.finditer(template):
        yield from _fields(template[place : found.start()], values, style)
        place, inner = found.end(), found[0][1:-1]
        match found.lastgroup:
            case "math":
                yield Formula(inner)
            case "pointer":
                yield Pointer(inner)
            case kind:
                yield from _fields(inner, values, str(kind))
    yield from _fields(template[place:], values, style)


def _fields(text: str, values: dict[str, "Value"], style: str) -> Iterator[Span]:
    for place, part in enumerate(FIELD.split(text)):
        if place % 2 == 0:
            if part:
                yield Words(part.replace("'", "’"), style)  # pyright: ignore[reportArgumentType]
            continue
        match values[part]:
            case Fact() as fact:
                yield Number(fact, "strong" if style == "strong" else "plain")
            case str() as words:
                yield Words(words, style, given=True)  # pyright: ignore[reportArgumentType]
            case spans:
                yield from spans
