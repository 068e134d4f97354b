"""What is done to a training run, and what must hold then. --full does it as often as promised."""

import json
import os
import random
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest
from safetensors import safe_open

from tinytale.errors import TaleError
from tinytale.runs import RunFolder
from tinytale.training.interrupt import Interrupt
from tinytale.training.metrics import read_metrics

POSIX = pytest.mark.skipif(os.name == "nt", reason="signals and file limits as on Linux and macOS")
EVERY_STEP = ["--run.checkpoint-seconds=0"]
NEVER = ["--run.checkpoint-seconds=9999", "--run.evaluate-every=9999"]
CHECKPOINT_FILES = ("model.safetensors", "optimiser.safetensors", "state.json")


def outcome(folder: Path) -> tuple:
    """What must be equal at the end of two runs: tensors, the published model, what was told, metrics but the time."""
    run = RunFolder(folder)
    metrics = [{key: value for key, value in entry.items() if key != "seconds"} for entry in read_metrics(run.metrics)]
    latest, best = run.pointer("latest"), run.pointer("best")
    assert latest is not None and best is not None
    tensors = [(run.checkpoint(latest) / name).read_bytes() for name in CHECKPOINT_FILES[:2]]
    told = run.course_samples.read_bytes() if run.course_samples.is_file() else b""
    return latest, best, metrics, tensors, told, (run.model / "model.safetensors").read_bytes()


def newest_is_whole(run: RunFolder) -> None:
    """`latest` and `best`, if they are there, name checkpoints that are complete."""
    for name in ("latest", "best"):
        step = run.pointer(name)
        if step is not None:
            state = json.loads((run.checkpoint(step) / "state.json").read_text())
            assert state["progress"]["step"] == step
            for file in CHECKPOINT_FILES[:2]:
                with safe_open(run.checkpoint(step) / file, framework="pt") as tensors:
                    assert tensors.keys()


# --- Kills at random moments -----------------------------------------------------------------------------------------


@POSIX
@pytest.mark.slow
def test_kills_at_random_moments_change_nothing_to_the_bit(
    dataset: Path, tmp_path: Path, spawn_tale, train_options, count
):
    options = [*train_options, *EVERY_STEP, "--max-steps=24", "--run.evaluate-every=7", "--model.dropout=0.1"]
    whole, chosen, kills, wanted = tmp_path / "whole", random.Random(0), 0, count(3, 100)
    spawn_tale("--help").join()  # the process that all others are forked from has started now
    begun = time.monotonic()
    reference = spawn_tale("train", dataset, "--out", whole, *options)
    reference.join(120)
    seconds = time.monotonic() - begun
    assert reference.exitcode == 0
    for attempt in range(5 * wanted):
        folder, ended = tmp_path / f"killed-{attempt}", None
        while ended is None:
            process = spawn_tale("train", dataset, "--out", folder, "--resume", *options)
            process.join(chosen.uniform(0.1, 0.9) * seconds if kills < wanted else 120)
            ended = process.exitcode
            if ended is None:
                os.kill(process.pid, signal.SIGKILL)
                process.join()
                kills += 1
                newest_is_whole(RunFolder(folder))
        assert ended == 0
        assert outcome(folder) == outcome(whole)
        shutil.rmtree(folder)
        if kills >= wanted:
            return
    raise AssertionError(f"only {kills} runs were killed before they ended")


# --- Kills inside a save ---------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Nothing of ours catches it: what runs after it would not have run after a SIGKILL either."""


CALLS = ["os.fsync", "pathlib.Path.rename", "pathlib.Path.replace", "pathlib.Path.mkdir", "shutil.rmtree"]


def killed_at(monkeypatch: pytest.MonkeyPatch, moment: int, after: bool) -> list[int]:
    """From now on, the process "is killed" before or after the call number `moment` that touches the disk."""
    count = [0]

    def faulty(original):
        def call(*arguments, **settings):
            count[0] += 1
            mine = count[0]  # a call may make others
            if mine == moment and not after:
                raise Killed
            result = original(*arguments, **settings)
            if mine == moment:
                raise Killed
            return result

        return call

    for name in CALLS:
        module, attribute = name.rsplit(".", 1)
        owner = Path if module == "pathlib.Path" else {"os": os, "shutil": shutil}[module]
        monkeypatch.setattr(name, faulty(getattr(owner, attribute)))
    return count


