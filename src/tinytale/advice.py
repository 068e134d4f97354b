"""What a person is told to type: a command of ours in the form in which it was started, and what installs a library."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

STARTED_AS = "TINYTALE_STARTED_AS"
"""The environment variable in which run.py says how it was started; a person who did so has no `tinytale` to type."""

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
"""The pinned versions; only a source checkout has them."""


def quoted(*words: object) -> str:
    """Words as a command for this system's shell."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if os.name == "nt" else shlex.join(texts)


def program() -> str:
    """What starts tinytale on this person's command line."""
    return os.environ.get(STARTED_AS) or "tinytale"


def command(verb: str, *words: object) -> str:
    """A tinytale command as this person types it, each word quoted for the shell where it has to be."""
    return f"{program()} {quoted(verb, *words)}"


def installation(extra: str, library: str) -> str:
    """The command that installs what an extra of tinytale lists into the Python that runs this.

    The libraries are named one by one, since tinytale itself is in no package index. uv makes environments without pip;
    there, it is uv that installs.

    Args:
        extra: a name below `project.optional-dependencies` in pyproject.toml.
        library: the one that is missing, in case tinytale runs from its source without being installed.
    """
    try:
        listed = requires("tinytale") or []
    except PackageNotFoundError:
        listed = []
    marked = [line.partition(";")[0].strip() for line in listed if re.search(rf"extra == ['\"]{extra}['\"]", line)]
    uv = ["uv", "pip", "install", "--python", sys.executable]
    pip = [sys.executable, "-m", "pip", "install"] if find_spec("pip") else uv
    constraints = ["-c", CONSTRAINTS] if CONSTRAINTS.is_file() else []
    return quoted(*pip, *constraints, *(marked or [library]))
