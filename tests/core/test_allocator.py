import os
import subprocess
import sys
from pathlib import Path

import pytest

from tinytale.allocator import TUNABLES, restart_tuned, tuned

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc is on Linux")


def test_only_linux_is_tuned_and_a_persons_own_settings_stay():
    assert tuned({"HOME": "/h"}, "linux") == {"HOME": "/h", "GLIBC_TUNABLES": TUNABLES}
    assert tuned({"GLIBC_TUNABLES": ""}, "linux") is None
    assert tuned({}, "darwin") is None and tuned({}, "win32") is None
    assert "glibc.malloc.mmap_threshold=17179869184" in TUNABLES.split(":")


@LINUX
@pytest.mark.parametrize(
    ("file", "torch_is_loaded", "starts"),
    [
        ("/usr/bin/tinytale", False, 1),
        ("/lib/tinytale/__main__.py", False, 1),
        ("/lib/tinytale/__main__.py", True, 0),
        ("/lib/pytest/__main__.py", False, 0),
        (None, False, 0),
    ],
)
def test_only_our_own_program_starts_again_and_only_before_torch(
    file: str | None, torch_is_loaded: bool, starts: int, monkeypatch: pytest.MonkeyPatch
):
    started = []
    monkeypatch.setattr(os, "execve", lambda *command: started.append(command))
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
    loaded = {"torch": sys} if torch_is_loaded else {}
    others = {name: module for name, module in sys.modules.items() if name != "torch"}
    monkeypatch.setattr(sys, "modules", others | loaded)
    restart_tuned()
    assert len(started) == starts
    assert all(command[1][1:] == sys.orig_argv[1:] for command in started)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("allocator", ["tuned", "default"])
def test_a_run_starts_itself_again_with_its_arguments(allocator: str, dataset: Path, tmp_path: Path, train_options):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\nprint('start', os.environ.get('GLIBC_TUNABLES'), file=sys.stderr)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    options = [*train_options, "--max-steps=1", f"--run.allocator={allocator}"]
    ended = subprocess.run(
        [sys.executable, "-m", "tinytale", "train", dataset, "--out", tmp_path / "a run", *options],
        env=environment | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    starts = [line.removeprefix("start ") for line in ended.stderr.splitlines() if line.startswith("start ")]
    assert starts == (["None", TUNABLES] if allocator == "tuned" else ["None"])
    assert (tmp_path / "a run" / "model").is_dir()
