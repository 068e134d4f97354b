"""What a `prepare` has finished so far, so that a killed one goes on where it was."""

import json
import os
from pathlib import Path
from typing import Any

from tinytale.errors import TaleError, UsageError
from tinytale.files import write_text

LEDGER_FILE = "ledger.jsonl"


class Ledger:
    """A JSON line for the request, then one for each finished piece, synced before the next begins.

    If the sources have changed since, nothing that was finished counts.

    Raises:
        UsageError: the folder holds finished pieces of a request with other settings.
        TaleError: the disk refuses.
    """

    def __init__(self, folder: Path, request: dict[str, Any]):
        self.path = folder / LEDGER_FILE
        lines = _whole_lines(self.path)
        begun, pieces = (lines[0], lines[1:]) if lines else (request, [])
        if pieces and begun.get("settings") != request["settings"]:
            raise UsageError(
                f"{folder} holds an unfinished dataset of another request; delete the folder, or choose another --out"
            )
        kept = pieces if begun == request else []
        self.pieces: dict[str, dict[str, Any]] = {piece["file"]: piece for piece in kept}
        write_text(self.path, "".join(map(_line, [request, *self.pieces.values()])))

    def find(self, file: str) -> dict[str, Any] | None:
        """What was noted about a file."""
        return self.pieces.get(file)

    def note(self, **piece: Any) -> None:
        """Note that the file named by `piece["file"]` is finished."""
        try:
            with self.path.open("a", encoding="utf-8", newline="\n") as file:
                file.write(_line(piece))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TaleError(
                f"cannot write {self.path}: {error.strerror}; run the same command again to go on"
            ) from error


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value) + "\n"


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a ledger up to the first damaged one, such as one whose writing was cut off."""
    lines: list[dict[str, Any]] = []
    if path.is_file():
        for text in path.read_bytes().splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if not isinstance(line, dict) or (lines and "file" not in line):
                break
            lines.append(line)
    return lines
