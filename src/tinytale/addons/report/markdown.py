"""Text from files as Markdown in which it means nothing but itself: no HTML, link, picture or table of its own."""

import re
from collections.abc import Sequence

_MARKS = re.compile(r"[\\`*_<>\[\]#|~&$]|:(?=//)|(?<=www)\.")
_TAME = re.compile(r"[\w./:@+ -]*")


def escaped(text: str) -> str:
    """A text of one line; what would part lines is a space."""
    text = _MARKS.sub(r"\\\g<0>", " ".join(text.splitlines()))
    return re.sub(r"^([-+=]|\d+[.)](?=\s|$))", lambda found: f"{found[0][:-1]}\\{found[0][-1]}", text)


def code(text: str) -> str:
    """A name as code, or escaped where it is no tame name: in a table, code cannot hold every character."""
    return f"`{text}`" if _TAME.fullmatch(text) and "//" not in text and text.strip() else escaped(text)


def quoted(text: str) -> str:
    """A text of several lines as a quotation."""
    return "\n>\n".join(f"> {escaped(line.strip())}" for line in text.splitlines() if line.strip())


def fenced(text: str, language: str) -> str:
    """A block of code, in a fence longer than any inside."""
    fence = "`" * (1 + max(2, *(len(run) for run in re.findall("`*", text))))
    return f"{fence}{language}\n{text}\n{fence}"


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [heading, ("---",) * len(heading), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
