"""What Sphinx and MyST do not know of: source in the pages, MathML, notebooks, and pages of code and folders.

A page stays Markdown that a repository browser shows. Here, before MyST reads it,

- a link to a symbol of a Python file, alone in its paragraph, becomes that piece of the source;
- a link to code or to a folder leads to a page of it;
- the lists of the first page become the navigation.
"""

import ast
import html
import json
import re
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.builders.html import StandaloneHTMLBuilder
from sphinx.environment import BuildEnvironment
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

LOGGER = logging.getLogger(__name__)
LANGUAGES = {
    ".cff": "yaml", ".cpp": "cpp", ".js": "javascript", ".py": "python", ".sh": "bash", ".toml": "toml", "": "text",
}  # fmt: skip
"""Files that have a page, in colours; another that is linked is copied as it is."""

LARGE = 2**20
"""Bytes; such a file of a folder is named, and not copied to the site."""

ALONE = re.compile(r"(?<=\n\n)\[[^\]\n]*\]\(([^)\s]+\.py)#([\w.]+)\)(?=\n\n|\n?\Z)")
LINK = re.compile(r"\]\(([^)\s#:]+)(?:#([\w.]+))?\)")
ARGUMENTS = re.compile(r"^(Args|Raises|Returns|Yields):$", re.MULTILINE)
"""Where a docstring begins to speak to those who call, not to those who read."""

LINKED: set[Path] = set()
"""Files and folders of which the pages of this build want a page."""

IN_A_ROW = re.compile(r"(?<=,)\s*\\q?quad\s*")
"""Between formulas that each get a line of their own where there is no room for a row."""

ROMAN = re.compile(r"(?:<mi mathvariant=\"normal\">[A-Za-z]</mi>){2,}")


def read(app: Sphinx, name: str, content: list[str]) -> None:
    """Turn a page of the repository into what MyST shall read."""
    page = Path(app.env.doc2path(name))
    text = from_notebook(content[0]) if page.suffix == ".ipynb" else content[0]

    def piece(link: re.Match[str]) -> str:
        try:
            _, words, code = cut(page.parent / link[1], link[2])
        except (LookupError, PycodeError):
            return link[0]  # a link still, which the next step or MyST complains of
        shown = (page.parent / link[1]).resolve().relative_to(app.srcdir).as_posix().removeprefix("src/tinytale/")
        caption = f"[`{shown}`]({link[1]}#{link[2]}) {link[2]}"
        return f":::::{{container}} piece\n{caption}\n\n{words}\n\n`````python\n{code}\n`````\n:::::"

    def to_page(link: re.Match[str]) -> str:
        target, line = (page.parent / link[1]).resolve(), ""
        if not target.is_relative_to(app.srcdir):
            LOGGER.warning("%s leads out of the repository", link[1], location=name)
        elif target.exists() and target.suffix not in (*app.config.source_suffix, ".gif", ".png"):
            if link[2]:
                try:
                    line = f"#L-{cut(target, link[2])[0]}"
                except (LookupError, PycodeError) as error:
                    LOGGER.warning("%s: %s", link[1], error, location=name)
            LINKED.add(target)
            return f"]({link[1].rstrip('/')}{ending(target)}{line}){{.external}}"
        return link[0]

    text = LINK.sub(to_page, ALONE.sub(piece, text))
    content[0] = text + contents(content[0]) if name == app.config.root_doc else text


