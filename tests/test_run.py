"""run.py's decisions, with nothing installed: which torch, when .venv is stale, what it says when it cannot go on."""

import ast
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tinytale import advice

RUN_PY = Path(__file__).parents[1] / "run.py"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py as a module, its root moved to an empty folder with what .venv is made from."""
    spec = importlib.util.spec_from_file_location("run_py", RUN_PY)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("pyproject.toml", "constraints.txt", "run.py"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    for name, path in {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / "bin/python",
        "TINYTALE": venv / "bin/tinytale",
        "LOG": venv / "install.log",
        "STAMP": venv / "stamp",
        "SHIPPED": tmp_path / "weights/small",
    }.items():
        monkeypatch.setattr(module, name, path)
    return module


@pytest.fixture
def steps(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the steps that an installation would take; taking them leaves a Python in .venv."""
    taken: list[str] = []

    def step(title: str, *command: str) -> None:
        assert not run.STAMP.exists(), "a stamp stands while pip is at work"
        run.PYTHON.parent.mkdir(exist_ok=True)
        run.PYTHON.touch()
        taken.append(title)

    monkeypatch.setattr(run, "step", step)
    return taken


def test_any_python_3_can_read_it() -> None:
    """Python 3.6 and 3.8 must reach the line about versions: nothing at module level may need a newer one."""
    source = RUN_PY.read_text(encoding="utf-8")
    for minor in (6, 8):
        ast.parse(source, feature_version=(3, minor))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            annotations = [node.returns, *(argument.annotation for argument in arguments if argument)]
            assert not any(isinstance(note, ast.Subscript | ast.BinOp) for note in annotations), (
                f"{node.name}: Python 3.8 evaluates this annotation; quote it"
            )


@pytest.mark.parametrize(
    ("version", "refused"), [((3, 8, 18), True), ((3, 10, 9), True), ((3, 11, 0), False), ((4, 0, 0), False)]
)
def test_an_old_python_gets_one_line(run: ModuleType, version: tuple[int, ...], refused: bool) -> None:
    line = run.too_old(version)
    assert bool(line) == refused
    assert "\n" not in line
    assert not refused or ("3.11" in line and f"{version[0]}.{version[1]}" in line)


def test_an_old_python_installs_nothing(run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.sys, "version_info", (3, 8, 18))
    with pytest.raises(SystemExit, match=r"this is 3\.8"):
        run.main()
    assert steps == []


@pytest.mark.parametrize(
    ("environment", "platform", "nvidia", "index"),
    [
        (
            {"TINYTALE_TORCH_INDEX": "https://torch.test", "PIP_FIND_LINKS": "wheels"},
            "linux",
            True,
            "https://torch.test",
        ),
        ({"PIP_FIND_LINKS": "wheels"}, "linux", False, ""),
        ({}, "linux", True, ""),
        ({}, "linux", False, "https://download.pytorch.org/whl/cpu"),
        ({"TINYTALE_TORCH_INDEX": "", "PIP_FIND_LINKS": ""}, "linux", False, "https://download.pytorch.org/whl/cpu"),
        ({}, "darwin", False, ""),
        ({}, "win32", False, ""),
    ],
)
def test_where_torch_comes_from(
    run: ModuleType, environment: dict[str, str], platform: str, nvidia: bool, index: str
) -> None:
    assert run.torch_index(environment, platform, nvidia) == index


def test_only_torch_and_only_the_persons_own_index_leave_the_default(run: ModuleType) -> None:
    def options(index: str) -> list[str]:
        calls = {**run.pip_calls("core", index), **run.pip_calls("dev", index)}
        return [title for title, arguments in calls.items() if index in arguments]

    assert options(run.CPU_INDEX) == ["torch"]
    assert options("https://torch.test") == ["torch", "the package and its libraries", "what the tests need"]
    assert run.pip_calls("core", "")["torch"] == ["--no-deps", "torch"]


