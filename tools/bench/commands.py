"""`python3 run.py bench`: measured side by side with other programs."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

from cyclopts import App
from rich.progress import Progress
from rich.table import Table

from bench.conditions import MOST, Allocator, Conditions, Isa
from tinytale.commands.options import check_file, print_json
from tinytale.console import console, progress_bar
from tinytale.errors import UsageError
from tinytale.files import write_json

if TYPE_CHECKING:
    from bench.generators import Forms

bench = App(name="bench", help="Measure side by side with other programs.")


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
    check_file(out, "results")
    from bench.sizes import SIZES
    from bench.speed import speed_table
    from bench.step_times import chosen_contenders, time_steps, turns
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
    _give(result, out, json, [speed_table(result)])


@bench.command
def generate(
    folder: str | None = None,
    *,
    size: Literal["S", "M", "124M"] = "M",
    contenders: str | None = None,
    prompts: tuple[int, ...] = (1, 32),
    threads: tuple[int, ...] = (1, 2),
    prompt_tokens: int = 16,
    new_tokens: int = 128,
    rounds: int = 5,
    allocator: Allocator = "default",
    isa: Isa | None = None,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Time how fast transformers, CTranslate2, llama.cpp and tinytale continue prompts, in turn, each in its process.

    All read the same model and take the likeliest token. What is not installed is left out. Ratios are against the
    first contender, and are medians of the ratios of each round.

    Parameters
    ----------
    folder
        A run, a GPT-2 folder or the name of shipped weights. Default: random weights of a size.
    size
        Without a folder. S: 6 layers, 256 wide; M: 8, 512; 124M: GPT-2 small.
    contenders
        Some of them, with commas: transformers, transformers-bfloat16, ctranslate2-float32, ctranslate2-int8,
        llama-cpp, tinytale-torch, tinytale-float32, tinytale-bfloat16, tinytale. Default: all.
    prompts
        How many at a time; each number is a part by itself.
    threads
        Of each process; each number is a part by itself.
    prompt_tokens
        Of each prompt, drawn at random.
    new_tokens
        Of each prompt.
    rounds
        Turns of each contender.
    allocator
        tuned: huge pages, memory kept (glibc), for all contenders.
    isa
        The most that oneDNN and our decoder may use of the processor, for all contenders.
    out
        Write the results into this JSON file.
    json
        Print the results on standard output.
    """
    check_file(out, "results")
    from bench.exports import random_model, random_prompts
    from bench.generation import chosen_generators, generation_result, generation_table, time_generation
    from bench.sizes import SIZES
    from tinytale.generation.decoder import check_slots
    from tinytale.model.folder import read_config
    from tinytale.runs import find_folder, model_folder

    names = chosen_generators(contenders)
    with TemporaryDirectory() as scratch:
        if folder is None:
            source = Path(scratch) / "model"
            random_model(SIZES[size], source)
        else:
            source = model_folder(find_folder(folder))
        config, parts = read_config(source), []
        if min(*prompts, *threads, prompt_tokens, new_tokens) < 1 or prompt_tokens + new_tokens > config.context_length:
            raise UsageError(
                f"{prompt_tokens} prompt tokens and {new_tokens} new ones of {prompts} prompts on {threads} threads;"
                f" expected at least 1 of each, and no more tokens than the context of {config.context_length}"
            )
        check_slots(max(prompts))
        forms = _exported(source, Path(scratch), names)
        for cores, number in product(threads, prompts):
            conditions = Conditions(threads=cores, rounds=rounds, allocator=allocator, isa=isa)
            with progress_bar("turn") as bar:
                progress = _turn_progress(bar, (len(names) + 1) * (1 + rounds))
                drawn = random_prompts(number, prompt_tokens, config.vocab_size)
                parts.append(time_generation(forms, config, names, drawn, new_tokens, conditions, progress))
        result = generation_result(config, prompt_tokens, new_tokens, parts)
    _give(result, out, json, [generation_table(result, part) for part in parts])


