"""The site of docs/: it is built without a broken link, and what it shows of the source is the source."""

import html
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fontTools.ttLib import TTFont

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS))

from website.markdown import mathml  # noqa: E402
from website.site import Site  # noqa: E402
from website.slices import cut  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:path is deprecated:DeprecationWarning")
"""latex2mathml opens its table of signs in a way that Python 3.11 wants to be rid of, and later ones keep."""


@pytest.fixture(scope="module")
def website(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site of this repository, by the command that makes it."""
    out = tmp_path_factory.mktemp("site")
    built = subprocess.run([sys.executable, DOCS / "build.py", out], capture_output=True, encoding="utf-8")
    assert built.returncode == 0, built.stderr
    return out


class Loaded(HTMLParser):
    """What a browser fetches by itself while it shows a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value and (name in ("src", "srcset", "data") or (name == "href" and tag != "a")):
                self.addresses.append(value)


def text_of(page: Path) -> str:
    """What a page says, without what is in `<pre>` or `<code>`."""
    without = re.sub(r"<(pre|code)\b.*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(re.sub(r"<[^>]*>", "", without))


def code_of(page: Path) -> str:
    """Its code, without the marks for colours."""
    return html.unescape(re.sub(r"<[^>]*>", "", page.read_text(encoding="utf-8")))


def test_a_page_loads_nothing_from_outside_and_runs_nothing(website: Path):
    for page in website.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        for address in Loaded(text).addresses:
            assert address.startswith("data:") or (page.parent / address).is_file(), (page, address)
        assert "<script" not in text
    assert "http" not in (website / "style.css").read_text(encoding="utf-8")


def test_every_page_can_be_found_and_leads_on(website: Path):
    """A page of docs/ that the contents (docs/README.md) do not name is a page that nobody finds."""
    contents = (website / "index.html").read_text(encoding="utf-8")
    for path in DOCS.glob("*.md"):
        if path.name != "README.md":
            assert f'href="{path.stem}.html"' in contents.split("</main>")[0], path.name
            page = (website / path.with_suffix(".html").name).read_text(encoding="utf-8")
            assert 'href="index.html"' in page and 'href="tour.html"' in page
            assert 'rel="next"' in page
    notebook = (website / "repository/notebooks/gpt2_from_scratch.html").read_text(encoding="utf-8")
    assert 'rel="prev" href="../../tour.html"' in notebook and 'rel="next" href="../../mathematics.html"' in notebook


def test_mathematics_is_set_at_build_time(website: Path):
    for name in ("tour", "mathematics"):
        page = website / f"{name}.html"
        assert page.read_text(encoding="utf-8").count("<math") > 10
        assert "$" not in text_of(page) and "\\" not in text_of(page)
    assert {ord(sign) for sign in "√∑"} | {0x1D444} <= set(TTFont(website / "mathematics.woff").getBestCmap())


def test_the_tour_shows_the_source_as_it_is(website: Path):
    links = re.findall(
        r"^\[[^\]]*\]\(\.\./(src/[^#]*)#([\w.]+)\)$", (DOCS / "tour.md").read_text("utf-8"), flags=re.MULTILINE
    )
    shown = code_of(website / "tour.html")
    assert len(links) > 25
    assert (website / "tour.html").read_text(encoding="utf-8").count('<figure class="slice">') == len(links)
    for name, symbol in links:
        assert cut(DOCS.parent / name, symbol).code.strip() in shown, symbol


def test_a_slice_is_the_definition_without_its_docstring(tmp_path: Path):
    file = tmp_path / "example.py"
    file.write_text(
        'LIMIT = 3\n\n\n@final\nclass Thing:\n    """What it is.\n\n    $x$\n    """\n\n    size: int = 1\n\n'
        '    def grow(self):\n        """By one.\n\n        Raises:\n            OSError: never.\n        """\n'
        "        return 2\n",
        encoding="utf-8",
    )
    assert cut(file, "LIMIT").code == "LIMIT = 3"
    assert cut(file, "Thing.size").code == "size: int = 1"
    grow = cut(file, "Thing.grow")
    assert (grow.code, grow.explanation) == ("def grow(self):\n    return 2", "By one.")
    thing = cut(file, "Thing")
    assert thing.code.startswith('@final\nclass Thing:\n    size: int = 1\n\n    def grow(self):\n        """By one.')
    assert (thing.explanation, thing.first_line, thing.last_line) == ("What it is.\n\n$x$", 4, 19)
    for missing in ("Other", "Thing.shrink", "LIMIT.x"):
        with pytest.raises(LookupError, match=missing):
            cut(file, missing)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("[a](missing.md)", "no missing.md"),
        ("[a](../../outside.md)", "no ../../outside.md"),
        ("[a](second.md#nowhere)", "second.md#nowhere names a place that is not there"),
        ("[a](#nowhere)", "#nowhere names a place"),
        ("see [a](../src/tinytale/code.py#gone)", "defines no gone"),
        ("[a](../src/tinytale/code.py#gone)", "defines no gone"),
        ("![a](missing.png)", "no missing.png"),
        ("![a](https://example.org/a.png)", "loaded from outside"),
        (r"$\unheardof{x}$", "formula"),
        (
            "# Title\n\n[a](second.md#a-place-of-its-own) [b](#title) [c](../src/tinytale/code.py#here) <https://example.org>",
            "",
        ),
        ("[a](../src/tinytale/code.py#here)\n\n[b](run.sh)\n\n[c](../src) $x^2$", ""),
    ],
)
def test_what_is_wrong_with_a_page_is_said(page: str, said: str, tmp_path: Path):
    (tmp_path / "outside.md").touch()
    docs, source = tmp_path / "project/docs", tmp_path / "project/src/tinytale"
    docs.mkdir(parents=True)
    source.mkdir(parents=True)
    (source / "code.py").write_text("def here():\n    return 1\n", encoding="utf-8")
    (docs / "run.sh").write_text("true\n", encoding="utf-8")
    (docs / "second.md").write_text("# Second\n\n## A *place* of its `own`\n", encoding="utf-8")
    (docs / "README.md").write_text(f"{page}\n\n## Pages\n\n- [Second](second.md)\n", encoding="utf-8")
    site = Site(docs.parent, docs / "README.md")
    problems = site.build(tmp_path / "out")
    assert len(problems) == (1 if said else 0), problems
    assert said in "".join(problems)


def test_a_word_in_a_formula_stays_one_word():
    assert "<mi>softmax</mi>" in mathml(r"\mathrm{softmax}(x)", display=False)
