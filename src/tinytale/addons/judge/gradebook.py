"""Grades that were given once are not asked for again."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tinytale.addons.judge.rubric import CRITERIA, RUBRIC, Grades, are_grades
from tinytale.errors import TaleError


class GradeBook:
    """A file of one JSON object a line, written as the grades come; a line that was cut short is passed over.

    A text is known by the hash of it, the rubric, the server and the model; the file holds no text.
    """

    def __init__(self, path: Path, url: str, model: str):
        self.path = path
        self._judge = (RUBRIC, url, model)
        self._grades: dict[str, Grades] = {}
        self._options: dict[str, list[str]] = {}
        content = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        for line in content.split("\n"):
            try:
                entry = json.loads(line)
                if are_grades(entry["grades"]):
                    self._grades[entry["text"]] = {criterion: entry["grades"][criterion] for criterion in CRITERIA}
                    if "options" in entry:  # older lines have none
                        self._options[entry["text"]] = [str(option) for option in entry["options"]]
            except (ValueError, RecursionError, KeyError, TypeError):
                continue
        self._new_line = "" if content.endswith("\n") or not content else "\n"

    def __getitem__(self, text: str) -> Grades | None:
        return self._grades.get(self._name(text))

    def asked_with(self, texts: Iterable[str]) -> list[str] | None:
        """The options that every one of these texts was asked with; None if that is known of no text."""
        options = [set(self._options[name]) for name in map(self._name, texts) if name in self._options]
        return sorted(set.intersection(*options)) if options else None

    def write(self, text: str, grades: Grades, options: Sequence[str]) -> None:
        """Keep the grades of a text, and the names of the options that it was asked with.

        Raises:
            TaleError: the disk refuses.
        """
        name = self._name(text)
        self._grades[name], self._options[name] = grades, list(options)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(
                    self._new_line + json.dumps({"text": name, "grades": grades, "options": list(options)}) + "\n"
                )
        except OSError as error:
            raise TaleError(f"cannot write {self.path}: {error.strerror}") from error
        self._new_line = ""

    def _name(self, text: str) -> str:
        parts = json.dumps([*self._judge, text])
        return hashlib.sha256(parts.encode()).hexdigest()
