"""`tinytale train`: a dataset and a recipe become a run."""

import dataclasses
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinytale.advice import command
from tinytale.allocator import restart_tuned
from tinytale.commands.overrides import (
    DataOverrides,
    ModelOverrides,
    OptimiserOverrides,
    RunOverrides,
    typed_fields,
)
from tinytale.config import TrainConfig, override, read_toml
from tinytale.console import console
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL
from tinytale.lock import LOCK_FILE, held
from tinytale.recipes import recipe as named_recipe
from tinytale.resources import place_among_processes
from tinytale.runs import RunFolder

if TYPE_CHECKING:
    from tinytale.training.session import Session


def train(
    dataset: str,
    *,
    out: Path,
    recipe: str | None = None,
    config: Path | None = None,
    resume: bool = False,
    seed: int | None = None,
    max_steps: int | None = None,
    compile: bool | None = None,
    dry_run: bool = False,
    price_per_hour: float | None = None,
    json: bool = False,
    model: ModelOverrides | None = None,  # pyright: ignore[reportInvalidTypeForm]
    data: DataOverrides | None = None,  # pyright: ignore[reportInvalidTypeForm]
    optimiser: OptimiserOverrides | None = None,  # pyright: ignore[reportInvalidTypeForm]
    run: RunOverrides | None = None,  # pyright: ignore[reportInvalidTypeForm]
) -> int:
    """Train a GPT-2 on a prepared dataset.

    Settings come from the recipe, then from --config, then from the options. Ctrl-C writes a checkpoint and leaves with
    exit code 130; --resume goes on from there to the bit.

    Parameters
    ----------
    dataset: str
        Folder that `prepare` wrote.
    out: Path
        The run's folder.
    recipe: str
        Named settings to begin with: pocket (the default), small, course or gpt2. A run that goes on has its own.
    config: Path
        TOML file whose settings replace the recipe's.
    resume: bool
        Go on from the latest checkpoint in the run's folder; begin if there is none.
    seed: int
        Short for --run.seed.
    max_steps: int
        Short for --run.max-steps.
    compile: bool
        Short for --run.compile.
    dry_run: bool
        Train for some seconds only, say what the run will take (time, memory, cost), and leave nothing behind.
    price_per_hour: float
        What an hour of this machine costs, for the cost of the run; with --dry-run.
    json: bool
        Print what --dry-run found as one JSON object.
    """
    from tinytale.addons.dry_run.dry_run import rehearsal

    rehearse = rehearsal(dry_run, price_per_hour, json)
    changes: dict[str, dict[str, Any]] = {
        name: typed_fields(section)
        for name, section in (("model", model), ("data", data), ("optimiser", optimiser), ("run", run))
    }
    short = {"seed": seed, "max_steps": max_steps, "compile": compile}
    changes["run"] |= {name: value for name, value in short.items() if value is not None}

    folder = RunFolder(out)
    rank, processes, _ = place_among_processes()
    main = rank == 0  # of the processes that torchrun has started, the one that writes
    if rehearse and processes > 1:
        raise UsageError("--dry-run measures one process; leave out torchrun, or leave out --dry-run")
    if main:
        _refuse_folder_of_something_else(folder)
    with held(out) if main and not rehearse else nullcontext():
        if main and folder.config.is_file() and not resume:
            raise UsageError(f"{out} already holds a run; go on with --resume, or name another folder with --out")
        file = {} if config is None else read_toml(config)
        saved = folder.read_config() if folder.config.is_file() else None
        settings = _settings(saved, recipe, file, str(config), changes)
        return _train(dataset, folder, settings, saved, file.get("model", {}) | changes["model"], rehearse)


def _refuse_folder_of_something_else(folder: RunFolder) -> None:
    path = folder.path
    if path.is_dir() and not folder.config.is_file():
        strangers = [item for item in path.iterdir() if item.name != LOCK_FILE and not item.name.endswith(PARTIAL)]
    else:
        strangers = [path] if path.is_file() else []
    if strangers:
        raise UsageError(f"{path} exists and is not a run folder; name another folder with --out")


