"""Pieces of the source by the name of a symbol, taken when the site is built: what a page shows is what runs."""

import ast
import inspect
import re
from dataclasses import dataclass
from pathlib import Path

SECTION = re.compile(r"^(Args|Raises|Returns|Yields):$", re.MULTILINE)
"""Where a docstring begins to speak to those who call, not to those who read."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Slice:
    """One definition of a Python file."""

    first_line: int
    """Counted from 1; decorators belong to it."""
    last_line: int
    explanation: str
    """Its docstring, Markdown with mathematics, up to the part about arguments and errors."""
    code: str
    """Its source without that docstring, moved to the left margin."""


def cut(path: Path, symbol: str) -> Slice:
    """The definition of `symbol` in a Python file: `NAME`, or `CLASS.NAME` for what stands in a class.

    Raises:
        LookupError: the file defines no such name.
    """
    text = path.read_text(encoding="utf-8")
    node = _find(ast.parse(text).body, symbol.split("."))
    if node is None:
        raise LookupError(f"{path.name} defines no {symbol}")
    decorators = node.decorator_list if isinstance(node, Definition) else []
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    last = node.end_lineno or node.lineno
    lines = text.splitlines()
    kept = list(range(first, last + 1))
    docstring = _docstring(node)
    if docstring:
        kept = [line for line in kept if not docstring.lineno <= line <= (docstring.end_lineno or 0)]
        if kept and not lines[kept[0] - 1 : kept[0]][0].strip():
            kept = kept[1:]
    code = inspect.cleandoc("\n" + "\n".join(lines[line - 1] for line in kept))
    explanation = inspect.cleandoc(ast.literal_eval(docstring.value)) if docstring else ""
    return Slice(first, last, SECTION.split(explanation)[0].strip(), _one_blank(code))


def _find(body: list[ast.stmt], names: list[str]) -> ast.stmt | None:
    """The statement that defines the first name, or what the other names lead to inside it."""
    for node in body:
        if isinstance(node, Definition):
            defined = [node.name]
        elif isinstance(node, ast.Assign):
            defined = [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined = [node.target.id]
        else:
            continue
        if names[0] in defined:
            inside = node.body if isinstance(node, ast.ClassDef) else []
            return node if len(names) == 1 else _find(inside, names[1:])
    return None


def _docstring(node: ast.stmt) -> ast.Expr | None:
    """The statement that is the docstring of a class or a function."""
    if not isinstance(node, Definition) or ast.get_docstring(node, clean=False) is None:
        return None
    first = node.body[0]
    assert isinstance(first, ast.Expr)
    return first


def _one_blank(code: str) -> str:
    """The code with the blank line gone that a docstring has left below the line that opens a class."""
    return re.sub(r"\A((?:@.*\n)*class .*:\n)\n+", r"\1", code)
