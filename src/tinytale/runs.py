"""The run folder, the interface between the verbs: its paths and its pointers; and finding a folder by name."""

import re
from dataclasses import dataclass
from pathlib import Path

from tinytale.advice import command
from tinytale.config import TrainConfig
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL, at_home, write_text

CHECKPOINT = "step-{:08d}"

CARD = "README.md"
"""The model card's file, where the Hub looks for it. Of runs, only a shipped one has it, in its `model` folder."""


@dataclass(frozen=True)
class RunFolder:
    """Where each thing of a run lies. Two small text files, `latest` and `best`, name a finished checkpoint."""

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as `TrainConfig.to_toml` writes them."""
        return self.path / "config.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: every training step, and every evaluation on the dev split."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The best weights so far, as a GPT-2 folder."""
        return self.path / "model"

    @property
    def evaluation(self) -> Path:
        """Results, one file for each dataset."""
        return self.path / "evaluation"

    @property
    def course_samples(self) -> Path:
        """One JSON object a line: the short stories that the model told at an evaluation, while it trained."""
        return self.path / "samples.jsonl"

    @property
    def samples(self) -> Path:
        """Stories that the finished model told, with their settings."""
        return self.path / "samples.json"

    @property
    def before(self) -> "RunFolder":
        """Settings and metrics of the run whose weights this one began with; empty if there was none."""
        return RunFolder(self.path / "before")

    def checkpoint(self, step: int) -> Path:
        """The checkpoint of a step."""
        return self.checkpoints / CHECKPOINT.format(step)

    def steps(self) -> list[int]:
        """Steps that have a complete checkpoint, oldest first."""
        found = self.checkpoints.glob("step-*") if self.checkpoints.is_dir() else ()
        return sorted(int(folder.name[5:]) for folder in found if folder.name[5:].isdecimal())

    def unfinished(self) -> list[Path]:
        """What an interrupted save left behind."""
        return sorted(self.checkpoints.glob(f"*{PARTIAL}")) if self.checkpoints.is_dir() else []

    def point(self, name: str, step: int) -> None:
        """Let `latest` or `best` name a step."""
        write_text(self.path / name, CHECKPOINT.format(step) + "\n")

    def pointer(self, name: str) -> int | None:
        """The step that `latest` or `best` names; None when there is no such pointer yet.

        Raises:
            TaleError: the pointer is damaged or names a checkpoint that is not there.
        """
        path = self.path / name
        if not path.is_file():
            return None
        text = path.read_bytes().decode("utf-8", "replace").strip()
        named = re.fullmatch(r"step-([0-9]{8,18})", text)
        if not (named and self.checkpoint(int(named[1])).is_dir()):
            there = ", ".join(CHECKPOINT.format(step) for step in self.steps()) or "none"
            raise TaleError(f"{path} names {text[:40]!r}; expected a checkpoint in {self.checkpoints} (there: {there})")
        return int(named[1])

    def read_config(self) -> TrainConfig:
        """The settings of the run.

        Raises:
            UsageError: `config.toml` is missing or damaged.
        """
        return TrainConfig.from_toml(self.config)


def shipped_weights() -> dict[str, Path]:
    """The runs that come with tinytale, by name: inside an installed package, or at the root of the repository."""
    here = Path(__file__).parent
    places = [here / "weights", here.parent.parent / "weights"]
    found = [run for place in places if place.is_dir() for run in sorted(place.iterdir()) if run.is_dir()]
    return {run.name: run for run in found if not run.name.endswith(PARTIAL)}


def is_shipped(folder: Path) -> bool:
    """Whether a folder is one of the shipped runs: read, never written into."""
    return folder.resolve() in {run.resolve() for run in shipped_weights().values()}


def find_folder(name: str) -> Path:
    """A folder that a person typed: a path, or the name of a shipped run.

    Raises:
        UsageError: there is neither.
    """
    path = Path(at_home(name))
    if path.is_dir():
        return path
    shipped = shipped_weights()
    if name in shipped:
        return shipped[name]
    known = f"; shipped with tinytale: {', '.join(shipped)}" if shipped else ""
    raise UsageError(f"there is no folder {name!r}; expected a run or a model folder{known}")


def model_folder(folder: Path) -> Path:
    """The GPT-2 folder inside a run folder, or the folder itself if it is one.

    Raises:
        UsageError: it is neither.
    """
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file():
            return candidate
    if (folder / "config.toml").is_file():
        raise UsageError(
            f"{folder} is a run without weights yet; train it further:"
            f" {command('train', 'DATASET', '--out', folder, '--resume')}"
        )
    raise UsageError(f"{folder} is neither a run folder (config.toml, model/) nor a GPT-2 folder (config.json)")


def tokenizer_source(name: str) -> str:
    """Where the tokenizer lies that a person has named: with the model of a run or of shipped weights, or as named."""
    shipped = name in shipped_weights() and not Path(name).is_dir()
    of_a_run = (Path(at_home(name)) / "model" / "config.json").is_file()
    return str(model_folder(find_folder(name))) if shipped or of_a_run else name
