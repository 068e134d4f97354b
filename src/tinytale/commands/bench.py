"""`tinytale bench`: measured side by side with other programs."""

from pathlib import Path
from typing import Literal

from cyclopts import App

from tinytale.commands.options import print_json
from tinytale.console import console, progress_bar
from tinytale.errors import UsageError
from tinytale.files import write_json

bench = App(name="bench", help="Measure side by side with other programs.")

Allocator = Literal["default", "tuned"]
Isa = Literal[
    "AVX2", "AVX2_VNNI", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX"
]


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
    from tinytale.bench.machine import available_cores
    from tinytale.bench.sizes import SIZES
    from tinytale.bench.speed import speed_table
    from tinytale.bench.step_times import Conditions, chosen_contenders, time_steps, turns

    names = chosen_contenders(contenders)
    conditions = Conditions(
        threads=threads or available_cores(), rounds=rounds, steps=steps, allocator=allocator, isa=isa
    )
    with progress_bar("turn") as bar:
        task, told = bar.add_task("", total=turns(names, conditions)), iter(range(turns(names, conditions)))
        result = time_steps(
            dataset,
            SIZES[size],
            size,
            names,
            nanogpt,
            conditions,
            progress=lambda doing: bar.update(task, description=doing, completed=next(told)),
        )
    if out:
        write_json(out, result)
    if json:
        print_json(result)
    else:
        console.print(speed_table(result))
