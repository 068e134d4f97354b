"""The site of docs/: it is built without a broken link, and what it shows of the source is the source."""

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from repository import cut, mathml

DOCS = Path(__file__).parents[2] / "docs"

pytestmark = pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning")
"""latex2mathml opens its table of signs in a way that Python 3.11 wants to be rid of, and later ones keep."""


def build(source: Path, out: Path) -> "subprocess.CompletedProcess[str]":
    """The command that tools/site/conf.py names."""
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-c", DOCS.parent / "tools/site", source, out]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this repository."""
    out = tmp_path_factory.mktemp("site")
    built = build(DOCS.parent, out)
    assert built.returncode == 0, built.stderr
    return out


class Addresses(HTMLParser):
    """What a browser fetches by itself while it shows a page, and where its links lead."""

    def __init__(self, text: str):
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and name in ("src", "srcset", "data", "href") and not value.startswith("#"):
                (self.links if tag == "a" else self.loaded).append(value)


def text_of(page: Path, without: str = "style") -> str:
    """What a page says, without what is in these elements."""
    kept = re.sub(rf"<({without})\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", kept))


def test_a_page_loads_nothing_from_outside_and_no_link_is_broken(website: Path):
    pages = [*website.rglob("*.html")]
    assert len(pages) > 90
    for page in pages:
        found = Addresses(page.read_text(encoding="utf-8"))
        for address in found.loaded + [link for link in found.links if not re.match("(https?|mailto):", link)]:
            name = re.split("[?#]", address)[0]
            assert address.startswith("data:") or (page.parent / name).is_file(), (page, address)
    for style in website.rglob("*.css"):
        assert not re.search(r"(url\(|@import)[\s\"']*(https?:)?//", style.read_text(encoding="utf-8")), style


def test_pages_lead_on_in_the_order_of_the_contents(website: Path):
    assert "url=docs/README.html" in (website / "index.html").read_text(encoding="utf-8")
    notebook = (website / "notebooks/gpt2_from_scratch.html").read_text(encoding="utf-8")
    assert 'class="prev-page" href="../docs/tour.html"' in notebook
    assert 'class="next-page" href="../docs/mathematics.html"' in notebook
    assert notebook.count("data:image/png") == 3 and "nats a token" in notebook


def test_mathematics_is_set_at_build_time(website: Path):
    for name in ("tour", "mathematics"):
        page = website / f"docs/{name}.html"
        assert page.read_text(encoding="utf-8").count("<math") > 10
        said = text_of(page, "pre|code|script|style")
        assert "$" not in said and "\\" not in said
    assert (website / "_static/STIXTwoMath-Regular.ttf").is_file()


def test_the_tour_shows_the_source_as_it_is(website: Path):
    links = re.findall(
        r"^\[[^\]]*\]\(\.\./(src/[^#]*)#([\w.]+)\)$", (DOCS / "tour.md").read_text("utf-8"), flags=re.MULTILINE
    )
    assert len(links) > 25
    assert (website / "docs/tour.html").read_text(encoding="utf-8").count('class="piece ') == len(links)
    shown = text_of(website / "docs/tour.html")
    for name, symbol in links:
        assert cut(DOCS.parent / name, symbol)[2] in shown, symbol


def test_a_piece_is_the_definition_without_its_docstring(tmp_path: Path):
    file = tmp_path / "example.py"
    file.write_text(
        'LIMIT = 3\n\n\n@final\nclass Thing:\n    """What it is.\n\n    $x$\n    """\n\n    size: int = 1\n\n'
        '    def grow(self):\n        """By one.\n\n        Raises:\n            OSError: never.\n        """\n'
        "        return 2\n\n\nDone = True\n",
        encoding="utf-8",
    )
    assert cut(file, "Thing.grow") == (13, "By one.", "def grow(self):\n    return 2")
    first, words, code = cut(file, "Thing")
    assert (first, words) == (4, "What it is.\n\n$x$")
    assert code.startswith('@final\nclass Thing:\n    size: int = 1\n\n    def grow(self):\n        """By one.')
    assert code.endswith("return 2")
    for missing in ("Other", "Thing.shrink", "LIMIT"):
        with pytest.raises(LookupError, match=missing):
            cut(file, missing)


WRONG = {
    "[a](missing.md)": "missing.md",
    "[a](missing.json)": "missing.json",
    "[a](../../outside.md)": "leads out",
    "[a](second.md#nowhere)": "nowhere",
    "[a](#nowhere)": "nowhere",
    "see [a](../src/tinytale/code.py#gone)": "defines no gone",
    "[a](../src/tinytale/code.py#gone)": "defines no gone",
    "[a](../src/tinytale/none.py#here)": "none.py#here",
    "![a](missing.png)": "missing.png",
    r"$\unheardof{x}$": "unheardof",
    r"$\frac{$": "frac",
}


def test_what_is_wrong_with_a_page_is_said(tmp_path: Path):
    right = (
        "# A\n\n[a](second.md#a-place-of-its-own) [b](#a) [c](../src/tinytale/code.py#here) <https://example.org>\n\n"
    )
    pages = {
        "second": "# Second\n\n## A *place* of its `own`\n",
        "right": right + "[a](../src/tinytale/code.py#here)\n\n[b](run.sh)\n\n[c](../src) $x^2$\n",
        **{f"wrong-{index}": f"# Wrong\n\n{text}\n" for index, text in enumerate(WRONG)},
    }
    contents = "".join(f"- [{name}]({name}.md)\n" for name in pages)
    docs, source = tmp_path / "project/docs", tmp_path / "project/src/tinytale"
    docs.mkdir(parents=True)
    source.mkdir(parents=True)
    (tmp_path / "outside.md").touch()
    (source / "code.py").write_text("def here():\n    return 1\n", encoding="utf-8")
    (docs / "run.sh").write_text("true\n", encoding="utf-8")
    for name, text in {**pages, "README": f"# All\n\n## Pages\n\n{contents}", "lost": "# Lost\n"}.items():
        (docs / f"{name}.md").write_text(text, encoding="utf-8")
    built = build(docs.parent, tmp_path / "out")
    said = built.stderr.splitlines()
    assert built.returncode == 1
    for index, (text, expected) in enumerate(WRONG.items()):
        assert any(f"wrong-{index}.md" in line and expected in line for line in said), (text, said)
    assert any("lost.md" in line and "toctree" in line for line in said)
    assert not any("right.md" in line or "second.md:" in line for line in said), said
    assert 'class="piece ' in (tmp_path / "out/docs/right.html").read_text(encoding="utf-8")


def test_a_word_in_a_formula_stays_one_word():
    assert "<mi>softmax</mi>" in mathml(r"\mathrm{softmax}(x)", display=False)
