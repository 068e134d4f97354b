"""`tinytale bench`: measured side by side with other programs."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cyclopts import App
from rich.progress import Progress

from tinytale.bench.conditions import Allocator, Conditions, Isa
from tinytale.commands.options import print_json
from tinytale.console import console, progress_bar
from tinytale.errors import TaleError, UsageError
from tinytale.files import write_bytes, write_json

if TYPE_CHECKING:
    from tinytale.bench.race_parts import Race
    from tinytale.bench.race_runs import Run

bench = App(name="bench", help="Measure side by side with other programs.")

Part = Literal["nanogpt", "control", "ours", "times", "summary"]


@bench.command
def train(
    dataset: Path,
    *,
    nanogpt: str | None = None,
    size: Literal["S", "M", "124M"] = "S",
    contenders: str | None = None,
    threads: int | None = None,
    rounds: int = 7,
    steps: int = 5,
    allocator: Allocator = "default",
    isa: Isa | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Time one training step of nanoGPT, transformers and tinytale, each in a process of its own, in turn.

    Every contender begins from the same weights and sees the same batches, so their losses must agree. Ratios are
    against the first one, and are medians of the ratios of each round.

    Parameters
    ----------
    dataset
        A dataset folder; its vocabulary must not be larger than the model's.
    nanogpt
        Folder with nanoGPT's model.py, or auto to clone it into your cache.
    size
        S: 6 layers, 256 wide; M: 8, 512; 124M: GPT-2 small.
    contenders
        Some of them, with commas: nanogpt, nanogpt-best, transformers, transformers-best, tinytale-float32,
        tinytale-bfloat16, tinytale-compile, tinytale-native, tinytale. Default: all.
    threads
        Of each process. Default: one for each core.
    rounds
        Turns of each contender.
    steps
        Training steps in a turn.
    allocator
        tuned: huge pages, memory kept (glibc), for all contenders.
    isa
        The most that oneDNN may use of the processor, for all contenders.
    out
        Write the results, each step's time included, into this JSON file.
    json
        Print the results on standard output.
    """
    if out and out.is_dir():
        raise UsageError(f"{out} is a folder; name a file for the results")
    from tinytale.bench.sizes import SIZES
    from tinytale.bench.speed import speed_table
    from tinytale.bench.step_times import chosen_contenders, time_steps, turns
    from tinytale.resources import available_cores

    names = chosen_contenders(contenders)
    conditions = Conditions(
        threads=available_cores() if threads is None else threads,
        rounds=rounds,
        steps=steps,
        allocator=allocator,
        isa=isa,
    )
    with progress_bar("turn") as bar:
        progress = _turn_progress(bar, turns(len(names), conditions))
        result = time_steps(dataset, SIZES[size], size, names, nanogpt, conditions, progress)
    if out:
        write_json(out, result)
    if json:
        print_json(result)
    else:
        console.print(speed_table(result))


