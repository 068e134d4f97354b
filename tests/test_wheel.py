"""What the package carries."""

import os
import shutil
import subprocess
import sys
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
    for room in ("model", "addons/quality"):
        shutil.copytree(repository / "src" / "tinytale" / room, tmp_path / "src" / "tinytale" / room)
    shutil.copy(repository / "src" / "tinytale" / "__init__.py", tmp_path / "src" / "tinytale")
    for name in ("small", "other") if shipped else ():
        (tmp_path / "weights" / name / "model").mkdir(parents=True)
        (tmp_path / "weights" / name / "model" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    wheel = build.build_wheel(str(tmp_path / "dist"))
    names = zipfile.ZipFile(tmp_path / "dist" / wheel).namelist()
    assert "tinytale/__init__.py" in names and "tinytale/model/gpt2.py" in names
    assert {f"tinytale/addons/quality/{name}.toml" for name in ("prompts", "rare_names", "right_words")} <= set(names)
    expected = ["tinytale/weights/small/model/config.json"] if shipped else []
    assert [name for name in names if "weights" in name] == expected


def test_what_the_wheel_holds_tells_a_story_and_has_the_page(repository: Path, tmp_path: Path, monkeypatch):
    """Unpacked elsewhere, as pip would, and started from an empty folder: nothing of the checkout helps it."""
    build = pytest.importorskip("hatchling.build")
    monkeypatch.chdir(repository)
    wheel = zipfile.ZipFile(tmp_path / build.build_wheel(str(tmp_path)))
    source = repository / "src" / "tinytale"
    expected = {f"tinytale/{path.relative_to(source).as_posix()}" for path in source.rglob("*") if path.is_file()}
    missing = {name for name in expected - set(wheel.namelist()) if "__pycache__" not in name}
    assert not missing
    assert not {name for name in wheel.namelist() if name.endswith((".pyc", ".so"))}
    wheel.extractall(tmp_path / "site")
    code = (
        "import sys, tinytale; from tinytale.cli import main; assert sys.argv[1] in tinytale.__file__, sys.path;"
        "sys.argv = ['tinytale', *sys.argv[2:]]; main()"
    )
    (tmp_path / "empty").mkdir()
    told = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "site", "generate", "small", "One day", "--max-new-tokens", "5"],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        encoding="utf-8",
    )
    assert told.returncode == 0 and told.stdout.startswith("One day"), told.stderr


def test_the_citation_is_of_this_version_and_names_nobody_else(repository: Path):
    import yaml

    import tinytale

    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["cff-version"], citation["type"], citation["license"]) == ("1.2.0", "software", "MIT")
    assert citation["authors"] == [{"name": "the tinytale authors"}]
    assert str(citation["version"]) == tinytale.__version__
    assert not {"repository-code", "url", "doi"} & set(citation), "no address of the project is known"
