"""Several ranks on one machine, over gloo: each is a process of its own, as torchrun would start it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tinytale.config import ModelConfig
from tinytale.errors import UsageError
from tinytale.model.folder import save_model
from tinytale.model.gpt2 import GPT2
from tinytale.runs import RunFolder
from tinytale.training.distributed import Ranks
from tinytale.training.metrics import read_metrics

REMEMBER = """
import os
from pathlib import Path
from safetensors.torch import save_file
from tinytale.training.optim import Optimiser
from tinytale.training.trainer import Trainer

folder, rank = Path({folder!r}), os.environ["RANK"]
step, train = Optimiser.step, Trainer.train

def remember_first_gradients(self):
    path = folder / f"gradients-{{rank}}"
    if not path.exists():
        save_file({{name: p.grad.clone() for p, name in self.names.items()}}, path)
    step(self)

def remember_last_weights(self, interrupt):
    stopped = train(self, interrupt)
    save_file(self.state.model.state_dict(), folder / f"weights-{{rank}}")
    return stopped

Optimiser.step, Trainer.train = remember_first_gradients, remember_last_weights
"""

NAN_IN_RANK_1 = """
if rank == "1":
    import tinytale.training.loop as loop
    from tinytale.training.loss import StepLoss
    plain_loss, calls = loop.plain_loss, iter(range(-1, 1000))  # the first call is the rehearsal
    def spoiled(*arguments):
        factor = float("nan") if next(calls) in {steps} else 1
        return StepLoss(*(part * factor for part in plain_loss(*arguments)))
    loop.plain_loss = spoiled