def test_readme_tells_users_of_uv_to_install_what_run_py_installs(run: ModuleType) -> None:
    readme = (RUN_PY.parent / "README.md").read_text(encoding="utf-8")
    ours = run.pip_calls("core", "")["the package and its libraries"][-1]
    (theirs,) = re.findall(r"uv pip install -c constraints.txt -e '(\S+)'", readme)
    assert sorted(re.findall(r"\w+", theirs)) == sorted(re.findall(r"\w+", ours))


def test_torch_and_everything_declared_is_pinned_once() -> None:
    lines = (RUN_PY.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==")[0].lower().replace("_", "-") for line in lines if not line.startswith("#")]
    assert len(pins) == len(set(pins))
    assert all("==" in line and "+" not in line for line in lines if not line.startswith("#"))

    project = tomllib.loads((RUN_PY.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    names = {one.partition(">=")[0].partition("[")[0].lower().replace("_", "-") for one in wanted}
    assert names - set(pins) == set()


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt", "run.py"])
def test_a_change_in_what_it_is_made_from_makes_it_anew(run: ModuleType, steps: list[str], name: str) -> None:
    run.install("core")
    first = len(steps)
    run.install("core")
    assert len(steps) == first > 3
    (run.ROOT / name).write_text("changed", encoding="utf-8")
    run.install("core")
    assert len(steps) == 2 * first


def test_the_tests_need_one_stage_more_and_no_new_start(run: ModuleType, steps: list[str]) -> None:
    run.install("core")
    before = len(steps)
    run.install("core", "dev")
    assert steps[before:] == ["what the tests need"]
    run.install("core")
    assert len(steps) == before + 1


@pytest.mark.parametrize("lost", ["stamp", "bin/python"])
def test_a_venv_that_lost_a_part_is_made_anew(run: ModuleType, steps: list[str], lost: str) -> None:
    run.install("core")
    first = list(steps)
    (run.VENV / lost).unlink()
    run.install("core")
    assert steps == first * 2


def test_a_failed_stage_leaves_nothing_to_trust(
    run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.install("core")
    first = list(steps)

    def fail(title: str, *command: str) -> None:
        sys.exit("no")

    with monkeypatch.context() as patch:
        patch.setattr(run, "step", fail)
        with pytest.raises(SystemExit):
            run.install("core", "dev")
    run.install("core")
    assert steps == first * 2


def test_a_venv_that_was_half_cleared_away_is_not_trusted(
    run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run.install("core")
    first = list(steps)
    before = (run.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (run.ROOT / "pyproject.toml").write_text("changed", encoding="utf-8")

    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.install("core")
    (run.ROOT / "pyproject.toml").write_text(before, encoding="utf-8")
    run.install("core")
    assert steps == first * 2


def put_into_venv(run: ModuleType, *names: str, requested: bool = True) -> None:
    """Leave what pip leaves there of packages that were asked for by name, or came with others."""
    for name in names:
        folder = run.VENV / "lib/python3.11/site-packages" / f"{name}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / ("REQUESTED" if requested else "METADATA")).touch()


def test_what_a_person_has_installed_is_named_before_it_goes(
    run: ModuleType, steps: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (run.ROOT / "constraints.txt").write_text("torch==2.13.0\nmarkdown-it-py==4.0\n", encoding="utf-8")
    put_into_venv(run, "jupyterlab", "My_Package", "torch", "markdown_it_py", "tinytale", "pip")
    put_into_venv(run, "numpy", requested=False)
    monkeypatch.setattr(run.sys, "stdin", io.StringIO())  # no terminal
    run.install("core")
    said = capsys.readouterr().err
    assert "holds what you installed: jupyterlab, my-package\n" in said
    assert f"{run.PYTHON} -m pip install -c constraints.txt jupyterlab my-package\n" in said
    assert said.index("you installed") < said.index("clearing away") and not run.strangers()


@pytest.mark.parametrize(("answer", "cleared"), [("y\n", True), ("n\n", False), ("\n", False), ("", False)])
def test_at_a_terminal_nothing_of_a_person_goes_unasked(
    run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch, answer: str, cleared: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    put_into_venv(run, "jupyterlab")
    monkeypatch.setattr(run.sys, "stdin", Terminal(answer))
    if cleared:
        run.install("core")
    else:
        with pytest.raises(SystemExit, match="is as it was"):
            run.install("core")
    assert bool(run.strangers()) is not cleared and bool(steps) is cleared


def test_without_ensurepip_and_uv_it_says_what_to_install(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    monkeypatch.setattr(run.shutil, "which", lambda name: None)
    (run.VENV / "kept").touch()
    with pytest.raises(SystemExit, match="apt install python3-venv"):
        run.install("core")
    assert (run.VENV / "kept").exists()


def test_without_ensurepip_uv_makes_the_environment(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, ...]] = []
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    monkeypatch.setattr(run.shutil, "which", lambda name: "/somewhere/uv")
    monkeypatch.setattr(run, "step", lambda title, *command: made.append(command))
    run.make_venv()
    assert made[0][:3] == ("/somewhere/uv", "venv", "--seed")


@pytest.mark.parametrize(
    ("output", "advice"),
    [
        ("WARNING: Retrying (Retry(total=4)): /simple/torch\n(constraint) torch==2.13.0", "No network"),
        ("OSError: [Errno 28] No space left on device", "The disk is full"),
        ("The user requested (constraint) torch==2.13.0", "The index has no such torch"),
        ("something else", "The installation failed"),
    ],
)
def test_a_failed_step_shows_the_end_of_the_log_and_one_advice(
    run: ModuleType, capfd: pytest.CaptureFixture[str], output: str, advice: str
) -> None:
    run.LOG.write_text("Retrying ( in an earlier step\n", encoding="utf-8")
    with pytest.raises(SystemExit) as left:
        run.step("torch", sys.executable, "-c", f"print({output!r}); raise SystemExit(1)")
    assert str(left.value).startswith(advice)
    assert "\n" not in str(left.value)
    shown = capfd.readouterr()
    assert output.splitlines()[-1] in shown.err
    assert shown.out == ""


def write_tinytale(run: ModuleType, body: str) -> None:
    """A stand-in for the command line that notes its arguments."""
    head = f"#!{sys.executable}\nimport json, sys\n"
    note = "with open('calls', 'a') as calls: print(json.dumps(sys.argv[1:]), file=calls)\n"
    run.TINYTALE.write_text(head + note + body, encoding="utf-8")
    run.TINYTALE.chmod(0o755)


posix = pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with a #! line")


@posix
def test_the_main_job_goes_from_text_to_stories(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.ROOT)
    write_tinytale(run, "")

    def verbs() -> list[str]:
        calls = [json.loads(line) for line in Path("calls").read_text(encoding="utf-8").splitlines()]
        Path("calls").unlink()
        return [" ".join(call) for call in calls]

    assert run.main_job() == 0
    first = [
        "prepare builtin --stories 7000 --vocab-size 2048 --out datasets/builtin",
        "train datasets/builtin --recipe pocket --out runs/pocket",
        "evaluate runs/pocket",
        "generate runs/pocket --samples 3",
    ]
    assert verbs() == first
    assert "weights/small" not in capfd.readouterr().out

    Path("runs/pocket").mkdir(parents=True)
    run.SHIPPED.mkdir(parents=True)
    assert run.main_job() == 0
    assert verbs() == [first[0], first[1] + " --resume", *first[2:], "generate weights/small"]
    shown = capfd.readouterr().out
    for what in ("TINYSTORIES/train.txt", "prepare my-stories", 'generate weights/small "Once upon a time"'):
        assert what in shown.partition("What to type next")[2]


def test_commands_know_how_they_were_started_and_checks_do_not(
    run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run.STARTED_AS == advice.STARTED_AS
    monkeypatch.setenv(run.STARTED_AS, "")  # so that it is put back
    monkeypatch.delenv(run.STARTED_AS)
    seen = []
    monkeypatch.setattr(run, "run", lambda *command: seen.append(os.environ.get(run.STARTED_AS)) or 0)
    monkeypatch.setattr(run.os, "execv", lambda *command: seen.append(os.environ.get(run.STARTED_AS)))
    monkeypatch.chdir(run.ROOT)
    monkeypatch.setattr(run.sys, "argv", ["../my clone/run.py", "doctor"])
    run.main("test", "tests/data")
    run.main("docs")
    run.main("doctor")
    run.main()
    assert seen[:3] == [None, None, f"{run.RUN.split()[0]} '../my clone/run.py'"]
    assert set(seen[3:]) == {run.RUN} and len(seen) == 7


@posix
def test_help_tells_of_what_only_run_py_does(
    run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run.os, "execv", lambda *command: None)
    monkeypatch.setenv(run.STARTED_AS, "")
    run.main("--help")
    said = capsys.readouterr().out
    assert all(f"python3 run.py {what} " in said for what in ("test", "docs")) and '"""' not in said


@pytest.mark.parametrize(("verb", "stage"), [("test", "what the tests need"), ("docs", "what the site needs")])
def test_a_stage_comes_with_what_needs_it(
    run: ModuleType, steps: list[str], monkeypatch: pytest.MonkeyPatch, verb: str, stage: str
) -> None:
    begun: list[tuple] = []
    monkeypatch.setattr(run, "run", lambda *command: begun.append(command) or 0)
    monkeypatch.chdir(run.ROOT)
    assert run.main(verb, "somewhere") == 0
    assert steps[-1] == stage and begun[0][0] == run.PYTHON and begun[0][-1] == "somewhere"


@posix
def test_a_step_that_fails_ends_the_main_job_with_its_exit_code(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.ROOT)
    write_tinytale(run, "sys.exit(5 if sys.argv[1] == 'train' else 0)\n")
    assert run.main_job() == 5
    assert len(Path("calls").read_text(encoding="utf-8").splitlines()) == 2
    assert "What to type next" not in capfd.readouterr().out


@posix
def test_ctrl_c_waits_for_the_command_to_save_its_work() -> None:
    """A program that is told of Ctrl-C takes a while to leave; run.py must neither kill it nor go on without it."""
    wait = "try: print('ready', flush=True); time.sleep(60)\nexcept KeyboardInterrupt: time.sleep(0.7); print('saved')"
    child = ["-c", "import time\n" + wait]
    program = f"import run, sys; run.run(sys.executable, *{child}); print('went on')"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, start_new_session=True, cwd=RUN_PY.parent
    )
    with process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    assert rest == "saved\n"
    assert process.returncode == 130


@posix
def test_sigterm_is_passed_on(run: ModuleType) -> None:
    def send() -> None:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    threading.Thread(target=send).start()
    try:
        with pytest.raises(SystemExit) as left:
            run.run(sys.executable, "-c", "import time; time.sleep(5); raise SystemExit(9)")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert left.value.code == 128 + signal.SIGTERM


@pytest.fixture
def parts(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that `test` runs; those that name pyright fail with 3."""
    commands: list[str] = []

    def note(*command: object) -> int:
        commands.append(" ".join(str(part) for part in command[2:]))
        return 3 if "pyright" in commands[-1] else 0

    monkeypatch.setattr(run, "run", note)
    return commands


def test_all_parts_of_the_checks_run_and_one_failure_counts(
    run: ModuleType, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run.test("--peers", "--full") == 3
    assert [part.split()[0] for part in parts] == ["ruff", "ruff", "pyright", "pytest"]
    assert parts[-1] == "pytest --peers --full"
    summary = capsys.readouterr().out.partition("== summary")[2].split("\n")[1:5]
    assert ["passed" in line for line in summary] == [True, True, False, True]


def test_tests_share_the_cores_but_for_those_that_are_timed(run: ModuleType, parts: list[str]) -> None:
    run.test()
    assert parts[-2].startswith("pytest -m not timed --numprocesses=auto ") and parts[-1] == "pytest -m timed"


def test_with_arguments_pytest_runs_alone(run: ModuleType, parts: list[str]) -> None:
    assert run.test("--peers", "tests/data", "-x") == 0
    assert parts == ["pytest --peers tests/data -x"]
