"""What a file of the repository looks like on the site: a Markdown page, a notebook, a source file, a folder."""

import html
import json
import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from markdown_it.token import Token

from website.markdown import coloured, parser
from website.slices import cut

LANGUAGES = {
    ".py": "python",
    ".cpp": "cpp",
    ".toml": "toml",
    ".sh": "bash",
    ".js": "javascript",
    ".cff": "yaml",
    "": "text",
}
"""Files that are shown in colours; another that is linked is copied as it is."""

LARGE = 2**20
"""Bytes; such a file of a folder is named, and not copied to the site."""

SLICE = re.compile(r"(.+\.py)#([\w.]+)|(.+\.sh)")

FORMULAS_IN_A_ROW = re.compile(r",?\s*\\qquad\s*")
"""Beside code there is room for one only: each gets a line of its own."""


@dataclass
class Page:
    """The inside of a page: addresses in it are still those of the repository."""

    title: str
    body: str
    headings: list[tuple[str, str]] = field(default_factory=list)
    """Of the second level: id and title, as HTML."""


def page_of(path: Path, root: Path) -> Page | None:
    """The page of a file or folder; none for a file that is copied as it is.

    Raises:
        ValueError: a formula cannot be set, or a slice of the source is not there.
    """
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return _listing(path, name)
    if path.suffix == ".md":
        return _markdown(path, root)
    if path.suffix == ".ipynb":
        return _notebook(path)
    if path.suffix in LANGUAGES:
        return Page(name, _heading(name) + _source(path))
    return None


def _markdown(path: Path, root: Path) -> Page:
    markdown = parser()
    tokens = markdown.parse(path.read_text(encoding="utf-8"))
    tokens = _with_slices(tokens, path, root)
    return _finished(path.stem, markdown.renderer.render(tokens, markdown.options, {}), tokens)


def _finished(name: str, body: str, tokens: list[Token]) -> Page:
    """A page whose title and headings are those of its tokens."""
    found: list[tuple[str, str, str]] = []
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            text = "".join(part.content for part in inline.children or [] if part.type in ("text", "code_inline"))
            found.append((opening.tag, str(opening.attrs["id"]), html.escape(text.strip().removesuffix("#").strip())))
    title = next((text for tag, _, text in found if tag == "h1"), name)
    return Page(title, body, [(anchor, text) for tag, anchor, text in found if tag == "h2"])


def _with_slices(tokens: list[Token], path: Path, root: Path) -> list[Token]:
    """The tokens of a page, in which a paragraph that is nothing but a link to a symbol of a Python file is its slice.

    In a repository browser such a paragraph is a link to the file; on the site it is the piece of source itself. A
    link to a shell script, alone in its paragraph, is the whole script.
    """
    changed: list[Token] = []
    for token in tokens:
        changed.append(token)
        if token.type != "paragraph_close" or len(changed) < 3:
            continue
        children = changed[-2].children or []
        if [child.type for child in children][:1] != ["link_open"] or children[-1].type != "link_close":
            continue
        if sum(child.type == "link_open" for child in children) > 1:
            continue
        if found := SLICE.fullmatch(address := str(children[0].attrs["href"])):
            script = found[3] and path.parent / found[3]
            figure = _script(script, address) if script else _slice(path.parent / found[1], address, found[2], root)
            changed[-3:] = [Token("html_block", "", 0, content=figure)]
    return changed


def _script(path: Path, address: str) -> str:
    """A figure of a whole file."""
    return (
        f'<figure class="slice"><figcaption><a href="{address}">{path.name}</a></figcaption>{_source(path)}</figure>\n'
    )


def _slice(source: Path, address: str, symbol: str, root: Path) -> str:
    """A figure of one definition: what its docstring says, and its code beside it."""
    try:
        piece = cut(source.resolve(), symbol)
    except (LookupError, OSError) as error:
        raise ValueError(f"no slice {address}: {error}") from error
    place = source.resolve().relative_to(root / "src" / "tinytale").as_posix()
    caption = f'<a href="{address}">{place}</a> {html.escape(symbol)}'
    explanation = FORMULAS_IN_A_ROW.sub("$$\n\n$$", piece.explanation)
    words = f'<div class="words">{parser().render(explanation)}</div>' if piece.explanation else ""
    return f'<figure class="slice"><figcaption>{caption}</figcaption>{words}{coloured(piece.code, "python")}</figure>\n'


def _source(path: Path) -> str:
    return coloured(path.read_text(encoding="utf-8"), LANGUAGES[path.suffix], linespans="L").replace(
        'class="code"', 'class="code numbered"', 1
    )


def _listing(path: Path, name: str) -> Page:
    """A folder's files, each a link but for those too large to bring along."""
    files = sorted(item for item in path.iterdir() if not item.name.startswith((".", "_")))
    names = {item.name: item.name + "/" * item.is_dir() for item in files}
    large = {item.name for item in files if item.is_file() and item.stat().st_size > LARGE}
    items = "".join(
        f"<li>{shown}</li>" if name in large else f'<li><a href="{name}">{shown}</a></li>'
        for name, shown in names.items()
    )
    return Page(name, f"{_heading(name + '/')}<ul>{items}</ul>")


def _heading(name: str) -> str:
    return f"<h1><code>{html.escape(name)}</code></h1>\n"


def _notebook(path: Path) -> Page:
    """Cells one below the other, each with what it printed and drew."""
    markdown, body, tokens = parser(), [], []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parsed = markdown.parse(text)
            tokens += parsed
            body.append(markdown.renderer.render(parsed, markdown.options, {}))
        else:
            body.append(coloured(text, "python"))
            body += [_output(output) for output in cell["outputs"]]
    return _finished(path.stem, "\n".join(body), tokens)


def _output(output: dict[str, Any]) -> str:
    """One output of a cell: a picture if it is one, else its text."""
    data = {kind: "".join(content) for kind, content in output.get("data", {}).items()}
    if svg := data.get("image/svg+xml"):
        return f'<div class="picture">{svg[svg.index("<svg") :]}</div>'
    if png := data.get("image/png"):
        return f'<div class="picture"><img alt="" src="data:image/png;base64,{png.strip()}"></div>'
    text = data.get("text/plain", "".join(output.get("text", "")))
    return f'<pre class="output">{html.escape(text)}</pre>' if text else ""
