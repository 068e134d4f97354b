"""Every command of the README and of the guides runs, in order, as it stands there."""

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

from tinytale.addons.builtin.stories import story

SHORTER = {
    "full": ["--samples", "2"],
    "train": ["--max-steps", "2", "--run.evaluate-tokens", "500", "--data.batch-size", "2"],
    "--recipe": ["--model.layers", "1"],
    "course": ["--model.heads", "2", "--model.width", "16"],
    "generate": ["--max-new-tokens", "5"],
}
"""What is added to commands with such a word, so that a test does not take minutes."""


GUIDES = ("own-text.md", "one-gpu.md")


def shell_lines(page: Path) -> list[str]:
    """What a page tells its reader to type, but for blocks of another kind than `sh`."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def commands_of(page: Path) -> list[list[str]]:
    lines = [line for line in shell_lines(page) if line.startswith("python3 run.py ")]
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


def shortened(command: list[str], stories: Path) -> list[str]:
    """The command with its folder of stories, made quick; of batch and micro-batch only the form counts here."""
    arguments = [word.replace("$TINYSTORIES", str(stories)) for word in command]
    arguments += [option for word, options in SHORTER.items() if word in command for option in options]
    if "--run.start-from" in arguments:  # which decides the shape
        arguments = arguments[: arguments.index("--model.layers")]
    if "--data.micro-batch-size" in arguments:
        arguments[arguments.index("--data.micro-batch-size") + 1] = "1"
    elif "course" in arguments:
        arguments += ["--data.micro-batch-size", "1"]
    return arguments


@pytest.fixture
def material(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder with what the pages suppose to be there: for the README enough of it for its vocabulary."""
    train = 600 if "name" in request.fixturenames else 3000
    stories = tmp_path / "tinystories"
    stories.mkdir()
    write_stories(stories / "train.txt", range(train))
    write_stories(stories / "valid.txt", range(3000, 3050))
    write_stories(tmp_path / "my-stories.txt", range(4000, 4500))
    return tmp_path


@pytest.mark.slow
def test_every_command_of_the_readme_runs(material: Path, repository: Path, monkeypatch, tale):
    """The first of each kind in a process of its own, as from a shell; the others in this one, which is quicker."""
    monkeypatch.chdir(material)
    commands = commands_of(repository / "README.md")
    assert {command[0] for command in commands} >= {"prepare", "train", "evaluate", "generate"}
    environment = os.environ | {"PYTHONPATH": str(repository / "src")}
    seen: set[str] = set()
    for command in commands:
        if command[0] == "serve":
            serve(command, material, environment)
            continue
        words = shortened(command, material / "tinystories")
        if command[0] in seen:
            done = tale(*words)
            code, said = done.code, f"{done.out}\n{done.err}"
        else:
            shell = subprocess.run(
                [sys.executable, "-m", "tinytale", *words], env=environment, capture_output=True, encoding="utf-8"
            )
            code, said = shell.returncode, f"{shell.stdout}\n{shell.stderr}"
        assert code == 0, f"{shlex.join(command)}\n{said}"
        seen.add(command[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_every_command_of_a_guide_runs(name: str, material: Path, repository: Path, monkeypatch, tale):
    """In this process, which is quicker: the README's test has shown that they run from a shell."""
    monkeypatch.chdir(material)
    page = repository / "docs" / name
    commands = commands_of(page)
    assert len(commands) == len(shell_lines(page)) >= 5, "a block of `sh` holds commands that run; others are `console`"
    for command in commands:
        if "full" in command:  # which takes long, and the README's test has run it
            command = command[: command.index("--suite")]
        done = tale(*shortened(command, material / "tinystories"))
        assert done.code == 0, f"{shlex.join(command)}\n{done.out}\n{done.err}"
