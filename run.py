#!/usr/bin/env python3
"""tinytale from a bare clone: make .venv, install into it, run a command there.

    python3 run.py                    the main job: a GPT-2 learns to tell stories, from nothing to its first samples
    python3 run.py test               all checks: ruff, pyright, every test (--peers: against other programs too;
                                      --full: faults, and abuse of the server, in full numbers)
    python3 run.py test core          the tests of the core alone: for whoever changes the model
    python3 run.py test ARGUMENT ...  pytest alone, with these arguments
    python3 run.py docs               the site of all pages, in docs/_site; docs FOLDER puts it there
    python3 run.py bench ...          measure side by side with other programs (tools/bench)
    python3 run.py COMMAND ...        any tinytale command (--help lists them)

.venv is made anew when Python, pyproject.toml, constraints.txt or this file is another one. What you have installed
into it yourself is named first, with the command that brings it back; a terminal is asked.

Where torch comes from is settled when .venv is made (delete .venv to settle it anew), by the first that applies:
the index that TINYTALE_TORCH_INDEX names; pip as it is set up, if PIP_FIND_LINKS is set; PyTorch's CPU index, on Linux
without an NVIDIA driver; pip as it is set up.

Standard library only. Any Python 3 can read this file, so that one that is too old says so.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

WINDOWS = os.name == "nt"
STARTED_AS = "TINYTALE_STARTED_AS"  # tells the commands what a person types who has no `tinytale` on the path
RUN = "py run.py" if WINDOWS else "python3 run.py"
ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if WINDOWS else "bin/python")
TINYTALE = VENV / ("Scripts/tinytale.exe" if WINDOWS else "bin/tinytale")
LOG = VENV / "install.log"
STAMP = VENV / "stamp"
SHIPPED = ROOT / "weights/small"
BASE_PYTHON = getattr(sys, "_base_executable", sys.executable)  # never .venv's own, which may be about to go
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

NO_PIP = "This Python lacks venv and ensurepip: install them (Debian, Ubuntu: apt install python3-venv) or uv."
ADVICE = {  # what pip's output holds -> what to do about it; the first that fits is said
    "No space left on device": "The disk is full: free some space",
    "Retrying (": "No network: the package index does not answer. Connect, or name a copy within reach (PIP_INDEX_URL, "
    "PIP_FIND_LINKS; for torch alone TINYTALE_TORCH_INDEX)",
    " torch==": "The index has no such torch for this Python and system: take another Python "
    "(3.11 to 3.13), or name another index in TINYTALE_TORCH_INDEX",
    "": "The installation failed, and the lines above say why: mend that",
}


def too_old(version: tuple) -> str:
    """The line to leave with when this version of Python cannot run tinytale; empty when it can."""
    if tuple(version[:2]) >= (3, 11):
        return ""
    found = "{}.{}".format(*version)
    return f"tinytale needs Python 3.11 or newer, this is {found}: install one and name it, as in: python3.12 run.py"


def torch_index(environment: "dict[str, str]", platform: str, nvidia: bool) -> str:
    """The index to take torch from, empty for pip as it is set up; the order is in the head of this file."""
    if environment.get("TINYTALE_TORCH_INDEX"):
        return environment["TINYTALE_TORCH_INDEX"]
    if environment.get("PIP_FIND_LINKS") or nvidia or not platform.startswith("linux"):
        return ""
    return CPU_INDEX


def pip_calls(stage: str, index: str) -> "dict[str, list[str]]":
    """Titles and arguments of the `pip install` calls that bring a stage.

    torch comes without its dependencies: they are pinned, and an index for torch need not have those versions. They
    follow with the package, from the default index and the person's own (ROCm's libraries are nowhere else).
    """
    own = ["--extra-index-url", index] if index not in ("", CPU_INDEX) else []
    if stage == "dev":
        return {
            "what the tests need": ["--no-build-isolation", "--editable", ".[report,export,serve,judge,docs,dev]", *own]
        }
    if stage == "docs":
        return {"what the site needs": ["--no-build-isolation", "--editable", ".[docs]", *own]}
    return {
        "torch": ["--no-deps", "torch", *(["--index-url", index] if index else [])],
        "what builds the package": ["hatchling", "editables"],
        "the package and its libraries": ["--no-build-isolation", "--editable", ".[report,export,serve]", *own],
    }


def fingerprint(root: Path) -> str:
    """A hash of all that .venv is made from; the place too, since scripts in it hold absolute paths."""
    digest = hashlib.sha256(f"{sys.version}\n{root}\n".encode())
    for name in ("pyproject.toml", "constraints.txt", "run.py"):
        digest.update(hashlib.sha256((root / name).read_bytes()).digest())
    return digest.hexdigest()


def installed(made_from: str) -> "list[str]":
    """The stages that .venv holds, complete and up to date: those on the stamp, if it is of this fingerprint."""
    try:
        stamp, *stages = STAMP.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return []
    return stages if stamp == made_from and PYTHON.exists() else []


def install(*stages: str) -> None:
    """Bring .venv to these stages. Only the stamp vouches for it: gone before pip begins, back when all is there."""
    made_from = fingerprint(ROOT)
    if set(stages) <= set(installed(made_from)):
        return
    say(f"Setting up {VENV}:")
    with Path(__file__).open("rb") as lock:
        with contextlib.suppress(ImportError, OSError):  # one start at a time, where there are such locks
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        done = installed(made_from)  # an earlier start may have been at it
        if not done:
            make_venv()
        nvidia = Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None
        index = torch_index(dict(os.environ), sys.platform, nvidia)
        pip = [str(PYTHON), "-I", "-m", "pip", "install", "--no-input", "--no-user", "--progress-bar", "off"]
        if not sys.dont_write_bytecode:
            pip.append("--no-compile")  # Python compiles what is imported, when it is: a fraction of all
        for stage in [stage for stage in stages if stage not in done]:
            STAMP.unlink(missing_ok=True)
            for title, arguments in pip_calls(stage, index).items():
                step(title, *pip, "--constraint", "constraints.txt", *arguments)
            done.append(stage)
            STAMP.write_text(" ".join([made_from, *done]), encoding="utf-8")


def strangers() -> "list[str]":
    """What a person has put into .venv by name: pip and uv leave a mark there. What tinytale pins is not among it."""
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    ours = {plain(name) for name in pinned} | {"pip", "setuptools", "tinytale", "hatchling", "editables"}
    marks = [
        mark for site in ("lib/python*", "Lib") for mark in VENV.glob(site + "/site-packages/*.dist-info/REQUESTED")
    ]
    return sorted({plain(mark.parent.name.partition("-")[0]) for mark in marks} - ours)


def plain(name: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def may_clear() -> None:
    """Before .venv is cleared away, say what of a person's goes with it; leave if the person wants to keep it."""
    lost = strangers()
    if not lost:
        return
    pip = shlex.quote(str(PYTHON))
    say(f"  {VENV} has to be made anew, and holds what you installed: {', '.join(lost)}")
    say(f"  afterwards this brings it back: {pip} -m pip install -c constraints.txt {' '.join(lost)}")
    if sys.stdin.isatty():
        say("  Clear it away? [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            sys.exit(f"{VENV} is as it was. Move it away to keep it, then start again")


def make_venv() -> None:
    """Make .venv anew, with pip in it: by the venv module, or by uv."""
    uv = shutil.which("uv")
    if all(importlib.util.find_spec(name) for name in ("venv", "ensurepip")):
        command = [BASE_PYTHON, "-m", "venv", str(VENV)]
    elif uv:
        command = [uv, "venv", "--seed", "--allow-existing", "--python", BASE_PYTHON, str(VENV)]
    else:
        sys.exit(NO_PIP)
    if VENV.exists():
        may_clear()
        say("  clearing away the old one")
        STAMP.unlink(missing_ok=True)
        shutil.rmtree(VENV)
    VENV.mkdir()
    step("Python " + sys.version.split()[0], *command)


def step(title: str, *command: str) -> None:
    """Run one part of the installation, output to LOG; on a terminal the seconds and the newest output line tick."""
    begun = time.monotonic()
    terminal = sys.stderr.isatty()

    def show(newest: str = "") -> None:
        seconds = f" {time.monotonic() - begun:.0f} s  {newest}".rstrip()
        width = shutil.get_terminal_size().columns - 1
        say(f"\r  {title}:{seconds}"[: width + 1].ljust(width + 1) if terminal else seconds, end="")

    say(f"  {title}:", end="")
    with LOG.open("ab") as log:
        start = log.tell()
        child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while child.poll() is None:
                if terminal:
                    show(output_since(start).rpartition("\n")[2])
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(0.5)
        finally:
            child.kill()  # on Ctrl-C; else it has ended
    show()
    say("")
    if child.returncode:
        output = output_since(start)
        say(*[line for line in output.splitlines() if line.strip()][-8:], sep="\n")
        advice = next(what for sign, what in ADVICE.items() if sign in output)
        sys.exit(f"{advice}, then start again. All that was said is in {LOG}")


def output_since(start: int) -> str:
    """The output of the installation from this byte on."""
    return LOG.read_bytes()[start:].decode(errors="replace").strip()


def say(*lines: str, **how: str) -> None:
    """Print to standard error: standard output belongs to the commands."""
    print(*lines, **how, file=sys.stderr, flush=True)


def run(*command: "str | Path") -> int:
    """Run a command to its end and return its exit code. Ctrl-C and SIGTERM are its to answer; then we leave too."""
    stops = []

    def stop(number: int, _frame: object) -> None:
        stops.append(number)
        if number == signal.SIGTERM:  # the terminal sends Ctrl-C to the child by itself
            child.terminate()

    child = subprocess.Popen([str(part) for part in command])
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    code = child.wait()
    code = 128 - code if code < 0 else code  # ended by a signal: as a shell reports it
    if stops:
        sys.exit(code or 128 + stops[0])
    return code


def main_job() -> int:
    """From the built-in corpus to a model's first samples; a step that fails ends it with that step's exit code."""
    resume = " --resume" if Path("runs/pocket").exists() else ""
    steps = {
        "Prepare the built-in corpus": "prepare builtin --stories 7000 --vocab-size 2048 --out datasets/builtin",
        "Train a pocket GPT-2 on it": "train datasets/builtin --recipe pocket --out runs/pocket" + resume,
        "Evaluate it": "evaluate runs/pocket",
        "Its stories: runs/pocket, trained here, on the built-in corpus": "generate runs/pocket --samples 3",
    }
    if SHIPPED.exists():
        steps["Beside it: weights/small, shipped, trained on real TinyStories"] = "generate weights/small"
    for title, command in steps.items():
        print(f"\n== {title}\n   {RUN} {command}\n", flush=True)
        code = run(TINYTALE, *command.split())
        if code:
            return code
    print(what_next())
    return 0


def what_next() -> str:
    """What to type after the main job."""
    data = "$env:TINYSTORIES" if WINDOWS else "$TINYSTORIES"
    shipped = f"""
The shipped weights, trained on real TinyStories:
   {RUN} generate weights/small "Once upon a time"
"""
    return f"""
== What to type next, in {ROOT}

Real TinyStories (TINYSTORIES names a folder with train.txt and valid.txt; --recipe small takes longer, tells better):
   {RUN} prepare "{data}/train.txt" --test "{data}/valid.txt" --vocab-size 4096 --out datasets/tinystories
   {RUN} train datasets/tinystories --recipe pocket --out runs/tinystories

Your own text (a folder of .txt files; a line that is <|endoftext|> parts two stories):
   {RUN} prepare my-stories --out datasets/mine
   {RUN} train datasets/mine --recipe pocket --out runs/mine
{shipped if SHIPPED.exists() else ""}"""


def test(*arguments: str) -> int:
    """All checks and a line on each; with arguments other than --peers and --full, pytest alone."""
    pytest = [PYTHON, "-m", "pytest", *arguments]
    together = ["--numprocesses=auto", "--maxprocesses=4", "--dist=worksteal"]
    if arguments == ("core",):
        return run(*pytest[:3], ROOT / "tests/core", *together)
    if set(arguments) - {"--peers", "--full"}:
        return run(*pytest)
    parts = {
        "ruff check": [PYTHON, "-m", "ruff", "check"],
        "ruff format": [PYTHON, "-m", "ruff", "format", "--check"],
        "pyright": [PYTHON, "-m", "pyright", "--pythonpath", PYTHON],
        "pytest": pytest,
    }
    if not arguments:  # a comparison with a peer, or what is tried as often as it takes, has the machine for itself
        parts["pytest"] = [*pytest, "-m", "not timed", *together]
        parts["timed"] = [*pytest, "-m", "timed"]
    summary, codes = [], []
    for name, command in parts.items():
        print(f"\n== {name}", flush=True)
        begun = time.monotonic()
        codes.append(run(*command))
        verdict = f"failed with exit code {codes[-1]}" if codes[-1] else "passed"
        summary.append(f"{name:12}{time.monotonic() - begun:6.1f} s  {verdict}")
    print("\n== summary", *summary, sep="\n")
    return next((code for code in codes if code), 0)


def main(*arguments: str) -> int:
    """Install what the arguments need, then do what they say."""
    problem = too_old(sys.version_info)
    if problem:
        sys.exit(problem)
    testing, site = arguments[:1] == ("test",), arguments[:1] == ("docs",)
    try:
        install("core", *(["dev"] if testing else ["docs"] if site else []))
    except OSError as error:
        sys.exit(f"Cannot set up {VENV}: {error}")
    except KeyboardInterrupt:
        say("\nStopped; the next start installs anew.")
        return 130
    if site:
        out = arguments[1:] or [ROOT / "docs/_site"]
        return run(PYTHON, "-m", "sphinx", "-W", "-c", ROOT / "tools/site", ROOT, *out)
    if testing:
        os.chdir(ROOT)
        return test(*arguments[1:])
    if not arguments:
        os.chdir(ROOT)
        os.environ[STARTED_AS] = RUN
        return main_job()
    if arguments in (("--help",), ("-h",)):
        print((__doc__ or "").partition("\n\n")[2].partition("\n\n")[0], end="\n\n", flush=True)
    script = sys.argv[0]
    os.environ[STARTED_AS] = RUN.replace(
        "run.py", subprocess.list2cmdline([script]) if WINDOWS else shlex.quote(script)
    )
    if arguments[:1] == ("bench",):
        return run(PYTHON, "-m", *arguments)
    if WINDOWS:
        return run(TINYTALE, *arguments)
    os.execv(TINYTALE, [str(TINYTALE), *arguments])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
