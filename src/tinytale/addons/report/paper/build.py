"""From folders to a finished report."""

from pathlib import Path
from typing import Literal

from tinytale.addons.report.contender import distinct_names
from tinytale.addons.report.paper.chapters.room import ROOMS, Room
from tinytale.addons.report.paper.compose import compose
from tinytale.addons.report.paper.html import html_of
from tinytale.addons.report.paper.material import Material, Results, RunMaterial
from tinytale.addons.report.paper.parts import Document
from tinytale.addons.report.paper.typeset import fitting
from tinytale.errors import TaleError

Format = Literal["pdf", "html"]


def gather(folders: list[Path], results: Path | None) -> Material:
    """The files of some runs, the subject first, and of a folder of results.

    Raises:
        UsageError: a folder is not a run, has no weights, or is named twice.
    """
    names = distinct_names(folders)
    runs = [RunMaterial.read(folder, name) for folder, name in zip(folders, names, strict=True)]
    return Material(tuple(runs), Results(results))


def build(material: Material, kind: Format, author: str = "") -> tuple[Document, bytes]:
    """The report and its file: as PDF as much as fits its pages, as a page all of it.

    Raises:
        TaleError: a file of the material is damaged.
    """

    def composed(room: Room) -> Document:
        try:
            return compose(material, room, author)
        except TaleError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            read = ", ".join(str(source.path) for source in material.sources())
            raise TaleError(f"one of these files is not as tinytale writes it ({error!r}): {read}") from error

    if kind == "pdf":
        return fitting(composed)
    document = composed(ROOMS[0])
    return document, html_of(document).encode()
