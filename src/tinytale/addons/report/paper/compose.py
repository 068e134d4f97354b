"""The report as a document: chapters in their order, and the references that they make."""

import tomllib
from pathlib import Path

from tinytale.addons.report.paper.chapters.dataset import dataset
from tinytale.addons.report.paper.chapters.discussion import discussion
from tinytale.addons.report.paper.chapters.implementation import implementation
from tinytale.addons.report.paper.chapters.results import results
from tinytale.addons.report.paper.chapters.room import Room
from tinytale.addons.report.paper.chapters.stories import stories
from tinytale.addons.report.paper.chapters.summary import summary, title
from tinytale.addons.report.paper.chapters.training import training
from tinytale.addons.report.paper.material import Material
from tinytale.addons.report.paper.parts import Document, Reference, pointers, texts_of
from tinytale.addons.report.paper.text import say

REFERENCES = Path(__file__).with_name("references.toml")


def compose(material: Material, room: Room, author: str = "") -> Document:
    """Everything that the material allows, as far as there is room.

    Raises:
        TaleError: a file of the material is damaged.
    """
    chapters = (
        implementation(material, room),
        dataset(material),
        training(material.subject),
        results(material),
        stories(material, room),
        discussion(material),
    )
    sections = tuple(chapter for chapter in chapters if chapter and chapter.parts)
    works = {name: say(text) for name, text in tomllib.loads(REFERENCES.read_text(encoding="utf-8")).items()}
    abstract = summary(material)
    texts = [abstract, *(text for section in sections for part in section.parts for text in texts_of(part))]
    named = dict.fromkeys(target for text in texts for target in pointers(text) if ":" not in target)
    document = Document(
        title(material), author, abstract, sections, tuple(Reference(name, works[name]) for name in named)
    )
    known = document.numbered()
    missing = {target for text in texts for target in pointers(text)} - known.keys()
    assert not missing, f"the text points to {missing}, which is not there"
    return document
