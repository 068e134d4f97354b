"""Every command of the README runs, in order, as it stands there."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tinytale.data.builtin import story

SHORTER = {
    "full": ["--samples", "2"],
    "train": ["--max-steps", "2", "--run.evaluate-tokens", "500", "--data.batch-size", "2"],
    "generate": ["--max-new-tokens", "5"],
}
"""What is added to commands with such a word, so that a test does not take minutes."""


def readme_commands(repository: Path) -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", (repository / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines() if line.startswith("python3 run.py ")]
    commands = [shlex.split(line, comments=True)[2:] for line in lines]
    return [command for command in commands if command and command[0] != "test"]


def write_stories(path: Path, indices: range) -> None:
    path.write_text("\n<|endoftext|>\n".join(story(7, i, varied_names=True) for i in indices), encoding="utf-8")


def serve(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Start the server, see that it answers, stop it."""
    process = subprocess.Popen([sys.executable, "-m", "tinytale", *command], cwd=folder, env=environment)
    try:
        for _ in range(600):
            time.sleep(0.1)
            with contextlib.suppress(OSError), urllib.request.urlopen("http://127.0.0.1:8000/") as answer:
                assert answer.status == 200
                break
            assert process.poll() is None, "the server has ended"
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()


@pytest.mark.slow
def test_every_command_of_the_readme_runs(tmp_path: Path, repository: Path):
    stories = tmp_path / "tinystories"
    stories.mkdir()
    write_stories(stories / "train.txt", range(3000))
    write_stories(stories / "valid.txt", range(3000, 3050))
    write_stories(tmp_path / "my-stories.txt", range(4000, 4500))
    commands = readme_commands(repository)
    assert {command[0] for command in commands} >= {"prepare", "train", "evaluate", "generate"}
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    for command in commands:
        if command[0] == "serve":
            serve(command, tmp_path, environment)
            continue
        arguments = [word.replace("$TINYSTORIES", str(stories)) for word in command]
        arguments += [option for word, options in SHORTER.items() if word in command for option in options]
        done = subprocess.run(
            [sys.executable, "-m", "tinytale", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
