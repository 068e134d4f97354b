#!/usr/bin/env python3
"""Run the notebooks of this folder from top to bottom: `.venv/bin/python notebooks/execute.py`.

What they print and draw is kept in them. With `--short` they run on less data for fewer steps and keep nothing: so do
the tests.

A notebook is committed with its outputs, so that it can be read without being run, and notes the hash of the code that
made them (`code_sha256`): a test finds outputs that are older than their code.
"""

import hashlib
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).resolve().parent
SECONDS = 1200
"""The longest that one cell may take."""


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """SHA-256 of all code cells."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(code).encode()).hexdigest()


def run(path: Path, short: bool) -> nbformat.NotebookNode:
    """The notebook with fresh outputs. A cell that fails raises CellExecutionError, which shows it."""
    notebook = nbformat.read(path, as_version=4)
    os.environ.pop("TINYTALE_SHORT", None)
    if short:
        os.environ["TINYTALE_SHORT"] = "1"
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=SECONDS, coalesce_streams=True, resources=place).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when it ran
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "code_sha256": code_hash(notebook),
    }
    return notebook


def main(arguments: list[str]) -> int:
    """Run all notebooks; keep their outputs unless the run is a short one."""
    short = arguments == ["--short"]
    if arguments and not short:
        print(f"expected --short or nothing, found {' '.join(arguments)}", file=sys.stderr)
        return 2
    for path in sorted(HERE.glob("*.ipynb")):
        notebook = run(path, short)
        if not short:
            nbformat.write(notebook, path)
        print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells ran")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
