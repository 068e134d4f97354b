"""What the package carries."""

import shutil
import zipfile
from pathlib import Path

import pytest


@pytest.mark.parametrize("shipped", [False, True])
def test_the_wheel_carries_the_code_and_the_small_weights_where_there_are_any(
    shipped: bool, repository: Path, tmp_path: Path, monkeypatch
):
    build = pytest.importorskip("hatchling.build")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, tmp_path)
    for room in ("model", "evaluation"):
        shutil.copytree(repository / "src" / "tinytale" / room, tmp_path / "src" / "tinytale" / room)
    shutil.copy(repository / "src" / "tinytale" / "__init__.py", tmp_path / "src" / "tinytale")
    for name in ("small", "other") if shipped else ():
        (tmp_path / "weights" / name / "model").mkdir(parents=True)
        (tmp_path / "weights" / name / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    wheel = build.build_wheel(str(tmp_path / "dist"))
    names = zipfile.ZipFile(tmp_path / "dist" / wheel).namelist()
    assert "tinytale/__init__.py" in names and "tinytale/model/gpt2.py" in names
    assert "tinytale/evaluation/prompts.toml" in names
    expected = ["tinytale/weights/small/model/config.json"] if shipped else []
    assert [name for name in names if "weights" in name] == expected
