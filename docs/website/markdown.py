"""Markdown as the repository's pages write it, made HTML: tables, mathematics as MathML, code in colours."""

import re
from collections.abc import Sequence
from typing import Any

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.anchors import anchors_plugin
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

LETTERS = re.compile(r"(?:<mi mathvariant=\"normal\">([A-Za-z])</mi>){2,}")
LETTER = re.compile(r"<mi mathvariant=\"normal\">([A-Za-z])</mi>")


def mathml(latex: str, display: bool) -> str:
    r"""A formula as MathML, which browsers draw by themselves; `\mathrm{word}` stays one word, also for a voice.

    Raises:
        ValueError: the converter has left a command as it stood.
    """
    formula = convert(latex, display="block" if display else "inline")
    formula = formula.replace("<mo>&#x0221E;</mo>", "<mi>&#x0221E;</mi>")  # infinity is no operator: no room around it
    formula = LETTERS.sub(lambda run: f"<mi>{''.join(LETTER.findall(run.group()))}</mi>", formula)
    if "\\" in formula:
        raise ValueError(f"no MathML is known for a command in the formula {latex!r}")
    return formula


def coloured(code: str, language: str, **options: Any) -> str:
    """Code in a `<pre>`, its parts marked by what they are; a language that Pygments does not know stays plain."""
    try:
        lexer = get_lexer_by_name(language or "text", stripnl=False)
    except ClassNotFound:
        lexer = get_lexer_by_name("text", stripnl=False)
    return highlight(code, lexer, HtmlFormatter(cssclass="code", wrapcode=True, **options))


def _math(content: str, options: dict[str, Any]) -> str:
    return mathml(content, options["display_mode"])


def slug(title: str) -> str:
    """What a heading is called in a link, as repository browsers have it."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def parser() -> MarkdownIt:
    """Markdown as repository browsers read it."""
    markdown = MarkdownIt("commonmark", {"highlight": lambda code, language, _: coloured(code, language), "html": True})
    markdown.enable(["table", "strikethrough"])
    markdown.use(dollarmath_plugin, renderer=_math, allow_space=False, allow_digits=False, double_inline=True)
    markdown.use(anchors_plugin, max_level=4, slug_func=slug, permalink=True, permalinkSymbol="#")
    for rule, tag in (("table_open", '<div class="wide"><table>'), ("table_close", "</table></div>")):
        markdown.add_render_rule(rule, lambda *_, tag=tag: tag)  # pyright: ignore[reportUnknownLambdaType]
    markdown.add_render_rule("fence", _fence)
    return markdown


def _fence(_: Any, tokens: Sequence[Token], index: int, *__: Any) -> str:
    """A block of code without a `<pre>` around the `<pre>` that it has."""
    return coloured(tokens[index].content, tokens[index].info.split(" ")[0])
