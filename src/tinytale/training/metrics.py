"""`metrics.jsonl`: one JSON object a line, for every training step and every evaluation on the dev split."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tinytale.errors import TaleError
from tinytale.files import write_text


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file, oldest first, up to one that was never written so: a crash has cut it short."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            if (entry := _entry(line)) is None:
                return
            yield entry


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
            if not line.endswith(b"\n") or (entry := _entry(line)) is None:
                break
            entries.append(entry)
            end += len(line)
    return entries, end


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) and type(entry.get("step")) is int else None


class MetricsWriter:
    """Appends to a metrics file; on resume it first drops what lies beyond the checkpoint.

    That is every line after `step`, and every evaluation after `evaluated_step`.
    """

    def __init__(self, path: Path, step: int, evaluated_step: int):
        kept = [
            json.dumps(entry) + "\n"
            for entry in read_metrics(path)
            if entry["step"] <= (evaluated_step if "dev_loss" in entry else step)
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

    def __enter__(self) -> "MetricsWriter":
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file. (Every line is on the disk already; one that could not be written fails again here.)"""
        with contextlib.suppress(OSError):
            self._file.close()
