"""What a person is told to type: every command and every option in the source is bound as the command line binds it."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import pytest
from cyclopts import App, CycloptsError

from tinytale import advice, cli
from tinytale.cli import app

SOURCE = Path(advice.__file__).parent
VERBS = {name for name in app if not name.startswith("-")}
SOMETHING = "1"
"""Stands for what a hint fills in: it is read as a name, a path or a number."""

OPTION = re.compile(r"(?<![\w.<!-])--[a-z][\w.-]*\w")
TORCHRUN = re.compile(r"torchrun\b.*?-m tinytale", re.DOTALL)
"""Starts a verb in several processes; its own options are not ours."""
IN_PROSE = re.compile(rf"tinytale ({'|'.join(VERBS)})\b")

PRINTED_BY = {
    "model/published.py": ("export",),
    "cli.py": ("train",),
    "addons/dry_run/": ("train",),
    "addons/judge/": ("evaluate",),
    "addons/figures/": ("report",),
    "addons/interop/gguf_file.py": ("export",),
    "addons/interop/hub_upload.py": ("push",),
    "addons/interop/model_folder.py": ("export", "import"),
    "addons/interop/shipping.py": ("export",),
    "config.py": ("train",),
    "data/": ("prepare",),
    "evaluation/stream.py": ("evaluate",),
    "generation/": ("generate",),
    "recipes.py": ("train",),
    "addons/report/compare_tables.py": ("compare",),
    "addons/serve/": ("serve",),
    "addons/report/comparison.py": ("evaluate",),
    "addons/report/model_card.py": ("train",),
    "training/": ("train",),
}
"""The verbs that print what a file or a folder says, where they are not those that it holds."""
FOR_PROGRAMS = ("advice.py", "addons/study/study.py")
"""Options in these files are for other programs, or for verbs that are started from there."""


def printed_by(name: str) -> set[str]:
    """The verbs that print what this file says: its own, those of PRINTED_BY, or those of its add-on."""

    def held(place: str) -> set[str]:
        return {verb for verb, function in cli.VERBS.items() if function.replace(".", "/").startswith(place)}

    listed = max((place for place in PRINTED_BY if name.startswith(place)), key=len, default="")
    addon = "/".join(name.split("/")[:2]) + "/" if name.startswith("addons/") else "-"
    return held(name.removesuffix(".py") + ":") or {*PRINTED_BY.get(listed, ())} or held(addon)


@pytest.fixture(scope="module")
def sources() -> dict[str, ast.Module]:
    """Every file of the package."""
    paths = sorted(SOURCE.rglob("*.py"))
    return {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def text_of(node: ast.AST) -> str:
    """A string as it is printed, with something where values come in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(map(text_of, node.values))
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else SOMETHING


