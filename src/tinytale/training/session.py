"""A session of training: a run's folder, settings and dataset, brought together where the last session ended."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tinytale.advice import command
from tinytale.config import TrainConfig, differences
from tinytale.data.shards import Manifest
from tinytale.data.tokenizer import TOKENIZER_FILE, Tokenizer, load_tokenizer
from tinytale.errors import TaleError, UsageError
from tinytale.files import write_text
from tinytale.runs import RunFolder, find_folder
from tinytale.training.checkpoint import refuse_other_architecture, settings_of
from tinytale.training.display import Display
from tinytale.training.distributed import ALONE, Ranks
from tinytale.training.history import copy_record
from tinytale.training.loop import BatchSource
from tinytale.training.material import gather
from tinytale.training.samples import Tell
from tinytale.training.start import settle_start
from tinytale.training.teacher import settle_teacher
from tinytale.training.trainer import Trainer, resume

MAY_CHANGE_ON_RESUME = {
    "run.epochs",
    "run.max_steps",
    "run.evaluate_every",
    "run.sample_every",
    "run.allocator",
    "optimiser.decay_fraction",
    "run.checkpoint_seconds",
    "run.keep_checkpoints",
    "data.folder",
}
"""Not so `evaluate_tokens`: the best weights are the best by one measure."""


class Dataset:
    """A prepared dataset, its files verified, and its tokenizer.

    Raises:
        UsageError: there is none in that folder.
        TaleError: a file is missing or damaged, or the manifest and the tokenizer do not belong together.
    """

    def __init__(self, folder: Path):
        self.folder, self.manifest = folder, Manifest.load(folder)
        self.manifest.verify(folder)
        self.tokenizer: Tokenizer = load_tokenizer(folder)
        shards = (self.manifest.vocab_size, self.manifest.end_of_text)
        if shards != (self.tokenizer.vocab_size, self.tokenizer.end_of_text):
            raise TaleError(
                f"{folder}: the shards are of {shards[0]:,} tokens with {shards[1]} as end of text, its tokenizer.json"
                f" of {self.tokenizer.vocab_size:,} with {self.tokenizer.end_of_text}; prepare the dataset again"
            )


def settle(
    settings: TrainConfig,
    folder: RunFolder,
    saved: TrainConfig | None,
    dataset: Dataset,
    name: str,
    asked_of_model: dict[str, Any],
) -> TrainConfig:
    """The settings with what the dataset, the weights that training begins with, and the teacher decide.

    Args:
        settings: what to train.
        folder: of the run.
        saved: what the run was begun with, if it was: that binds it.
        dataset: what to train on.
        name: the dataset's folder, as it was typed.
        asked_of_model: settings of the model that a person gave by name.

    Raises:
        UsageError: the run was begun with other settings; or see `settle_start`, `settle_teacher`.
    """
    settings = replace(
        settings,
        model=replace(settings.model, vocab_size=dataset.tokenizer.vocab_size),
        data=replace(settings.data, folder=name, digest=dataset.manifest.digest),
    )
    latest = folder.pointer("latest")
    begun = saved if latest else None
    if saved and latest:
        _refuse_edited(folder, saved, settings_of(folder, latest))
    settings = settle_start(settings, begun, dataset.tokenizer, asked_of_model)
    settings = settle_teacher(settings, folder, begun, dataset.tokenizer)
    changed = [] if saved is None else differences(saved, settings)
    if changed := [line for line in changed if line.split(":")[0] not in MAY_CHANGE_ON_RESUME]:
        raise UsageError(
            f"{folder.path} was begun with other settings; resuming it would be another run."
            f" Changed: {'; '.join(changed)}."
            " Resume with the same dataset and settings, or name another folder with --out"
        )
    return settings


def _refuse_edited(folder: RunFolder, saved: TrainConfig, trained_with: TrainConfig | None) -> None:
    """See that `config.toml` says what the checkpoint was trained with.

    Raises:
        UsageError: somebody has edited it, more than a run may change on its way.
    """
    edited = [] if trained_with is None else differences(trained_with, saved)
    free = MAY_CHANGE_ON_RESUME | {"run.compile"}  # which is rewritten where torch.compile turns out not to work
    if edited := [line for line in edited if line.split(":")[0] not in free]:
        raise UsageError(
            f"{folder.config} has been edited since the latest checkpoint was trained; going on would be another run."
            f" Changed: {'; '.join(edited)}. Put that back, or begin a run of your own:"
            f" {command('train', 'DATASET', '--config', folder.config, '--out', 'ANOTHER_FOLDER')}"
        )


class Session:
    """What a session is made of; of several ranks each has one.

    Raises:
        UsageError: see `gather`.
        TaleError: the folder holds checkpoints of another model, or damaged ones.
    """

    def __init__(self, settings: TrainConfig, folder: RunFolder, dataset: Dataset, ranks: Ranks = ALONE):
        self.settings, self.folder, self.dataset, self.ranks = settings, folder, dataset, ranks
        begun_at = folder.pointer("latest")
        if begun_at:
            refuse_other_architecture(folder, begun_at, settings.model)
        self.material = gather(settings, dataset.folder, dataset.manifest, ranks, begun=begun_at is not None)
        self.state = self.material.state

    def begin(self) -> int:
        """Take up the latest checkpoint, if there is one, and keep the settings; the step to go on from.

        Raises:
            TaleError: see `resume`.
        """
        step = resume(self.folder, self.state)
        if self.ranks.main:
            write_text(self.folder.config, self.state.settings.to_toml())
            if not step and self.settings.run.start_from:
                copy_record(RunFolder(find_folder(self.settings.run.start_from)), self.folder.before)
        return step

    def trainer(
        self,
        display: Display,
        tell: Tell | None = None,
        watched: Callable[[BatchSource], BatchSource] = lambda batches: batches,
    ) -> Trainer:
        """Who trains it to its end; `watched` may come between it and its batches."""
        tokenizer = self.dataset.tokenizer
        return Trainer(
            self.folder,
            self.state,
            watched(self.material.batches),
            self.material.dev_tokens_N,
            tokenizer.byte_lengths(),
            (self.dataset.folder / TOKENIZER_FILE).read_bytes(),
            tokenizer.end_of_text,
            display,
            tell,
        )
