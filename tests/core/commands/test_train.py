import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tinytale.config import TrainConfig
from tinytale.lock import LOCK_FILE
from tinytale.native.build import compiler
from tinytale.runs import RunFolder

SETTINGS = {
    "--model.layers": 1,
    "--model.heads": 2,
    "--model.width": 16,
    "--model.context-length": 16,
    "--data.batch-size": 4,
    "--run.evaluate-tokens": 100,
    "--run.precision": "float32",
}


def tiny(**others: object) -> list[str]:
    return [f"{name}={value}" for name, value in (SETTINGS | others).items()]


TINY = tiny()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_run_is_begun_interrupted_in_length_and_resumed(tale, dataset: Path, out: Path):
    begun = tale("train", dataset, "--out", out, *TINY, "--max-steps=3")
    assert begun.code == 0 and "Done: 3 steps" in begun.err and begun.out == ""
    resumed = tale("train", dataset, "--out", out, "--resume", "--max-steps=5")
    assert resumed.code == 0 and "going on from step 3" in resumed.err
    names = {path.name for path in out.iterdir()}
    assert names == {"config.toml", "metrics.jsonl", "samples.jsonl", "checkpoints", "latest", "best", "model"}
    assert {path.name for path in (out / "model").iterdir()} == {
        "config.json",
        "model.safetensors",
        "model.safetensors.sha256",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


def test_resume_without_a_run_begins_at_the_start(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, "--resume", *TINY, "--max-steps=1").code == 0


def test_settings_reach_the_run_from_the_recipe_then_the_file_then_the_options(tale, dataset: Path, out: Path):
    file = out.parent / "my.toml"
    file.write_text(
        "[model]\nlayers = 2\ndropout = 0.25\n[optimiser]\nbetas = [0.8, 0.9]\n[run]\nseed = 5\nmax_steps = 99\n"
    )
    options = ["--recipe=small", "--config", file, *TINY, "--seed=7", "--max-steps=2", "--run.no-compile"]
    assert tale("train", dataset, "--out", out, *options, "--optimiser.schedule", "constant").code == 0
    config = TrainConfig.from_toml(out / "config.toml")
    assert (config.recipe, config.optimiser.algorithm) == ("small", "muon")
    assert (config.model.layers, config.model.dropout, config.model.width) == (1, 0.25, 16)
    assert (config.run.seed, config.run.max_steps, config.run.compile) == (7, 2, False)
    assert (config.optimiser.betas, config.optimiser.schedule) == ((0.8, 0.9), "constant")
    assert config.model.vocab_size == 300 and config.data.folder == str(dataset) and len(config.data.digest) == 64


def test_epochs_say_how_many_steps_there_are(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, *tiny(**{"--data.batch-size": 64, "--run.epochs": 0.02})).code == 0
    tokens = json.loads((dataset / "manifest.json").read_text())["splits"]["train"]["tokens"]
    steps_of_an_epoch = -(-((tokens - 16) // 16) // 64)
    assert RunFolder(out).pointer("latest") == -(-steps_of_an_epoch * 2 // 100)


WRONG = {
    "no recipe of that name": ({"--recipe": "tiny"}, "no recipe 'tiny'; known are pocket, small, course, gpt2"),
    "heads that do not divide": ({"--model.heads": 3}, "ModelConfig.heads is 3; expected a divisor of the width 16"),
    "sequence beyond positions": ({"--data.sequence-length": 17}, "is 17, but the model has 16 positions"),
    "an unknown option": ({"--modle.layers": 3}, "Unknown option: --modle.layers. Did you mean --model.layers?"),
    "a word for a number": ({"--max-steps": "many"}, 'unable to convert "many" into int'),
    "an unknown word": ({"--model.norm": "mid"}, "--model.norm"),
    "no such file": ({"--config": "my.toml"}, "my.toml does not exist"),
    "too little text": ({"--model.context-length": 999_999}, "too few for a window of 999999"),
    "no such device": ({"--run.device": "cuda"}, "device 'cuda' is not available here; there is cpu"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request_is_refused_in_one_line_and_writes_nothing(
    wrong: str, tale, dataset: Path, out: Path, monkeypatch
):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    options, message = WRONG[wrong]
    ended = tale("train", dataset, "--out", out, *tiny(**options))
    assert (ended.code, ended.out) == (2, "") and message in ended.err
    assert not out.exists()


def test_a_dataset_that_is_not_there_is_refused(tale, out: Path):
    ended = tale("train", "nowhere", "--out", out, *TINY)
    assert ended.code == 1 and "nowhere is not a finished dataset (manifest.json is missing)" in ended.err


def test_a_run_is_never_overwritten(tale, dataset: Path, out: Path):
    tale("train", dataset, "--out", out, *TINY, "--max-steps=1")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    again = tale("train", dataset, "--out", out, *TINY, "--max-steps=2")
    assert again.code == 2 and "already holds a run; go on with --resume" in again.err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_a_folder_of_something_else_is_left_alone(resume: list[str], tale, dataset: Path, out: Path):
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    ended = tale("train", dataset, "--out", out, *resume, *TINY)
    assert ended.code == 2 and "exists and is not a run folder" in ended.err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def test_a_run_whose_very_first_write_was_killed_can_begin(tale, dataset: Path, out: Path):
    out.mkdir()
    (out / "config.toml.partial").write_text("[mod")
    assert tale("train", dataset, "--out", out, "--resume", *TINY, "--max-steps=1").code == 0


def test_a_file_in_the_place_of_the_run_is_an_error_of_ours(tale, dataset: Path, out: Path):
    out.write_text("mine")
    ended = tale("train", dataset, "--out", out, *TINY, "--max-steps=1")
    assert ended.code == 2 and "is not a run folder" in ended.err and out.read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (["--model.width=32"], "model.width: 16 -> 32"),
        (["--seed=1"], "run.seed: 0 -> 1"),
        (["--optimiser.learning-rate=0.5"], "optimiser.learning_rate: 0.01 -> 0.5"),
        (["--run.evaluate-tokens=50"], "run.evaluate_tokens: 100 -> 50"),  # the best is the best by one measure
    ],
)
def test_a_resume_with_other_settings_is_refused(options: list[str], change: str, tale, dataset: Path, out: Path):
    tale("train", dataset, "--out", out, *TINY, "--max-steps=1")
    ended = tale("train", dataset, "--out", out, "--resume", *options, "--max-steps=2")
    assert ended.code == 2 and f"Changed: {change}." in ended.err
    assert RunFolder(out).pointer("latest") == 1


def test_epochs_asked_for_later_count_more_than_the_steps_that_it_was_begun_with(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, *tiny(**{"--data.batch-size": 64}), "--max-steps=2").code == 0
    resumed = tale("train", dataset, "--out", out, "--resume", "--run.epochs=0.05")
    steps = RunFolder(out).pointer("latest")
    assert resumed.code == 0 and steps is not None and steps > 2 and f"Done: {steps} steps" in resumed.err
    assert RunFolder(out).read_config().run.max_steps is None


@pytest.mark.parametrize("named", ['recipe = "mine"\n', ""])
def test_the_same_command_goes_on_whatever_the_recipe_is_called(named: str, tale, dataset: Path, out: Path):
    file = out.parent / "my.toml"
    file.write_text(f"{named}[optimiser]\nlearning_rate = 0.005\n")
    command = ["train", dataset, "--out", out, "--config", file, *TINY, "--max-steps=1"]
    assert tale(*command).code == 0
    assert tale(*command, "--resume").code == 0
    assert tale("train", dataset, "--out", out, "--resume", "--max-steps=2").code == 0
    assert RunFolder(out).read_config().recipe == ("mine" if named else "pocket")


def test_a_run_that_goes_on_has_its_own_recipe(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, "--recipe=small", *TINY, "--max-steps=1").code == 0
    assert tale("train", dataset, "--out", out, "--resume", "--max-steps=2").code == 0
    other = tale("train", dataset, "--out", out, "--recipe=gpt2", "--resume", "--max-steps=3")
    assert other.code == 2 and "was begun with other settings" in other.err


def test_a_resume_on_another_dataset_is_refused_and_on_a_moved_one_is_not(
    tale, dataset: Path, out: Path, tmp_path: Path
):
    tale("train", dataset, "--out", out, *TINY, "--max-steps=1")
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(dataset, moved)
    assert tale("train", moved, "--out", out, "--resume", "--max-steps=2").code == 0
    tale("prepare", "builtin", "--stories=200", "--vocab-size=300", "--processes=1", "--out", other)
    ended = tale("train", other, "--out", out, "--resume", "--max-steps=3")
    assert ended.code == 2 and "data.digest: " in ended.err
    assert RunFolder(out).pointer("latest") == 2


@pytest.mark.parametrize(
    "name", ["train-00000.bin", "dev-00000.bin", "test-00000.bin", "tokenizer.json", "manifest.json"]
)
def test_an_altered_dataset_is_refused_by_the_name_of_the_file(
    name: str, tale, dataset: Path, out: Path, tmp_path: Path
):
    copy = tmp_path / "copy"
    shutil.copytree(dataset, copy)
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    ended = tale("train", copy, "--out", out, *TINY)
    assert ended.code == 1 and str(copy / name) in ended.err and not out.exists()


def test_a_dataset_without_a_dev_split_is_refused(tale, out: Path, tmp_path: Path):
    from tinytale.data.prepare import prepare

    prepare("builtin", tmp_path / "data", stories=60, vocab_size=257, dev_fraction=0.0, processes=1)
    ended = tale("train", tmp_path / "data", "--out", out, *TINY)
    assert ended.code == 2 and "dev split" in ended.err and "is empty" in ended.err
    assert "copies of a story share it" in ended.err and "tinytale data " in ended.err


def test_the_message_of_a_stopped_run_says_how_to_go_on(tale, dataset: Path, out: Path, monkeypatch):
    import os
    import signal

    from tinytale.data.batches import Batches

    batch_at = Batches.batch_at

    def interrupted(self, step: int):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return batch_at(self, step)

    monkeypatch.setattr(Batches, "batch_at", interrupted)
    ended = tale("train", dataset, "--out", out, *TINY, "--max-steps=9")
    assert ended.code == 130 and "Stopped at step 3; go on with the same command and --resume" in ended.err
    assert RunFolder(out).pointer("latest") == 3


@pytest.mark.timed
def test_a_second_trainer_leaves_at_once_and_names_the_first(tale, spawn_tale, dataset: Path, out: Path):
    first = spawn_tale("train", dataset, "--out", out, *TINY, "--max-steps=1000000")
    deadline = time.monotonic() + 60
    while not (out / "config.toml").is_file():
        assert first.is_alive() and time.monotonic() < deadline
        time.sleep(0.01)
    for flags in ([], ["--resume"]):
        begun = time.monotonic()
        second = tale("train", dataset, "--out", out, *flags, *TINY, "--max-steps=1000000")
        assert second.code == 1 and f"{out} is being trained by process {first.pid} on " in second.err
        assert time.monotonic() - begun < 2
    first.kill()
    first.join()
    assert json.loads((out / LOCK_FILE).read_text())["process"] == first.pid
    (out / "config.toml").unlink()  # as if it had been killed before the first write
    for path in out.iterdir():
        if path.name != LOCK_FILE:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert tale("train", dataset, "--out", out, *TINY, "--max-steps=1").code == 0
    assert not (out / LOCK_FILE).exists()


def test_a_run_keeps_its_decision_on_compiling_however_long_it_becomes(tale, dataset: Path, out: Path, monkeypatch):
    tale("train", dataset, "--out", out, *TINY, "--max-steps=1")
    assert RunFolder(out).read_config().run.compile is False
    monkeypatch.setattr("tinytale.training.estimate.COMPILING_PAYS", {"cpu": 0.0})
    compiled = []
    monkeypatch.setattr("torch.compile", lambda function, **_: compiled.append(function) or function)
    assert tale("train", dataset, "--out", out, "--resume", "--max-steps=2").code == 0
    assert not compiled
    fresh = out.with_name("fresh")
    assert tale("train", dataset, "--out", fresh, *TINY, "--max-steps=1").code == 0
    assert compiled and RunFolder(fresh).read_config().run.compile is True


def test_a_dry_run_is_of_one_process(tale, dataset: Path, out: Path, monkeypatch):
    place = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    ended = tale("train", dataset, "--out", out, *TINY, "--dry-run")
    assert ended.code == 2 and "--dry-run measures one process" in ended.err and not out.exists()


def test_a_rank_without_others_is_the_one_that_writes(tale, dataset: Path, out: Path, monkeypatch):
    tale("train", dataset, "--out", out, *TINY, "--max-steps=1")
    monkeypatch.setenv("RANK", "1")
    again = tale("train", dataset, "--out", out, *TINY, "--max-steps=2")
    assert again.code == 2 and "already holds a run" in again.err


def test_a_run_may_begin_with_the_weights_of_another(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, *TINY, "--max-steps=8").code == 0
    other = out.parent / "other"
    options = ["--run.start-from", out, "--run.precision=float32", "--data.batch-size=4", "--run.no-compile"]
    refused = tale("train", dataset, "--out", other, *options, "--model.layers=3", "--max-steps=3")
    assert refused.code == 2 and "model.layers is 3" in refused.err and not (other / "config.toml").exists()
    (out.parent / "three.toml").write_text("[model]\nlayers = 3\n")
    refused = tale("train", dataset, "--out", other, *options, "--config", out.parent / "three.toml", "--max-steps=3")
    assert refused.code == 2 and "model.layers is 3" in refused.err
    (out.parent / "no-section.toml").write_text("model = 3\n")
    refused = tale("train", dataset, "--out", other, *options, "--config", out.parent / "no-section.toml")
    assert refused.code == 2 and "expected a section of settings" in refused.err
    assert tale("train", dataset, "--out", other, *options, "--max-steps=2").code == 0
    config = TrainConfig.from_toml(other / "config.toml")
    assert (config.model.layers, config.model.width) == (1, 16)
    assert config.run.start_from == str(out) and len(config.run.start_digest) == 64
    first, before = (json.loads((run / "metrics.jsonl").read_text().splitlines()[0]) for run in (other, out))
    assert first["loss"] < before["loss"] - 0.1
    assert (other / "before" / "metrics.jsonl").read_bytes() == (out / "metrics.jsonl").read_bytes()
    assert (other / "before" / "config.toml").read_bytes() == (out / "config.toml").read_bytes()
    resumed = tale("train", dataset, "--out", other, "--resume", "--max-steps=3")
    assert resumed.code == 0 and "going on from step 2" in resumed.err
    shutil.rmtree(out)
    assert tale("train", dataset, "--out", other, "--resume", "--max-steps=4").code == 0
    for value in ("", "small"):
        changed = tale("train", dataset, "--out", other, "--resume", "--max-steps=5", f"--run.start-from={value}")
        assert changed.code == 2 and ("run.start_from" in changed.err or "prepared with other tokens" in changed.err)
    gone = tale("train", dataset, "--out", out.parent / "third", "--run.start-from", out, "--max-steps=4")
    assert gone.code == 2 and "run.start_from: there is no folder" in gone.err


def test_a_run_may_follow_a_teacher(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, *TINY, "--max-steps=1").code == 0
    taught = out.parent / "taught"
    for refused, message in (
        (tiny(**{"--run.teacher-weight": 0.7}), "teacher_weight is 0.7, but there is no teacher"),
        (tiny(**{"--run.teacher": "none"}), "run.teacher: there is no folder 'none'; expected a run or a model folder"),
        (tiny(**{"--run.teacher": taught}), "is the run itself"),
        (tiny(**{"--run.teacher": out, "--model.context-length": 17}), "has 16 positions"),
    ):
        ended = tale("train", dataset, "--out", taught, *refused)
        assert ended.code == 2 and message in ended.err and not (taught / "config.toml").exists()
    options = [f"--run.teacher={out}", "--run.teacher-weight=0.7"]
    assert tale("train", dataset, "--out", taught, *TINY, *options, "--max-steps=2").code == 0
    run = TrainConfig.from_toml(taught / "config.toml").run
    assert (run.teacher, run.teacher_weight, len(run.teacher_digest)) == (str(out), 0.7, 64)
    resumed = tale("train", dataset, "--out", taught, "--resume", "--max-steps=3")
    assert resumed.code == 0 and "going on from step 2" in resumed.err
    changed = tale("train", dataset, "--out", taught, "--resume", "--run.teacher-weight=0.5", "--max-steps=4")
    assert changed.code == 2 and "run.teacher_weight: 0.7 -> 0.5" in changed.err
    shutil.rmtree(out)
    gone = tale("train", dataset, "--out", taught, "--resume", "--max-steps=4")
    assert gone.code == 2 and "run.teacher: there is no folder" in gone.err


def test_stopped_and_resumed_it_ends_in_the_same_bits_as_in_one_go(tale, dataset: Path, out: Path):
    assert tale("train", dataset, "--out", out, *TINY, "--max-steps=4").code == 0
    weights = []
    for name, lengths in (("whole", (6,)), ("parts", (6, 3))):
        there = out.parent / name
        for stop in reversed(lengths):
            options = ["--run.start-from", out, "--resume", "--data.batch-size=4", "--optimiser.schedule=constant"]
            assert tale("train", dataset, "--out", there, *options, "--max-steps", stop).code == 0
        weights.append((there / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.slow
@pytest.mark.skipif(compiler() is None, reason="needs a C++ compiler")
def test_a_compiled_run_too_is_resumed_to_the_bit(dataset: Path, out: Path):
    """In processes of their own, without the checks of types that these tests put into the code."""
    options = [*tiny(**{"--model.dropout": 0.1}), "--optimiser.schedule=constant", "--compile", "--resume"]
    outcomes = []
    for name, stops in (("whole", (6,)), ("parts", (3, 6))):
        for stop in stops:
            command = [sys.executable, "-m", "tinytale", "train", dataset, "--out", out.parent / name, *options]
            ended = subprocess.run([*command, f"--max-steps={stop}"], capture_output=True, text=True)
            assert ended.returncode == 0 and "does not work here" not in ended.stderr, ended.stderr
        run = RunFolder(out.parent / name)
        assert run.read_config().run.compile
        outcomes.append([path.read_bytes() for path in sorted(run.checkpoint(6).glob("*.safetensors"))])
    assert outcomes[0] == outcomes[1] and len(outcomes[0]) == 2


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"WORLD_SIZE": "2"}, "there is RANK='', no MASTER_ADDR, no MASTER_PORT; start them with torchrun"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "there is no MASTER_ADDR, no MASTER_PORT"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "localhost"}, "there is no MASTER_PORT"),
        ({"WORLD_SIZE": "two", "RANK": "0"}, "there is WORLD_SIZE='two'"),
        ({"WORLD_SIZE": "2", "RANK": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}, "there is RANK=2"),
    ],
)
def test_variables_of_torchrun_that_do_not_go_together_are_named(
    variables: dict, said: str, tale, dataset: Path, out: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = tale("train", dataset, "--out", out, *TINY)
    assert ended.code == 2 and said in ended.err and "take WORLD_SIZE away" in ended.err and not out.exists()


def test_a_weight_for_a_teacher_needs_one_whatever_its_value(tale, dataset: Path, out: Path):
    ended = tale("train", dataset, "--out", out, *tiny(**{"--run.teacher-weight": 0.5}))
    assert ended.code == 2 and "teacher_weight is 0.5, but there is no teacher; name one with" in ended.err


@pytest.fixture
def begun(tale, dataset: Path, out: Path) -> RunFolder:
    """A run that has a checkpoint, at step 2, and goes on; a new copy for each test."""
    assert tale("train", dataset, "--out", out, *TINY, "--max-steps=2").code == 0
    return RunFolder(out)


def test_settings_that_were_edited_by_hand_are_refused_by_name(tale, dataset: Path, begun: RunFolder):
    whole = begun.config.read_text()
    edited = whole.replace("seed = 0", "seed = 7").replace("learning_rate = 0.01\n", "learning_rate = 0.5\n", 1)
    begun.config.write_text(edited)
    ended = tale("train", dataset, "--out", begun.path, "--resume", "--max-steps=3")
    assert ended.code == 2 and "config.toml has been edited since the latest checkpoint" in ended.err
    assert "optimiser.learning_rate: 0.01 -> 0.5; run.seed: 0 -> 7" in ended.err
    assert begun.config.read_text() == edited and begun.pointer("latest") == 2
    begun.config.write_text(whole.replace("max_steps = 2", "max_steps = 3"))
    assert tale("train", dataset, "--out", begun.path, "--resume").code == 0 and begun.pointer("latest") == 3


def test_a_checkpoint_without_settings_is_of_an_older_run_and_goes_on(tale, dataset: Path, begun: RunFolder):
    from tinytale.training.checkpoint import _seal

    path = begun.checkpoint(2) / "state.json"
    state = {name: part for name, part in json.loads(path.read_text()).items() if name not in ("settings", "seal")}
    path.write_text(json.dumps(state | {"seal": _seal(state)}))
    ended = tale("train", dataset, "--out", begun.path, "--resume", "--max-steps=3")
    assert ended.code == 0 and "going on from step 2" in ended.err and begun.pointer("latest") == 3


def test_a_run_that_is_over_before_its_warm_up_says_so_and_how_long_a_good_one_takes(tale, dataset: Path, out: Path):
    large = tiny(**{"--data.batch-size": 3000, "--data.micro-batch-size": 1000})
    ended = tale("train", dataset, "--out", out, *large)
    said = [line for line in ended.err.splitlines() if line.startswith("This run is short: 4 steps, ")]
    assert ended.code == 0 and len(said) == 2
    assert "the learning rate climbs for 50; it reaches 8% of its peak. --run.epochs 50 (200 steps) learns" in said[0]
    assert "--run.epochs 50 (200 steps) takes about " in said[1] and said[1].endswith(", and learns more.")
    cut = tale("train", dataset, "--out", out.with_name("cut"), *TINY, "--max-steps=6")
    assert cut.code == 0 and "it reaches 12% of its peak. --max-steps 200 takes about " in cut.err
    long = tale("train", dataset, "--out", out.with_name("long"), *TINY, "--max-steps=6", "--optimiser.warmup-steps=3")
    assert long.code == 0 and "short" not in long.err


def test_a_batch_beyond_memory_is_refused_before_any_is_taken(tale, dataset: Path, out: Path):
    ended = tale("train", dataset, "--out", out, *tiny(**{"--data.batch-size": 99999999999}))
    assert ended.code == 2 and "GiB of memory" in ended.err and "batches of 99,999,999,999 sequences" in ended.err
    assert not out.exists()
