import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tinytale import lock
from tinytale.errors import TaleError
from tinytale.lock import LOCK_FILE, held

HOLD = "import sys, time\nfrom pathlib import Path\nfrom tinytale.lock import held\n" + (
    "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


@pytest.fixture
def holder(tmp_path: Path, repository: Path):
    """Another process that holds `tmp_path / "run"`."""
    variables = os.environ | {"PYTHONPATH": str(repository / "src")}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], env=variables, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_is_told_who_is_first(holder, tmp_path: Path):
    who = json.loads((tmp_path / "run" / LOCK_FILE).read_text())
    assert who["process"] == holder.pid
    expected = f"run is being trained by process {holder.pid} on {who['host']} since {who['since']}; wait"
    with pytest.raises(TaleError) as error, held(tmp_path / "run"):
        pass
    assert expected in str(error.value)
    assert json.loads((tmp_path / "run" / LOCK_FILE).read_text()) == who


def test_the_lock_of_a_killed_process_holds_nobody_up(holder, tmp_path: Path):
    holder.kill()
    holder.wait()
    assert (tmp_path / "run" / LOCK_FILE).is_file()
    with held(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / LOCK_FILE).read_text())["process"] == os.getpid()


@pytest.mark.parametrize("content", ["", "[" * 9999, "[1]", '{"process": "x", "host": 1, "since": 2}', "\0"])
def test_a_damaged_lock_file_is_no_obstacle(content: str, tmp_path: Path):
    (tmp_path / LOCK_FILE).write_text(content)
    with held(tmp_path):
        (tmp_path / LOCK_FILE).write_text(content)
        with pytest.raises(TaleError, match="is being trained by another process"), held(tmp_path):
            pass


def test_afterwards_nothing_is_left(tmp_path: Path):
    with held(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).is_file()
    assert not (tmp_path / "a" / "b").exists()
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(RuntimeError, match="inside"), held(tmp_path):
        raise RuntimeError("inside")
    assert {path.name for path in tmp_path.iterdir()} == {"a", "kept"}


def test_a_lock_that_its_holder_deletes_meanwhile_is_taken_anew(tmp_path: Path, monkeypatch):
    path, take, deleted = tmp_path / LOCK_FILE, lock._lock, []

    def deleted_once(descriptor: int) -> bool:
        if not deleted:
            path.unlink()
            deleted.append(path)
        return take(descriptor)

    monkeypatch.setattr(lock, "_lock", deleted_once)
    with held(tmp_path):
        assert deleted and path.is_file()
        with pytest.raises(TaleError), held(tmp_path):
            pass


def test_on_a_disk_without_locks_whoever_makes_the_file_has_it_and_says_so(tmp_path: Path, monkeypatch, capsys):
    fcntl = pytest.importorskip("fcntl")

    def unsupported(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with held(tmp_path):
        assert f"{LOCK_FILE} keeps others out" in " ".join(capsys.readouterr().err.split())
        with held(tmp_path):  # as after a start of the same process anew
            pass
    assert not (tmp_path / LOCK_FILE).exists()
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / LOCK_FILE).write_text('{"process": 1, "host": "elsewhere", "since": "2026-12-01 00:00:00"}')
    with pytest.raises(TaleError, match=rf"by process 1 on elsewhere .*delete .*{LOCK_FILE}"), held(tmp_path):
        pass
    assert (tmp_path / LOCK_FILE).is_file()


@pytest.mark.skipif(os.name == "nt", reason="making a link is a right there that few have")
def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).symlink_to(tmp_path / "mine")
    with pytest.raises(TaleError, match=r"cannot write .*train\.lock: it is a link; delete it"), held(tmp_path / "run"):
        pass
    (tmp_path / "run" / LOCK_FILE).unlink()
    (tmp_path / "run" / LOCK_FILE).symlink_to(tmp_path / "new")
    with pytest.raises(TaleError, match="it is a link"), held(tmp_path / "run"):
        pass
    assert (tmp_path / "mine").read_text() == "mine" and not (tmp_path / "new").exists()


def test_who_waits_gets_the_lock_when_it_is_free(tmp_path: Path):
    first = held(tmp_path)
    first.__enter__()
    with (
        pytest.raises(TaleError, match="is being written by process"),
        held(tmp_path, doing="being written", wait=0.05),
    ):
        pass
    threading.Timer(0.05, first.__exit__, (None, None, None)).start()
    with held(tmp_path, wait=10.0):
        assert (tmp_path / LOCK_FILE).is_file()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TaleError, match=r"cannot write .*train\.lock"), held(tmp_path / "file" / "run"):
        pass