SAVES = {"run": {"max_steps": 3, "evaluate_every": 1, "keep_checkpoints": 1}, "model": {"layers": 1}}


def test_a_kill_inside_a_save_loses_nothing(trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count):
    whole = trainer(tmp_path / "whole", **SAVES)
    with monkeypatch.context() as patch:
        calls = killed_at(patch, -1, after=False)
        whole.train(Interrupt())
    assert calls[0] > 50
    moments = [(moment, after) for moment in range(1, calls[0] + 1) for after in (False, True)]
    for moment, after in random.Random(1).sample(moments, count(12, len(moments))):
        folder = tmp_path / f"{moment}-{after}"
        with monkeypatch.context() as patch, pytest.raises(Killed):
            killed_at(patch, moment, after)
            trainer(folder, **SAVES).train(Interrupt())
        newest_is_whole(RunFolder(folder))
        trainer(folder, **SAVES).train(Interrupt())
        assert outcome(folder) == outcome(tmp_path / "whole"), (moment, after)
        assert RunFolder(folder).unfinished() == []


def test_pointers_never_name_an_unfinished_checkpoint(trainer, tmp_path: Path):
    run, over, violations, looks = RunFolder(tmp_path), threading.Event(), [], 0

    def watch() -> None:
        nonlocal looks
        while not over.is_set():
            for name in ("latest", "best"):
                path = tmp_path / name
                named = path.read_text() if path.is_file() else None
                whole = named is None or all(
                    (run.checkpoints / named.strip() / file).is_file() for file in CHECKPOINT_FILES
                )
                if not whole and path.read_text() == named:  # else it has moved on, and the old one was pruned
                    violations.append(named)
                looks += 1
            time.sleep(0.0005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    trainer(tmp_path, run={"max_steps": 40, "checkpoint_seconds": 0, "evaluate_every": 3}).train(Interrupt())
    over.set()
    watcher.join()
    assert looks > 100 and violations == []


# --- Damage ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(trainer, tmp_path: Path) -> RunFolder:
    trainer(tmp_path / "run", optimiser={"algorithm": "muon"}).train(Interrupt())
    return RunFolder(tmp_path / "run")


def again(trainer, run: RunFolder) -> None:
    trainer(run.path, optimiser={"algorithm": "muon"})


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_one_flipped_bit_is_refused_by_name(name: str, trainer, trained: RunFolder, count):
    path = trained.checkpoint(8) / name
    whole, chosen = path.read_bytes(), random.Random(name)
    for _ in range(count(20, 200)):
        damaged, bit = bytearray(whole), chosen.randrange(8 * len(whole))
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(TaleError) as error:
            again(trainer, trained)
        assert str(path) in str(error.value), bit
    path.write_bytes(whole)
    again(trainer, trained)


@pytest.mark.parametrize("name", CHECKPOINT_FILES)
def test_a_cut_empty_swapped_or_missing_file_is_refused_by_name(name: str, trainer, trained: RunFolder):
    path, other = trained.checkpoint(8) / name, trained.checkpoint(4) / name
    whole = path.read_bytes()
    for content in (b"", whole[:1], whole[: len(whole) // 2], whole[:-1], whole + b"\0", other.read_bytes(), None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with pytest.raises(TaleError) as error:
            again(trainer, trained)
        assert str(path) in str(error.value)


# --- Signals ---------------------------------------------------------------------------------------------------------


def steps_done(folder: Path) -> int:
    return max((entry["step"] for entry in read_metrics(RunFolder(folder).metrics)), default=0)


def wait_for(condition, process, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.exitcode is None and time.monotonic() < deadline, f"ended with {process.exitcode}"
        time.sleep(0.01)


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_writes_a_checkpoint_and_the_run_goes_on_from_there(
    number: signal.Signals,
    code: int,
    dataset: Path,
    tmp_path: Path,
    spawn_tale,
    train_options,
    count,
):
    options = [*train_options, *NEVER, "--max-steps=200"]
    whole = spawn_tale("train", dataset, "--out", tmp_path / "whole", *options)
    whole.join(120)
    assert whole.exitcode == 0
    for moment in range(count(1, 20)):
        folder, chosen = tmp_path / str(moment), random.Random(moment)
        process = spawn_tale("train", dataset, "--out", folder, *options)
        at_step = chosen.randrange(1, 150)
        wait_for(lambda folder=folder, at_step=at_step: steps_done(folder) >= at_step, process)
        asked = time.monotonic()
        os.kill(process.pid, number)
        process.join(10)
        assert process.exitcode == code and time.monotonic() - asked < 10
        assert RunFolder(folder).pointer("latest") == steps_done(folder) < 200
        rest = spawn_tale("train", dataset, "--out", folder, "--resume", *options)
        rest.join(120)
        assert rest.exitcode == 0 and outcome(folder) == outcome(tmp_path / "whole")


@POSIX
@pytest.mark.slow
def test_a_second_ctrl_c_leaves_at_once(dataset: Path, tmp_path: Path, spawn_tale, train_options):
    endless = "import time, tinytale.training.trainer as trainer; trainer.Trainer._save = lambda *_: time.sleep(1000)"
    process = spawn_tale("train", dataset, "--out", tmp_path / "run", *train_options, "--max-steps=9", before=endless)
    wait_for(lambda: steps_done(tmp_path / "run") >= 1, process)
    os.kill(process.pid, signal.SIGINT)
    process.join(0.5)
    assert process.exitcode is None
    os.kill(process.pid, signal.SIGINT)
    process.join(5)
    assert process.exitcode == 130


# --- A full disk -----------------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["config.toml", "metrics.jsonl", "model.safetensors", "optimiser.safetensors"])
def test_a_full_disk_ends_the_run_with_one_line_and_hurts_nothing(
    victim: str, dataset: Path, tmp_path: Path, spawn_tale, train_options
):
    run, log = RunFolder(tmp_path / "run"), tmp_path / "log"
    first = spawn_tale("train", dataset, "--out", run.path, *train_options, "--max-steps=3")
    first.join(60)
    sizes = {path.name: path.stat().st_size for path in [run.config, *run.checkpoint(3).iterdir()]}
    limit = sizes["config.toml"] + 500 if victim == "metrics.jsonl" else sizes[victim] - 100
    full = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))"
    )
    before = [(run.checkpoint(3) / name).read_bytes() for name in CHECKPOINT_FILES]
    more = [*train_options, "--max-steps=50", "--resume", *(NEVER if victim == "metrics.jsonl" else EVERY_STEP)]
    second = spawn_tale("train", dataset, "--out", run.path, *more, before=full, log=log)
    second.join(60)
    assert second.exitcode == 1
    said = log.read_text()
    named = "the checkpoint" if victim.endswith("safetensors") else str(run.path / victim)
    assert said.count("Error: cannot write") == 1 and named in said and "Traceback" not in said
    assert run.pointer("latest") == 3
    assert [(run.checkpoint(3) / name).read_bytes() for name in CHECKPOINT_FILES] == before
    third = spawn_tale("train", dataset, "--out", run.path, *train_options, "--max-steps=5", "--resume")
    third.join(60)
    assert third.exitcode == 0 and run.pointer("latest") == 5


# --- Compiled runs ---------------------------------------------------------------------------------------------------


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_run_writes_the_checkpoints_of_an_eager_one(
    precision: str, dataset: Path, tmp_path: Path, spawn_tale, train_options
):
    """Traced in one piece, our own attention kernel (in bfloat16, where there is one) included."""
    traced = (  # to the bit: so without the formula for GELU that only compiled models take
        "import functools, torch; torch.compile = functools.partial(torch.compile, backend='eager', fullgraph=True);"
        "torch.compiler.is_compiling = lambda: False"
    )
    options = [option.replace("float32", precision) for option in train_options]
    for name, flags in (("eager", []), ("compiled", ["--compile"])):
        log = tmp_path / f"{name}.log"
        process = spawn_tale(
            "train", dataset, "--out", tmp_path / name, *options, "--max-steps=2", *flags, before=traced, log=log
        )
        process.join(120)
        assert process.exitcode == 0 and "does not work" not in log.read_text()
    assert outcome(tmp_path / "eager") == outcome(tmp_path / "compiled")
