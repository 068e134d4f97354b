"""The notebooks run from top to bottom, and the outputs that they are committed with are of the code that they hold."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.slow
def test_the_notebooks_run(repository: Path):
    """All cells, on less data and for fewer steps; each holds its own checks against the package."""
    done = subprocess.run(
        [sys.executable, FOLDER / "execute.py", "--short"],
        env=os.environ | {"PYTHONPATH": str(repository / "src")},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert all(path.name in done.stdout for path in NOTEBOOKS) and NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_outputs_are_of_this_code_and_tell_nothing_of_the_machine(path: Path):
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    assert spec and spec.loader
    execute = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(execute)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["code_sha256"] == execute.code_hash(notebook), (
        f"{path.name} was changed after it was run: .venv/bin/python notebooks/execute.py"
    )
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    said = json.dumps([cell.outputs for cell in code])
    assert not re.search(r"/(home|root|tmp|work|Users)/|Warning|Traceback", said)
    assert path.stat().st_size < 250_000
