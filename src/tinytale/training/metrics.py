"""`metrics.jsonl`: one JSON object a line, for every training step and every evaluation on the dev split."""

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinytale.errors import TaleError
from tinytale.files import write_bytes, write_text


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file, oldest first; one that is damaged, or that a crash has cut short, is left out."""
    return (entry for entry in _entries(path) if entry is not None)


def _entries(path: Path) -> Iterator[dict[str, Any] | None]:
    """Every line; None for one that was never written so."""
    if path.is_file():
        with path.open("rb") as file:
            yield from map(_entry, file)


def missing_steps(path: Path, until: int) -> str:
    """The steps up to one that no line of a metrics file tells of, in words; empty if there are none."""
    there = {entry["step"] for entry in read_metrics(path) if "loss" in entry}
    missing = [step for step in range(1, until + 1) if step not in there]
    return f"{len(missing):,} of its {until:,} steps, from step {missing[0]:,} on" if missing else ""


def last_with(entries: Sequence[dict[str, Any]], field: str, until: int | None = None) -> int | None:
    """The place of the last entry, or the last until a place, that has a field; None if none has it."""
    last = len(entries) - 1 if until is None else until
    return next((place for place in range(last, -1, -1) if entries[place].get(field) is not None), None)


def last_value(entries: Sequence[dict[str, Any]], field: str, until: int | None = None) -> Any:
    """What that entry has there; 0 if none has it."""
    place = last_with(entries, field, until)
    return 0 if place is None else entries[place][field]


def best_look(entries: Sequence[dict[str, Any]]) -> int | None:
    """The place of the evaluation whose weights were kept; None if there is none."""
    looks = [
        place
        for place, entry in enumerate(entries)
        if entry.get("dev_loss") is not None and entry.get("may_be_best") is not False
    ]
    return min(looks, key=lambda place: entries[place]["dev_loss"], default=None)


def read_new_metrics(path: Path, start: int) -> tuple[list[dict[str, Any]], int]:
    """The whole lines from byte `start` on, and where to go on reading; for who follows a run while it writes.

    Where no line begins at `start` the file is another one than before, and nothing is read: go on from 0.
    """
    if not path.is_file() or path.stat().st_size < start:
        return [], 0
    with path.open("rb") as file:
        file.seek(max(0, start - 1))
        if start > 0 and file.read(1) != b"\n":
            return [], 0
        entries, end = [], max(0, start)
        for line in file:
            if not line.endswith(b"\n"):
                break
            if (entry := _entry(line)) is not None:
                entries.append(entry)
            end += len(line)
    return entries, end


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        text = line.decode("utf-8", errors="replace")
        entry = json.loads(text)
        if "\\ud" in text.lower():  # perhaps half a pair: nothing that could be shown, or sent on
            entry = json.loads(json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and type(entry.get("step")) is int else None


class MetricsWriter:
    """Appends to a metrics file; on resume it first drops what lies beyond the checkpoint.

    That is every line after `step`, and every evaluation after `evaluated_step`. Of a file with damaged lines in its
    midst it keeps the others, and a copy of the whole as it was.
    """

    def __init__(self, path: Path, step: int, evaluated_step: int):
        entries = list(_entries(path))
        self.damaged = [number for number, entry in enumerate(entries[:-1], start=1) if entry is None]
        """Numbers of lines that could not be read; not the last one, which a crash may cut short."""
        self.set_aside = path.with_name(f"damaged-{path.name}")
        """Where the file lies as it was, if lines were damaged."""
        if self.damaged:
            write_bytes(self.set_aside, path.read_bytes())
        kept = [
            json.dumps(entry) + "\n"
            for entry in entries
            if entry and entry["step"] <= (evaluated_step if "dev_loss" in entry else step)
        ]
        write_text(path, "".join(kept))
        try:
            self._file = path.open("a", encoding="utf-8", newline="\n", buffering=1)
        except OSError as error:
            raise TaleError(f"cannot write {path}: {error.strerror}") from error

    def write(self, entry: dict[str, Any]) -> None:
        """Add one line.

        Raises:
            TaleError: the disk refuses.
        """
        try:
            self._file.write(json.dumps(entry) + "\n")
        except OSError as error:
            raise TaleError(f"cannot write {self._file.name}: {error.strerror}") from error

    def sync(self) -> None:
        """See that all lines survive a power cut.

        Raises:
            TaleError: the disk refuses.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise TaleError(f"cannot write {self._file.name}: {error.strerror}") from error

    def __enter__(self) -> "MetricsWriter":
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file. (Every line is on the disk already; one that could not be written fails again here.)"""
        with contextlib.suppress(OSError):
            self._file.close()