def _exported(source: Path, scratch: Path, names: list[str]) -> "Forms":
    """The model as those contenders that are installed read it."""
    from bench.exports import to_ctranslate2
    from bench.generators import GENERATORS, Forms

    needed = {GENERATORS[name].package for name in names if not GENERATORS[name].why_not(prompts=1)}
    ctranslate2, gguf = scratch / "ctranslate2", scratch / "model.gguf"
    if "ctranslate2" in needed:
        to_ctranslate2(source, ctranslate2)
    if "llama_cpp" in needed:
        from tinytale.addons.interop.gguf_file import write_gguf
        from tinytale.data.tokenizer import load_tokenizer
        from tinytale.model.folder import load_model

        write_gguf(gguf, load_model(source), load_tokenizer(source), "bench", "q8_0")
    return Forms(
        folder=str(source),
        ctranslate2=str(ctranslate2) if ctranslate2.is_dir() else None,
        gguf=str(gguf) if gguf.is_file() else None,
    )


@bench.command
def serve(
    folder: str = "small",
    *,
    people: int = 10,
    stories: int = 6,
    new_tokens: int = 220,
    threads: int | None = None,
    rounds: int = 7,
    out: Path | None = None,
    json: bool = False,
) -> None:
    """Time `serve` with many people at once, beside its decoder alone telling the same stories in one batch.

    They take turns, each in a process of its own; the people ask over HTTP, from one more. Then newcomers ask while the
    others are being told, and their wait for the first token is measured.

    Parameters
    ----------
    folder
        A run, a GPT-2 folder or the name of shipped weights.
    people
        Who ask at the same time.
    stories
        Of each, one after another.
    new_tokens
        Of each story, unless it ends before.
    threads
        Of the decoder. Default: one for each core.
    rounds
        Turns of each.
    out
        Write the results into this JSON file.
    json
        Print the results on standard output.
    """
    check_file(out, "results")
    from bench.serving import serving_result, serving_table, time_serving
    from tinytale.generation.decoder import check_slots
    from tinytale.model.folder import read_config
    from tinytale.resources import available_cores
    from tinytale.runs import find_folder, model_folder

    config = read_config(model_folder(find_folder(folder)))
    if min(people, stories, new_tokens) < 1 or stories > MOST:
        raise UsageError(
            f"people is {people}, stories {stories}, new-tokens {new_tokens}; expected at least 1 of each, and at most"
            f" {MOST:,} stories"
        )
    check_slots(people)
    conditions = Conditions(threads=available_cores() if threads is None else threads, rounds=rounds)
    with progress_bar("turn") as bar:
        progress = _turn_progress(bar, 2 * (1 + rounds))
        measured = time_serving(folder, people, stories, new_tokens, conditions, progress)
    result = serving_result(config, people, stories, new_tokens, conditions.threads, measured)
    _give(result, out, json, [serving_table(result)])


@bench.command
def baselines(
    dataset: Path, *, split: Literal["test", "dev"] = "test", out: Path | None = None, json: bool = False
) -> None:
    """Score baselines that only count: uniform, unigram, and a 5-gram with modified Kneser-Ney smoothing.

    They are counted on the train split and scored on the stories as `evaluate` scores a model, each from its
    start. With --out each has a folder of results there, which `compare` takes beside any model's.

    Parameters
    ----------
    dataset
        A dataset folder.
    split
        The stories that are scored.
    out
        Folder for the results, one level a baseline. Default: they are only shown.
    json
        Print the results as one JSON object, by baseline.
    """
    if out and out.is_file():
        raise UsageError(f"{out} is a file; name a folder for the results")
    from bench.ngrams import baselines_table, score_baselines
    from tinytale.evaluation.results import save_results
    from tinytale.evaluation.story_scores import save_story_scores

    results = {}
    for name, result, scores in score_baselines(dataset, split):
        results[name] = result
        if out:
            save_story_scores(save_results(out / name, result), result, scores)
    if json:
        print_json(results)
    else:
        console.print(baselines_table(results))
    if out:
        console.print(f"Written to {out}")


def _give(result: dict[str, Any], out: Path | None, json: bool, tables: list[Table]) -> None:
    """Keep the results, and print them: as JSON, or as tables for a person."""
    if out:
        write_json(out, result)
    if json:
        print_json(result)
    else:
        console.print(*tables, sep="\n")


def _turn_progress(bar: Progress, total: int) -> Callable[[str], None]:
    task, turn = bar.add_task("", total=total), iter(range(total))
    return lambda doing: bar.update(task, description=doing, completed=next(turn))