def cut(path: Path, symbol: str) -> tuple[int, str, str]:
    """A definition of a Python file: its first line, its docstring up to the part about arguments, its code without it.

    Raises:
        LookupError: the file defines no such class or function.
    """
    tags = ModuleAnalyzer.for_file(path, path.stem).find_tags()
    if symbol not in tags:
        raise LookupError(f"{path.name} defines no {symbol}")
    _, first, last = tags[symbol]
    lines = path.read_text(encoding="utf-8").splitlines()[first - 1 : last]
    lines = textwrap.dedent("\n".join(lines)).rstrip().splitlines()
    definition = ast.parse("\n".join(lines)).body[0]
    assert isinstance(definition, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    words = ast.get_docstring(definition) or ""
    if words:
        start, end = definition.body[0].lineno - 1, definition.body[0].end_lineno or 0
        del lines[start : end + (lines[end : end + 1] == [""])]
    return first, ARGUMENTS.split(words)[0].strip(), "\n".join(lines)


def contents(text: str) -> str:
    """The navigation, as the lists of the first page have it, each below its heading."""
    trees = ""
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        entries = "\n".join(f"{title} <{page}>" for title, page in re.findall(r"^- \[(.+?)\]\((.+?)\)", part, re.M))
        trees += f"\n```{{toctree}}\n:hidden:\n:caption: {part.splitlines()[0]}\n\n{entries}\n```\n"
    return trees


def from_notebook(text: str) -> str:
    """A notebook as Markdown: cells one below the other, each with what it printed and drew."""
    parts: list[str] = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                parts.append(f"![](data:image/png;base64,{data['image/png'].strip()})")
            else:
                parts.append(f"```{{code-block}} text\n:class: output\n\n{''.join(data['text/plain'])}\n```")
    return "\n\n".join(parts)


def mathml(latex: str, display: bool) -> str:
    r"""A formula as MathML, which browsers draw by themselves; `\mathrm{word}` stays one word, also for a voice.

    Raises:
        ValueError: the converter has left a command as it stood.
    """
    formula = convert(latex, display="block" if display else "inline")
    formula = formula.replace("<mo>&#x0221E;</mo>", "<mi>&#x0221E;</mi>")  # infinity is no operator: no room around it
    formula = ROMAN.sub(lambda word: f"<mi>{re.sub('<.*?>', '', word[0])}</mi>", formula)
    if "\\" in formula:
        raise ValueError("it has an unknown command")
    return formula


def draw(translator: HTML5Translator, node: nodes.Node) -> NoReturn:
    """Write the MathML of a formula to the page."""
    display = isinstance(node, nodes.math_block)
    try:
        formula = "".join(mathml(part, display) for part in IN_A_ROW.split(node.astext()))
    except Exception as error:  # the converter has no class of its own for what it cannot read
        LOGGER.warning("no MathML of %r: %r", node.astext(), error, location=node)
        raise nodes.SkipNode from error
    translator.body.append(f'<div class="formula">{formula}</div>' if display else formula)
    raise nodes.SkipNode


def ending(path: Path) -> str:
    """What the address of a file or folder has on the site, behind its name in the repository."""
    return "/index.html" if path.is_dir() else ".html" if path.suffix in LANGUAGES else ""


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Pages of the code and the folders that are linked, and of what is in these folders; copies of other files."""
    assert isinstance(app.builder, StandaloneHTMLBuilder)
    ahead, seen = sorted(LINKED), set[Path]()
    while ahead:
        path = ahead.pop()
        if path in seen:
            continue
        seen.add(path)
        name = path.relative_to(app.srcdir).as_posix()
        heading = f"<h1><code>{html.escape(name)}</code></h1>\n"
        if path.is_dir():
            items = ""
            for item in sorted(item for item in path.iterdir() if not item.name.startswith((".", "_"))):
                document = app.env.path2doc(item)
                link = f"{Path(document).name}.html" if document else item.name + ending(item)
                large = item.is_file() and item.stat().st_size > LARGE
                ahead += [] if document or large else [item]
                items += f"<li>{item.name}</li>" if large else f'<li><a href="{link}">{item.name}</a></li>'
            yield f"{name}/index", {"title": name, "body": f"{heading}<ul>{items}</ul>"}, "page.html"
        elif ending(path):
            code = app.builder.highlighter.highlight_block(
                path.read_text(encoding="utf-8"), LANGUAGES[path.suffix], linenos="inline", linespans="L"
            )
            yield name, {"title": name, "body": heading + code}, "page.html"
        else:
            (app.outdir / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, app.outdir / name)


def begin(app: Sphinx, env: BuildEnvironment, *_: object) -> set[str]:
    """All pages are read anew at each build: source that they show may have changed."""
    LINKED.clear()
    return env.found_docs


def finish(app: Sphinx, error: Exception | None) -> None:
    """The way in, where everyone looks for it."""
    if not error:
        way = app.builder.get_target_uri(app.config.root_doc)
        (app.outdir / "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={way}">', "utf-8")


def setup(app: Sphinx) -> None:
    """Tell Sphinx of all this."""
    app.connect("env-get-outdated", begin)
    app.connect("source-read", read)
    app.connect("html-collect-pages", pages)
    app.connect("build-finished", finish)
    app.add_html_math_renderer("mathml", (draw, None), (draw, None))
