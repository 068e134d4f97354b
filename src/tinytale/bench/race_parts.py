"""`bench race` as one object: its runs, its step times and the summary of all that its folder holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from tinytale.bench.conditions import Conditions
from tinytale.bench.nanogpt import nanogpt_folder
from tinytale.bench.race import Distances, race_control, race_nanogpt, race_tinytale, target_loss
from tinytale.bench.race_runs import Course, RaceFolder, Run
from tinytale.bench.race_summary import TIMED, summarise
from tinytale.bench.sizes import Size
from tinytale.bench.step_times import time_steps
from tinytale.data.shards import Manifest
from tinytale.errors import UsageError
from tinytale.files import read_json, write_json
from tinytale.hardware import pick_precision

TIMES_FILE, SUMMARY_FILE = "times.json", "summary.json"


@dataclass(frozen=True, kw_only=True)
class Race:
    """A race on a dataset, kept in the folder `out`; what that holds already is not done again, except the times.

    Raises:
        UsageError: on each call, if an argument is not valid, or nanoGPT's code is needed and not there.
        TaleError: on each call, if `out` belongs to another race, or a run went astray.
    """

    dataset: Path
    out: Path
    size: Size
    distances: Distances
    nanogpt: str | None
    precision: Literal["auto", "float32", "bfloat16"]
    dev_tokens: int
    evaluations: int

    def __post_init__(self) -> None:
        if self.dev_tokens < 1 or self.evaluations < 1:
            raise UsageError(
                f"expected at least 1 dev token and 1 evaluation; found {self.dev_tokens} and {self.evaluations}"
            )

    @property
    def course(self) -> Course:
        """What all runs share."""
        return Course(
            dataset_sha256=Manifest.load(self.dataset).digest,
            size=self.size,
            dev_tokens=self.dev_tokens,
            evaluations=self.evaluations,
            precision=pick_precision(self.precision, torch.device("cpu")),
        )

    def run(
        self,
        part: Literal["nanogpt", "control", "ours"],
        threads: int,
        progress: Callable[[Run], Callable[[int], None]],
    ) -> None:
        """Do the runs of one part. `progress` is told of each that begins; what it returns, of the tokens done."""
        code = nanogpt_folder(self.nanogpt) if part == "nanogpt" else None
        folder = RaceFolder(self.dataset, self.course, self.out, code, progress)
        torch.set_num_threads(threads)
        if part == "nanogpt":
            race_nanogpt(self.distances, folder.run)
        elif part == "control":
            race_control(self.distances, folder.run)
        else:
            race_tinytale(self.distances, folder.run, target_loss(folder.finished(), self.distances.tokens))

    def time(self, conditions: Conditions, progress: Callable[[str], None]) -> None:
        """Measure, in turn, the step of every participant, each in its own default set-up."""
        names = list(TIMED.values())
        times = time_steps(self.dataset, self.size, "race", names, self.nanogpt, conditions, progress)
        write_json(self.out / TIMES_FILE, times)

    def summary(self) -> dict[str, Any]:
        """What the folder's runs and times show; written there, too.

        Raises:
            TaleError: nanoGPT's runs are not there yet.
        """
        times = self.out / TIMES_FILE
        folder = RaceFolder(self.dataset, self.course, self.out, None, lambda run: lambda tokens: None)
        measured = read_json(times) if times.is_file() else None
        summary = summarise(folder.finished(), self.course, self.distances.tokens, measured)
        write_json(self.out / SUMMARY_FILE, summary)
        return summary
