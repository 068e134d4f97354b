"""A document as one page that needs nothing else: our own HTML, formulas as MathML made by Typst, drawings as SVG."""

import base64
import json
import re
from html import escape
from pathlib import Path
from string import Template

import typst

from tinytale.addons.report.paper.facts import Fact
from tinytale.addons.report.paper.parts import (
    Bullets,
    Display,
    Document,
    Figure,
    Paragraph,
    Part,
    Stories,
    Story,
    Table,
)
from tinytale.addons.report.paper.text import Formula, Number, Pointer, Span, Text, Words
from tinytale.errors import TaleError

TEMPLATE = Path(__file__).with_name("page.html")
RIGHT = ' class="right"'
TAGS = {"plain": "{}", "emphasis": "<em>{}</em>", "strong": "<strong>{}</strong>", "code": "<code>{}</code>"}


def html_of(document: Document) -> str:
    """The page.

    Raises:
        TaleError: Typst refuses a formula.
    """
    writer = _Writer(document)
    body = [f'<p class="summary">{writer.text(document.summary)}</p>']
    for place, section in enumerate(document.sections, 1):
        body.append(f"<h2>{place} {escape(section.title)}</h2>")
        body += [writer.part(part) for part in section.parts]
    if document.references:
        works = "\n".join(f'<li id="{escape(work.name)}">{writer.text(work.text)}</li>' for work in document.references)
        body.append(f"<h2>References</h2>\n<ol>\n{works}\n</ol>")
    author = f'<p class="author">{escape(document.author)}</p>' if document.author else ""
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(document.title), author=author, body="\n".join(body), numbers=_numbers(document)
    )


def mathml(formulas: list[tuple[str, bool]]) -> dict[tuple[str, bool], str]:
    """MathML of each formula in Typst's notation; true stands for one on a line of its own.

    Raises:
        TaleError: Typst refuses one.
    """
    asked = list(dict.fromkeys(formulas))
    lines = [f"$ {formula} $" if alone else f"a ${formula}$" for formula, alone in asked]
    try:
        page = typst.compile("\n\n".join(lines).encode(), format="html", ignore_system_fonts=True) if lines else b""
    except typst.TypstError as error:
        raise TaleError(f"Typst cannot set the formulas: {error}") from error
    assert isinstance(page, bytes)
    found = re.findall(r"<math.*?</math>", page.decode(), flags=re.DOTALL)
    return dict(zip(asked, found, strict=True))


class _Writer:
    """Parts as HTML, with what each figure, table and reference is called."""

    def __init__(self, document: Document):
        self._called = document.numbered()
        within = [(s.typst, False) for text in document.texts() for s in text if isinstance(s, Formula)]
        alone = [(part.typst, True) for part in document.parts() if isinstance(part, Display)]
        self._mathml = mathml(within + alone)

    def text(self, text: Text) -> str:
        return "".join(map(self._span, text))

    def _span(self, span: Span) -> str:
        match span:
            case Words():
                return TAGS[span.style].format(escape(span.text))
            case Formula():
                return self._mathml[span.typst, False]
            case Number():
                return TAGS[span.style].format(_number(span.fact))
            case Pointer():
                return f'<a href="#{escape(span.target)}">{self._called[span.target]}</a>'

    def part(self, part: Part) -> str:
        match part:
            case Paragraph():
                heading = f"<strong>{escape(part.heading)}.</strong> " if part.heading else ""
                return f"<p>{heading}{self.text(part.text)}</p>"
            case Display():
                return f'<p class="display">{self._mathml[part.typst, True]}</p>'
            case Bullets():
                return "<ul>\n" + "\n".join(f"<li>{self.text(item)}</li>" for item in part.items) + "\n</ul>"
            case Table():
                return self._table(part)
            case Figure():
                image = base64.b64encode(part.svg).decode()
                return (
                    f'<figure id="fig:{part.name}"><img class="{part.width}" alt="{escape(part.alt)}"'
                    f' src="data:image/svg+xml;base64,{image}">\n{self._caption("fig", part)}</figure>'
                )
            case Stories():
                return "\n".join(map(self._story, part.stories))

    def _caption(self, kind: str, part: Figure | Table) -> str:
        called = self._called[f"{kind}:{part.name}"]
        return f"<figcaption><strong>{called}.</strong> {self.text(part.caption)}</figcaption>"

    def _table(self, table: Table) -> str:
        def row(cells: tuple[Text, ...], tag: str, mark: str = "") -> str:
            inner = "".join(
                f"<{tag}{RIGHT if side == 'r' else ''}>{self.text(cell)}</{tag}>"
                for cell, side in zip(cells, table.alignment, strict=True)
            )
            return f"<tr{mark}>{inner}</tr>"

        head, *rows = table.rows
        lines = [row(head, "th")] if any(head) else []
        lines += [row(cells, "td", ' class="group"' * (place in table.groups)) for place, cells in enumerate(rows, 1)]
        inner = "\n".join(lines)
        return f'<figure id="tab:{table.name}">{self._caption("tab", table)}\n<table>\n{inner}\n</table></figure>'

    def _story(self, story: Story) -> str:
        prompt = f"<em>{escape(story.prompt)}</em> " if story.prompt else ""
        told = "<br>".join(escape(story.told).split("\n"))
        note = f' <span class="note">({self.text(story.note)})</span>' if story.note else ""
        return f'<blockquote dir="auto">{prompt}{told}{note}</blockquote>'


def _numbers(document: Document) -> str:
    """The list of numbers, as JSON that no HTML can end."""
    listed = json.dumps([fact.to_json() for fact in document.facts()], ensure_ascii=False)
    return listed.replace("<", "\\u003c")


def _number(fact: Fact) -> str:
    """A number that says where it comes from when it is pointed at."""
    return f'<data value="{fact.value!r}" title="{escape(fact.source)}">{escape(fact.shown)}</data>'