"""


@pytest.fixture
def ranks(spawn_tale, dataset: Path, tmp_path: Path, train_options) -> Callable[..., list[BaseProcess]]:
    """`ranks(2, "run", ...)`: `tinytale train` in so many processes, which remember gradients and weights; begun."""

    def begin(size: int, out: str, *options: str, code: str = "") -> list[BaseProcess]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (tmp_path / f"{out}-ranks").mkdir(exist_ok=True)
        before = REMEMBER.format(folder=str(tmp_path / f"{out}-ranks")) + code
        group = []
        shared = [option for option in train_options if "batch-size" not in option] + ["--data.batch-size=12"]
        for rank in range(size):
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1"}
            variables = {name: str(value) for name, value in place.items()} | {"MASTER_PORT": str(port)}
            group.append(
                spawn_tale(
                    "train", dataset, "--out", tmp_path / out, *shared, *options,
                    before=f"import os; os.environ.update({variables})\n{before}",
                    log=tmp_path / f"{out}-ranks" / f"log-{rank}",
                )
            )  # fmt: skip
        return group

    return begin


@pytest.fixture
def run_ranks(ranks, tmp_path: Path) -> Callable[..., RunFolder]:
    """The same, ended well, with equal weights in every rank."""

    def run(size: int, out: str, *options: str, code: str = "") -> RunFolder:
        group = ranks(size, out, *options, code=code)
        for process in group:
            process.join(120)
        said = [(tmp_path / f"{out}-ranks" / f"log-{rank}").read_text() for rank in range(size)]
        assert [process.exitcode for process in group] == [0] * size, said
        weights = [load_file(tmp_path / f"{out}-ranks" / f"weights-{rank}") for rank in range(size)]
        assert all(torch.equal(one[name], weights[0][name]) for one in weights for name in one)
        return RunFolder(tmp_path / out)

    return run


def losses(run: RunFolder) -> list[float]:
    return [entry["loss"] for entry in read_metrics(run.metrics) if "loss" in entry]


def outcome(run: RunFolder) -> tuple:
    """Tensors, counters and metrics: all but the time."""
    latest = run.pointer("latest")
    assert latest is not None
    metrics = [{key: value for key, value in entry.items() if key != "seconds"} for entry in read_metrics(run.metrics)]
    progress = json.loads((run.checkpoint(latest) / "state.json").read_text())["progress"] | {"seconds": 0}
    tensors = [(run.checkpoint(latest) / name).read_bytes() for name in ("model.safetensors", "optimiser.safetensors")]
    return latest, progress, metrics, tensors, (run.model / "model.safetensors").read_bytes()


def test_one_two_and_four_ranks_do_the_same(run_ranks, tmp_path: Path):
    options = [
        "--optimiser.schedule=constant",
        "--optimiser.algorithm=adamw",
        "--data.micro-batch-size=3",
        "--model.dropout=0.1",
    ]
    alone = run_ranks(1, "1", *options, "--max-steps=20")
    gradients = load_file(tmp_path / "1-ranks" / "gradients-0")
    scale = max(gradient.norm().item() for gradient in gradients.values())
    for size, steps in ((2, 20), (4, 3)):
        run = run_ranks(size, str(size), *options, f"--max-steps={steps}")
        assert losses(run) == pytest.approx(losses(alone)[:steps], abs=1e-5)
        for rank in range(size):
            found = load_file(tmp_path / f"{size}-ranks" / f"gradients-{rank}")
            for name, gradient in gradients.items():
                difference = (found[name] - gradient).norm().item()
                assert difference <= 1e-6 * max(gradient.norm().item(), 1e-3 * scale), name


def test_three_ranks_resume_to_the_bit(run_ranks):
    options = ["--run.evaluate-every=3", "--optimiser.schedule=constant", "--model.dropout=0.1"]
    whole = run_ranks(3, "whole", *options, "--max-steps=6")
    run_ranks(3, "halves", *options, "--max-steps=3")
    halves = run_ranks(3, "halves", *options, "--max-steps=6", "--resume")
    assert outcome(whole) == outcome(halves)


def test_checkpoints_of_ranks_compiled_or_not_and_of_one_process_interchange(run_ranks):
    options = ["--run.evaluate-every=2", "--optimiser.schedule=constant", "--optimiser.algorithm=adamw"]
    alone = run_ranks(1, "alone", *options, "--max-steps=6")
    traced = (
        "import functools, torch; torch.compile = functools.partial(torch.compile, backend='eager', fullgraph=True)\n"
    )
    run_ranks(2, "mixed", *options, "--max-steps=2", "--compile", code=traced)
    assert "does not work" not in (alone.path.with_name("mixed-ranks") / "log-0").read_text()
    names = [set(load_file(path)) for path in sorted(alone.checkpoints.glob("*/*.safetensors"))[-2:]]
    mixed = RunFolder(alone.path.with_name("mixed"))
    assert [set(load_file(path)) for path in sorted(mixed.checkpoints.glob("*/*.safetensors"))[-2:]] == names
    config = mixed.config.read_text()
    mixed.config.write_text(config.replace("compile = true", "compile = false"))
    run_ranks(1, "mixed", *options, "--max-steps=4", "--resume")
    run_ranks(2, "mixed", *options, "--max-steps=6", "--resume")
    assert losses(mixed) == pytest.approx(losses(alone), abs=1e-5)


def test_ranks_follow_a_teacher_together_and_resume_to_the_bit(run_ranks, dataset: Path, tmp_path: Path):
    teacher = GPT2(ModelConfig(vocab_size=300, context_length=16, layers=1, heads=2, width=32))
    save_model(tmp_path / "teacher", teacher, 0, (dataset / "tokenizer.json").read_bytes())
    options = ["--run.evaluate-every=3", "--optimiser.schedule=constant", "--optimiser.algorithm=adamw"]
    options += ["--data.micro-batch-size=3", f"--run.teacher={tmp_path / 'teacher'}", "--run.teacher-weight=0.8"]
    traced = (
        "import functools, torch; torch.compile = functools.partial(torch.compile, backend='eager', fullgraph=True)\n"
    )
    alone = run_ranks(1, "alone", *options, "--max-steps=6")
    whole = run_ranks(2, "whole", *options, "--max-steps=6", "--compile", code=traced)
    assert "does not work" not in (tmp_path / "whole-ranks" / "log-0").read_text()
    assert losses(whole) == pytest.approx(losses(alone), abs=1e-5)
    run_ranks(2, "halves", *options, "--max-steps=3", "--compile", code=traced)
    halves = run_ranks(2, "halves", *options, "--max-steps=6", "--resume", code=traced)
    assert outcome(whole) == outcome(halves)


def test_a_nan_in_one_rank_leaves_the_update_out_in_all(run_ranks):
    run = run_ranks(2, "run", "--max-steps=6", code=NAN_IN_RANK_1.format(steps={2}))
    assert [loss is None for loss in losses(run)] == [False, False, True, False, False, False]
    assert outcome(run)[1]["skipped"] == 1


def test_ranks_roll_back_together(run_ranks):
    options = ["--max-steps=18", "--run.evaluate-every=4", "--optimiser.warmup-steps=2"]
    run = run_ranks(2, "run", *options, code=NAN_IN_RANK_1.format(steps=set(range(5, 15))))
    events = [entry for entry in read_metrics(run.metrics) if "rolled_back_to" in entry]
    assert events == [{"step": 15, "rolled_back_to": 4, "rollbacks": 1}]


IN_RANK_1 = """
import os, signal
from tinytale.data.batches import Batches
batch_at = Batches.batch_at
def faulty(self, step, rows):
    if step == {step} and os.environ["RANK"] == "1" and os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0":
        os.kill(os.getpid(), signal.{signal})
    return batch_at(self, step, rows)
