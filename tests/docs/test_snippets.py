"""The Python of the tour runs, and so does the Slurm script, on stand-ins for Slurm's commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tinytale.addons.builtin.stories import story

DOCS = Path(__file__).parents[2] / "docs"

STAND_INS = {
    "scontrol": 'test "$1 $2 $3" = "show hostnames tales[1-2]" && printf "localhost\\nother\\n"',
    "srun": '"$@" &\n"$@"\nsecond=$?\nwait $! && exit $second',
    "torchrun": f'exec "{sys.executable}" -m torch.distributed.run "$@"',
}
"""What the Slurm script calls: `srun` starts its command once for each of two machines, which are this one."""


def test_the_python_of_the_tour_runs(capsys: pytest.CaptureFixture[str]):
    names: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tour.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    assert len(blocks) == 5
    assert "['The', ' cat', ' sat', ' on', ' the', ' mat', '.']" in said
    assert "6 [" in said, "the logit lens has a line for each of the six blocks"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a script for Linux clusters")
def test_the_slurm_script_goes_on_with_a_run_on_two_machines(
    dataset: Path, train_options: list[str], tmp_path: Path, tale
):
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    for name, script in STAND_INS.items():
        (stand_ins / name).write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        (stand_ins / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{stand_ins}:{os.environ['PATH']}",
        "PYTHONPATH": str(DOCS.parent / "src"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "tales[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_GPUS_ON_NODE": "1",
        "SLURM_CPUS_PER_TASK": "1",
    }

    command = [*train_options, "--out", tmp_path / "run"]
    assert tale("train", dataset, *command, "--max-steps=2").code == 0
    done = subprocess.run(
        ["bash", DOCS / "slurm.sh", dataset, tmp_path / "run", *train_options, "--max-steps=3"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "2 x cpu" in done.stderr and "going on from step 2" in done.stderr
    assert (tmp_path / "run/latest").read_text(encoding="utf-8").strip().endswith("3")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="a Bash script")
def test_the_script_for_one_gpu_makes_weights_of_raw_stories_and_goes_on_where_it_was_stopped(
    train_options: list[str], tmp_path: Path
):
    for name, count, seed in (("train", 300, 0), ("test", 40, 1)):
        text = "\n<|endoftext|>\n".join(story(seed, index) for index in range(count))
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(DOCS.parent / "src"),
        "TINYTALE": f"{sys.executable} -m tinytale",
        "SUITE": "quick",
    }

    def script(*options: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", DOCS / "one-gpu.sh", "train.txt", "test.txt", *train_options, *options],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=600,
        )

    stopped = script("--optimiser.schedule=nonsense")
    assert stopped.returncode == 2 and "nonsense" in stopped.stderr
    done = script("--data.micro-batch-size=4", "--max-steps=2")
    assert done.returncode == 0, done.stderr
    assert "datasets/course is prepared already" in done.stderr
    assert "Once upon a time" in done.stdout
    card = (tmp_path / "weights/course/model/README.md").read_text(encoding="utf-8")
    assert "--recipe course" in card and "perplexity" in card