def _settings(
    saved: TrainConfig | None, recipe: str | None, file: dict[str, Any], where: str, changes: dict[str, dict[str, Any]]
) -> TrainConfig:
    """What to train. `saved` is what the run was begun with, if it was, `where` the file's path, for a message."""
    settings = saved if saved and recipe in (None, saved.recipe) else named_recipe(recipe or "pocket")
    settings = override(settings, file, where)
    settings = override(settings, {name: section for name, section in changes.items() if section})
    if "teacher_weight" in changes["run"] and not settings.run.teacher:
        weight = settings.run.teacher_weight
        raise UsageError(
            f"RunConfig.teacher_weight is {weight}, but there is no teacher; name one with --run.teacher, or leave the"
            " weight out"
        )
    asked_of_run = file.get("run", {}) | changes["run"]
    if "epochs" in asked_of_run and "max_steps" not in asked_of_run:  # which the run may have been begun with
        settings = dataclasses.replace(settings, run=dataclasses.replace(settings.run, max_steps=None))
    return settings


def _train(
    name: str,
    folder: RunFolder,
    settings: TrainConfig,
    saved: TrainConfig | None,
    asked_of_model: dict[str, Any],
    rehearse: Callable[..., int] | None,
) -> int:
    if settings.run.allocator == "tuned":
        restart_tuned()

    from tinytale.training.distributed import joined
    from tinytale.training.session import Dataset, Session, settle

    dataset = Dataset(Path(name))
    settings = settle(settings, folder, saved, dataset, name, asked_of_model)
    with joined() as ranks:
        session = Session(settings, folder, dataset, ranks)
        if rehearse:
            return rehearse(session)
        return _train_together(session)


def _train_together(session: "Session") -> int:
    from tinytale.generation.short_stories import short_stories
    from tinytale.training.advice import warm_up_advice
    from tinytale.training.display import ConsoleDisplay, NoDisplay
    from tinytale.training.interrupt import Interrupt, exit_code

    settings, state, folder, ranks = session.settings, session.state, session.folder, session.ranks
    tokenizer = session.dataset.tokenizer
    step = session.begin()
    parameters = f"{state.model.parameter_count() / 1e6:.2f}M weights"
    place = f"{ranks.size} x " * (ranks.size > 1) + f"{state.device.type} {state.precision}"
    title = f"{settings.recipe} on {session.dataset.folder.name}: {parameters}, {place}, to {folder.path}"
    with (
        ConsoleDisplay(title, step, state.max_steps, settings.tokens_per_step)
        if ranks.main
        else NoDisplay() as display,
        Interrupt() as interrupt,
    ):
        if step:
            display.note(f"going on from step {step}")
        elif advice := warm_up_advice(state):
            display.note(advice)
        trainer = session.trainer(display, tell=lambda model: short_stories(model, tokenizer))
        stopped = trainer.train(interrupt)
        ranks.wait()
    if not ranks.main:
        return exit_code(stopped)
    if stopped:
        console.print(f"Stopped at step {state.progress.step}; go on with the same command and --resume.")
        return exit_code(stopped)
    progress = state.progress
    if progress.best_loss is None:
        raise TaleError(
            f"{folder.path} has no model: no evaluation has found a finite dev loss; train on with a larger"
            " --max-steps, or, if the loss is not finite, begin again with a lower optimiser.learning_rate"
        )
    console.print(
        f"Done: {state.max_steps} steps; best dev loss {progress.best_loss:.3f} at step {progress.best_step}."
        f" Next: {command('evaluate', folder.path)}; {command('generate', folder.path)}",
        soft_wrap=True,
    )
    if advice := warm_up_advice(state):
        console.print(advice)
    return 0
