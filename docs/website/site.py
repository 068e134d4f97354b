"""The whole site: from the contents on, every file that a page links is brought in, and every link is checked."""

import html
import posixpath
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from website.font import signs, write_font
from website.pages import Page, page_of
from website.slices import cut

HERE = Path(__file__).parent

ADDRESS = re.compile(r'\b(href|src|srcset)="([^"]*)"')
IDENTITY = re.compile(r'\bid="([^"]*)"')
ELSEWHERE = re.compile(r"(https?|mailto|data):")

FIXED = {"style": HERE / "style.css", "icon": HERE.parents[1] / "src/tinytale/serve/web/icon.svg"}
"""What every page uses, by its name in the template."""


@dataclass(frozen=True)
class Section:
    """A heading of the contents, and the pages below it."""

    title: str
    pages: list[tuple[str, Path]]


class Site:
    """A site of the pages that `contents` lists, and of all that these link to.

    Args:
        root: the repository; a link that leaves it is broken.
        contents: the first page, a Markdown file. Its headings of the second level and the links of the lists below
            them are the site's navigation.
    """

    def __init__(self, root: Path, contents: Path):
        self.root, self.contents, self.home = root.resolve(), contents.resolve(), contents.resolve().parent
        self.pages: dict[Path, Page] = {}
        self.copied: set[Path] = set()
        self.problems: list[str] = []
        self.bodies: dict[Path, str] = {}
        self.wanted: list[tuple[Path, Path, str, str]] = []
        """Links to places within a page: from, to, the place, and the link as it was written."""

    def build(self, out: Path) -> list[str]:
        """Write the site and return what is wrong with it, a line each: nothing, if all is well."""
        shutil.rmtree(out, ignore_errors=True)
        ahead = [self.contents]
        while ahead:
            path = ahead.pop()
            if path in self.bodies or path in self.copied:
                continue
            try:
                page = page_of(path, self.root)
            except ValueError as error:
                self.problems.append(f"{self._name(path)}: {error}")
                continue
            if page is None:
                self.copied.add(path)
            else:
                self.pages[path] = page
                linked: set[Path] = set()
                self.bodies[path] = ADDRESS.sub(
                    lambda found, p=path, into=linked: self._link(p, found, into), page.body
                )
                ahead += sorted(linked)
        self._check_places()
        self._write(out)
        return sorted(set(self.problems))

    def address(self, path: Path) -> PurePosixPath:
        """Where a file of the repository is on the site; from outside the contents' folder it goes to `repository/`."""
        inside = path.is_relative_to(self.home)
        place = PurePosixPath(
            path.relative_to(self.home) if inside else Path("repository") / path.relative_to(self.root)
        )
        if path == self.contents:
            return PurePosixPath("index.html")
        if path.is_dir():
            return place / "index.html"
        if path not in self.pages and path in self.copied:
            return place
        return place.with_suffix(".html") if path.suffix in (".md", ".ipynb") else place.with_name(place.name + ".html")

    def _link(self, page: Path, found: re.Match[str], linked: set[Path]) -> str:
        """One address of a page, noted, and marked for its final form; what is outside the site stays as it is."""
        attribute, written = found[1], html.unescape(found[2])
        if ELSEWHERE.match(written):
            if attribute != "href" and not written.startswith("data:"):
                self.problems.append(f"{self._name(page)}: {written} would be loaded from outside")
            return found[0]
        name, _, place = written.partition("#")
        folder = page if page.is_dir() else page.parent
        target = (folder / unquote(name)).resolve() if name else page
        if not target.exists() or not target.is_relative_to(self.root):
            self.problems.append(f"{self._name(page)}: there is no {written}")
            return found[0]
        if place and target.suffix == ".py":
            try:
                place = f"L-{cut(target, place).first_line}"
            except LookupError as error:
                self.problems.append(f"{self._name(page)}: {written}: {error}")
                place = ""
        linked.add(target)
        if place:
            self.wanted.append((page, target, place, written))
        return f'{attribute}="\0{target}\0{"#" + place if place else ""}"'

    def _check_places(self) -> None:
        places = {path: set(IDENTITY.findall(body)) for path, body in self.bodies.items()}
        for page, target, place, written in self.wanted:
            if target in places and place not in places[target]:
                self.problems.append(f"{self._name(page)}: {written} names a place that is not there")

    def _write(self, out: Path) -> None:
        out.mkdir(parents=True, exist_ok=True)
        environment = Environment(loader=FileSystemLoader(HERE), undefined=StrictUndefined, autoescape=False)
        template = environment.get_template("page.html")
        sections = self._sections()
        order = [path for section in sections for _, path in section.pages]
        for path, page in self.pages.items():
            target = out / self.address(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(template.render(self._shown(path, page, sections, order)), encoding="utf-8")
        for path in self.copied:
            target = out / self.address(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        if used := signs(self.bodies.values()):
            write_font(out / "mathematics.woff", used)
        for path in FIXED.values():
            shutil.copyfile(path, out / path.name)

    def _shown(self, path: Path, page: Page, sections: list[Section], order: list[Path]) -> dict[str, Any]:
        """What the template needs for one page."""
        here = order.index(path) if path in order else None
        around = (
            order[here - 1] if here else None,
            order[here + 1] if here is not None and here + 1 < len(order) else None,
        )
        previous, following = (near and {"title": self._title(near), "href": self._way(path, near)} for near in around)
        return {
            "title": page.title,
            "headings": page.headings,
            "body": re.sub("\0(.*?)\0", lambda found: self._way(path, Path(found[1])), self.bodies[path]),
            "home": self._way(path, self.contents),
            **{name: _relative(PurePosixPath(fixed.name), self.address(path)) for name, fixed in FIXED.items()},
            "is_home": path == self.contents,
            "sections": [
                {
                    "title": section.title,
                    "pages": [
                        {"title": title, "href": self._way(path, target), "here": target == path}
                        for title, target in section.pages
                    ],
                }
                for section in sections
            ],
            "previous": previous,
            "following": following,
        }

    def _sections(self) -> list[Section]:
        """The navigation, as the contents page lists it."""
        return [
            Section(title, [(text, target) for text, target in links if target in self.pages])
            for title, links in self._lists()
        ]

    def _lists(self) -> Iterator[tuple[str, list[tuple[str, Path]]]]:
        for part in self.bodies.get(self.contents, "").split("<h2")[1:]:
            title = re.sub("<[^>]*>", "", part[part.index(">") + 1 : part.index("</h2>")]).removesuffix("#").strip()
            items = re.findall(r'<li>\s*(?:<p>)?<a href="\0(.*?)\0[^"]*">(.*?)</a>', part)
            if items:
                yield title, [(text, Path(target)) for target, text in items]

    def _title(self, path: Path) -> str:
        return next(text for section in self._sections() for text, target in section.pages if target == path)

    def _way(self, start: Path, target: Path) -> str:
        """The relative address of a file, as seen from the page of another."""
        return html.escape(_relative(self.address(target), self.address(start)))

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _relative(target: PurePosixPath, page: PurePosixPath) -> str:
    return posixpath.relpath(target, page.parent)
