"""`tinytale train`: a dataset and a recipe become a run."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tinytale.allocator import restart_tuned
from tinytale.commands.dry_run import rehearsal
from tinytale.commands.overrides import (
    DataOverrides,
    ModelOverrides,
    OptimiserOverrides,
    RunOverrides,
    typed_fields,
)
from tinytale.config import TrainConfig, differences, override, read_toml
from tinytale.console import console
from tinytale.errors import TaleError, UsageError
from tinytale.files import PARTIAL, write_text
from tinytale.recipes import recipe as named_recipe
from tinytale.runs import RunFolder

MAY_CHANGE_ON_RESUME = {
    "run.epochs",
    "run.max_steps",
    "run.evaluate_every",
    "run.evaluate_tokens",
    "run.allocator",
    "run.checkpoint_seconds",
    "run.keep_checkpoints",
    "data.folder",
}


def train(
    dataset: str,
    *,
    out: Path,
    recipe: str = "pocket",
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
        Folder that `tinytale prepare` wrote.
    out: Path
        The run's folder.
    recipe: str
        Named settings to begin with: pocket, small, course or gpt2.
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
    rehearse = rehearsal(dry_run, price_per_hour, json)
    changes: dict[str, dict[str, Any]] = {
        name: typed_fields(section)
        for name, section in (("model", model), ("data", data), ("optimiser", optimiser), ("run", run))
    }
    short = {"seed": seed, "max_steps": max_steps, "compile": compile}
    changes["run"] |= {name: value for name, value in short.items() if value is not None}

    folder = RunFolder(out)
    begun = folder.config.is_file()
    if begun and not resume:
        raise UsageError(f"{out} already holds a run; go on with --resume, or name another folder with --out")
    if out.is_file() or (not begun and out.is_dir() and any(not path.name.endswith(PARTIAL) for path in out.iterdir())):
        raise UsageError(f"{out} exists and is not a run folder; name another folder with --out")
    saved = folder.read_config() if begun else None
    settings = saved if saved and saved.recipe == recipe else named_recipe(recipe)
    if config is not None:
        settings = override(settings, read_toml(config), where=str(config))
    settings = override(settings, {name: section for name, section in changes.items() if section})
    if settings.run.allocator == "tuned":
        restart_tuned()
    return _train(dataset, folder, settings, saved, rehearse)


def _train(
    dataset: str,
    folder: RunFolder,
    settings: TrainConfig,
    saved: TrainConfig | None,
    rehearse: Callable[..., int] | None,
) -> int:
    from tinytale.data.batches import Batches
    from tinytale.data.shards import Manifest
    from tinytale.data.tokenizer import load_tokenizer
    from tinytale.training.display import ConsoleDisplay
    from tinytale.training.interrupt import Interrupt
    from tinytale.training.loop import initial_state
    from tinytale.training.trainer import Trainer
    from tinytale.training.trainer import resume as resume_state

    source = Path(dataset)
    manifest = Manifest.load(source)
    manifest.verify(source)
    tokenizer = load_tokenizer(str(source))
    settings = dataclasses.replace(
        settings,
        model=dataclasses.replace(settings.model, vocab_size=tokenizer.vocab_size),
        data=dataclasses.replace(settings.data, folder=dataset, digest=manifest.digest),
    )
    if saved:
        _refuse_another_run(folder, saved, settings)

    batches = Batches(manifest, source, settings.sequence_length, settings.data.batch_size, settings.run.seed)
    dev = manifest.tokens(source, "dev")
    if not len(dev):
        raise UsageError(
            f"the dev split of {source} is empty, so no weights can be called the best; prepare more stories"
        )
    steps = settings.run.max_steps or max(1, math.ceil(settings.run.epochs * batches.steps_per_epoch))
    dev_tokens = dev[: settings.run.evaluate_tokens + 1 if settings.run.evaluate_tokens else len(dev)]
    state = initial_state(settings, steps)
    if rehearse:
        return rehearse(folder, state, batches, dev_tokens, tokenizer)
    step = resume_state(folder, state)
    write_text(folder.config, settings.to_toml())

    parameters = f"{state.model.parameter_count() / 1e6:.2f}M weights"
    title = f"{settings.recipe} on {source.name}: {parameters}, {state.device.type} {state.precision}, to {folder.path}"
    with ConsoleDisplay(title, step, steps, settings.tokens_per_step) as display, Interrupt() as interrupt:
        if step:
            display.note(f"going on from step {step}")
        trainer = Trainer(
            folder,
            state,
            batches,
            dev_tokens,
            tokenizer.byte_lengths(),
            (source / "tokenizer.json").read_bytes(),
            tokenizer.end_of_text,
            display,
        )
        trainer.train(interrupt)
    if interrupt.signal_number:
        console.print(f"Stopped at step {state.progress.step}; go on with the same command and --resume.")
        return interrupt.exit_code
    if state.progress.best_loss is None:
        raise TaleError(
            f"{folder.path} has no model: no evaluation has found a finite dev loss; train on with a larger"
            " --max-steps, or, if the loss is not finite, begin again with a lower optimiser.learning_rate"
        )
    console.print(
        f"Done: {steps} steps; best dev loss {state.progress.best_loss:.3f} at step {state.progress.best_step}."
        f" Next: tinytale evaluate {folder.path}; tinytale generate {folder.path}"
    )
    return 0


def _refuse_another_run(folder: RunFolder, saved: TrainConfig, wanted: TrainConfig) -> None:
    changed = [line for line in differences(saved, wanted) if line.split(":")[0] not in MAY_CHANGE_ON_RESUME]
    if changed:
        raise UsageError(
            f"{folder.path} was begun with other settings; resuming it would be another run."
            f" Changed: {'; '.join(changed)}."
            " Resume with the same dataset and settings, or name another folder with --out"
        )