Batches.batch_at = faulty
"""


def test_a_signal_to_one_rank_stops_all_in_the_same_step(ranks, run_ranks, tmp_path: Path):
    options = ["--max-steps=8", "--run.evaluate-every=4"]
    whole, halves = run_ranks(2, "whole", *options), RunFolder(tmp_path / "halves")
    group = ranks(2, "halves", *options, code=IN_RANK_1.format(step=4, signal="SIGTERM"))
    for process in group:
        process.join(20)
    assert [process.exitcode for process in group] == [143, 143]
    assert "Stopped at step 5" in (tmp_path / "halves-ranks" / "log-0").read_text()
    assert halves.pointer("latest") == 5
    run_ranks(2, "halves", *options, "--resume")
    assert outcome(halves) == outcome(whole)


def test_when_a_rank_is_killed_the_others_leave_and_say_why(ranks, tmp_path: Path):
    group = ranks(2, "run", "--max-steps=9", code=IN_RANK_1.format(step=4, signal="SIGKILL"))
    group[1].join(60)
    killed = time.monotonic()
    group[0].join(10)
    assert [process.exitcode for process in group] == [1, -signal.SIGKILL] and time.monotonic() - killed < 10
    said = (tmp_path / "run-ranks" / "log-0").read_text()
    assert "Error: process 0 of 2 has lost contact to the others" in said and "Traceback" not in said


@pytest.mark.slow
def test_torchrun_begins_again_after_a_kill_and_ends_with_the_same_bits(
    run_ranks, dataset: Path, tmp_path: Path, train_options, count
):
    options = ["--max-steps=8", "--run.evaluate-every=2"]
    whole = run_ranks(2, "whole", *options)
    options += [option for option in train_options if "batch-size" not in option] + ["--data.batch-size=12"]
    for attempt in range(count(1, 20)):
        run, program, log = (tmp_path / f"{attempt}{end}" for end in ("", ".py", ".log"))
        kill = IN_RANK_1.format(step=3 + attempt % 4, signal="SIGKILL")
        program.write_text(f"{kill}\nimport runpy\nrunpy.run_module('tinytale', run_name='__main__')\n")
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
        command = [*torchrun, "--max-restarts=1", program, "train", dataset, "--out", run, "--resume", *options]
        variables = os.environ | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        with log.open("w") as file:
            ended = subprocess.run([*map(str, command)], env=variables, stdout=file, stderr=file, timeout=120)
        assert ended.returncode == 0 and "going on from step" in log.read_text(), log.read_text()
        assert outcome(RunFolder(run)) == outcome(whole)


def test_ranks_share_the_rows_evenly():
    assert [Ranks(rank, 3).rows(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(
        UsageError, match=r"batch_size is 14, which 4 processes cannot share.* a multiple of 4: 12 or 16"
    ):
        Ranks(0, 4).rows(14)
    with pytest.raises(UsageError, match="expected a multiple of 4: 4"):
        Ranks(0, 4).rows(3)


def test_each_rank_has_a_gpu_of_its_own(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    cuda = torch.device("cuda")
    assert Ranks().device(cuda) == cuda and Ranks(1, 2, 1).device(torch.device("cpu")) == torch.device("cpu")
    assert Ranks(3, 4, 1).device(cuda) == torch.device("cuda", 1) and chosen == [1]
    with pytest.raises(UsageError, match="process 2 has no GPU: there are 2"):
        Ranks(2, 4, 2).device(cuda)
    with pytest.raises(UsageError, match=r"cannot train on 'mps' together; give --run\.device cpu"):
        Ranks(0, 2, 0).device(torch.device("mps"))