@bench.command
def race(
    dataset: Path,
    *,
    out: Path,
    nanogpt: str | None = None,
    only: Part | None = None,
    layers: int = 4,
    width: int = 128,
    heads: int = 4,
    context_length: int = 256,
    batch_size: int = 16,
    tokens: int = 6_000_000,
    sweep_tokens: int = 2_000_000,
    rates: tuple[float, ...] = (1e-3, 3e-3, 6e-3),
    embedding_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2),
    fractions: tuple[float, ...] = (0.25, 1 / 3, 0.4, 0.5),
    control_fractions: tuple[float, ...] = (0.5, 0.75),
    seeds: int = 2,
    dev_tokens: int = 65_536,
    evaluations: int = 12,
    precision: Literal["auto", "float32", "bfloat16"] = "auto",
    threads: int | None = None,
    rounds: int = 7,
    steps: int = 10,
    allocator: Allocator = "default",
    json: bool = False,
) -> None:
    """Race to nanoGPT's best dev loss: how many tokens and seconds does tinytale's recipe need for it?

    nanoGPT trains as its train.py does, at the best of several rates; tinytale on several smaller budgets; and as a
    control, tinytale's loop with AdamW for every weight. A finished run is kept in --out and not done again. Seconds
    are steps times the median step, timed in turn.

    Parameters
    ----------
    dataset
        A dataset folder.
    out
        Folder for the runs, the times, the summary and its picture (race.png).
    nanogpt
        Folder with nanoGPT's model.py, or auto to clone it into your cache.
    only
        One part: the runs of nanogpt, of the control or of ours (which stop early once nanogpt's are there), the
        times, or the summary. Default: all, in this order.
    layers
        Of the model of all participants.
    width
        Of the model.
    heads
        Of the model.
    context_length
        Of the model, and of every training sequence.
    batch_size
        Sequences in a step.
    tokens
        nanoGPT's budget.
    sweep_tokens
        Budget of each run that chooses a rate.
    rates
        Of AdamW, to choose from.
    embedding_rates
        Of the control's embeddings, to choose from.
    fractions
        Our budgets, as fractions of nanoGPT's.
    control_fractions
        The control's budgets.
    seeds
        Of nanoGPT's final runs, and of ours that count.
    dev_tokens
        Of the dev split, scored in each evaluation.
    evaluations
        Of each run.
    precision
        Of the matrix products of all runs.
    threads
        Of the runs, and of each process that is timed. Default: one for each core.
    rounds
        Turns in the timing.
    steps
        Steps in a turn.
    allocator
        Of the processes that are timed; tuned: huge pages, memory kept (glibc).
    json
        Print the summary on standard output.
    """
    if out.is_file():
        raise UsageError(f"{out} is a file; name a folder for the runs")
    drawn = only in (None, "summary")
    if drawn and not find_spec("matplotlib"):
        raise TaleError("matplotlib is not installed, which this needs; install it: pip install 'tinytale[report]'")
    from tinytale.bench.race import Distances
    from tinytale.bench.race_parts import Race
    from tinytale.bench.race_summary import TIMED
    from tinytale.bench.sizes import Size
    from tinytale.bench.step_times import turns
    from tinytale.data.shards import Manifest
    from tinytale.resources import available_cores

    size = Size(
        layers=layers,
        width=width,
        heads=heads,
        context_length=context_length,
        vocab_size=Manifest.load(dataset).vocab_size,
        batch_size=batch_size,
    )
    distances = Distances(
        tokens=tokens,
        sweep_tokens=sweep_tokens,
        rates=rates,
        embedding_rates=embedding_rates,
        fractions=fractions,
        control_fractions=control_fractions,
        seeds=seeds,
    )
    conditions = Conditions(
        threads=available_cores() if threads is None else threads, rounds=rounds, steps=steps, allocator=allocator
    )
    contest = Race(
        dataset=dataset,
        out=out,
        size=size,
        distances=distances,
        nanogpt=nanogpt,
        precision=precision,
        dev_tokens=dev_tokens,
        evaluations=evaluations,
    )
    for part in ("nanogpt", "control", "ours"):
        if only in (None, part):
            with progress_bar("token") as bar:
                contest.run(part, conditions.threads, lambda run, bar=bar: _run_progress(bar, run))
            console.print(f"The runs of {part} are in {out}")
    if only in (None, "times"):
        with progress_bar("turn") as bar:
            contest.time(conditions, _turn_progress(bar, turns(len(TIMED), conditions)))
    if drawn:
        _summarise(contest, out / "race.png", json)


def _summarise(contest: "Race", picture: Path, json: bool) -> None:
    from tinytale.bench.race_summary import race_table
    from tinytale.report.race_figure import race_figure

    summary = contest.summary()
    write_bytes(picture, race_figure(summary))
    if json:
        print_json(summary)
    else:
        console.print(race_table(summary))
        console.print(f"Drawn in {picture}")


def _run_progress(bar: Progress, run: "Run") -> Callable[[int], None]:
    task = bar.add_task(run.file.removesuffix(".json"), total=run.tokens)
    return lambda tokens: bar.update(task, completed=tokens)


def _turn_progress(bar: Progress, total: int) -> Callable[[str], None]:
    task, turn = bar.add_task("", total=total), iter(range(total))
    return lambda doing: bar.update(task, description=doing, completed=next(turn))