def is_command(node: ast.AST) -> TypeGuard[ast.Call]:
    """Whether it is a call of `advice.command`."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "command"


def texts(name: str, tree: ast.Module) -> Iterator[str]:
    """The strings of a file, but for what makes a command; of docstrings those that `--help` shows: of commands, and of
    the settings' fields.
    """
    holds_a_verb = name.replace("/", ".").removesuffix(".py") in {held.partition(":")[0] for held in cli.VERBS.values()}
    shown = holds_a_verb or name == "config.py"
    apart: set[ast.AST] = {tree.body[0].value} if isinstance(tree.body[0], ast.Expr) else set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            apart |= {*node.values}
        elif is_command(node):
            apart |= {*node.args}
        elif not shown and isinstance(node, ast.Expr):
            apart.add(node.value)
    for node in ast.walk(tree):
        if node not in apart and (text := text_of(node)) != SOMETHING:
            yield text


def options_of(verb: App) -> set[str]:
    """Every option of a verb, and of what stands below it."""
    below = [verb[name] for name in verb if not name.startswith("-")]
    if below:
        return set().union(*map(options_of, below))
    return {name for argument in verb.assemble_argument_collection() for name in (*argument.names, *argument.negatives)}


def test_every_command_that_a_person_is_told_to_type_is_one(sources: dict[str, ast.Module]):
    calls = [(name, node) for name, tree in sources.items() for node in ast.walk(tree) if is_command(node)]
    assert len(calls) > 15
    for name, call in calls:
        words = [text_of(word) for word in call.args if not isinstance(word, ast.Starred)]
        try:
            app.parse_args(words, print_error=False, exit_on_error=False)
        except CycloptsError as error:
            pytest.fail(f"{name}: tinytale {shlex.join(words)}: {error}")


def test_every_option_that_is_named_is_one_of_the_verb_that_names_it(sources: dict[str, ast.Module]):
    """A card or a report is read elsewhere, by people who have installed tinytale; a hint is for whoever started it."""
    known = {verb: options_of(app[verb]) | {"--help"} for verb in VERBS}
    seen = 0
    for name, tree in sources.items():
        if name in FOR_PROGRAMS:
            continue
        for text in texts(name, tree):
            text = TORCHRUN.sub("", text)
            published = IN_PROSE.findall(text)
            named = [verb for verb in VERBS if re.search(rf"\b{verb}\b", text)]
            assert not published or name.startswith("addons/report/"), f"{name}: {text!r}: make it by advice.command"
            for option in OPTION.findall(text):
                seen += 1
                if any(option in known[verb] for verb in published or named):
                    continue
                verbs = published or printed_by(name)
                assert verbs, f"{name} names {option}; say in PRINTED_BY which verbs print that"
                for verb in verbs:
                    assert option in known[verb], f"{name}: {verb} has no {option}: {text[:200]!r}"
    assert seen > 80


def test_a_command_is_what_this_person_types(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv(advice.STARTED_AS, raising=False)
    assert advice.command("train", Path("datasets/mine"), "--seed", 3) == "tinytale train datasets/mine --seed 3"
    monkeypatch.setenv(advice.STARTED_AS, "python3 run.py")
    assert advice.command("data", "datasets/mine") == "python3 run.py data datasets/mine"


@pytest.mark.parametrize("name", ["two words", "it's", 'a"; touch INJECTED; "', "$HOME", "*"])
@pytest.mark.skipif(sys.platform == "win32", reason="the rules of a POSIX shell")
def test_a_name_reaches_the_command_as_it_is(name: str):
    given = subprocess.run(["sh", "-c", f"printf %s {advice.quoted(name)}"], capture_output=True, text=True, check=True)
    assert given.stdout == name


def test_what_the_hint_for_a_missing_library_says_can_be_run(monkeypatch: pytest.MonkeyPatch, tale):
    """Here all is installed, so that pip has nothing to fetch; it reads the constraints and every requirement."""
    real = importlib.util.find_spec
    monkeypatch.setattr("tinytale.commands.options.find_spec", lambda name: None if name == "granian" else real(name))
    ended = tale("serve")
    assert ended.code == 1 and ended.err.startswith(
        "Error: granian is not installed, which the server needs; install it: "
    )
    hint = shlex.split(ended.err.strip().partition("install it: ")[2])
    assert "-c" in hint and [part.partition(">=")[0] for part in hint[-2:]] == ["fastapi", "granian"]
    done = subprocess.run([*hint, "--dry-run", "--no-index", "--quiet"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_without_pip_it_is_uv_that_installs_and_a_wheel_has_no_constraints(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr(advice, "find_spec", lambda name: None)
    monkeypatch.setattr(advice, "CONSTRAINTS", tmp_path / "constraints.txt")
    uv = f"uv pip install --python {advice.quoted(sys.executable)}"
    assert advice.installation("judge", "openai") == f"{uv} {advice.quoted('openai>=3')}"


def test_tinytale_that_was_never_installed_names_the_missing_library(monkeypatch: pytest.MonkeyPatch):
    def unknown(name: str):
        raise advice.PackageNotFoundError(name)

    monkeypatch.setattr(advice, "requires", unknown)
    assert advice.installation("serve", "granian").endswith(" granian")


def test_nothing_else_says_how_to_install(sources: dict[str, ast.Module]):
    told = [name for name, tree in sources.items() for text in texts(name, tree) if "pip install" in text]
    assert told == []
