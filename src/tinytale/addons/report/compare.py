"""`tinytale compare`: models side by side, from their folders alone."""

from pathlib import Path

from tinytale.advice import command
from tinytale.commands.options import need, print_json
from tinytale.console import console
from tinytale.errors import TaleError, UsageError
from tinytale.files import write_bytes
from tinytale.runs import find_folder


def compare(*folders: str, out: Path | None = None, all: bool = False, json: bool = False) -> None:
    """Put models side by side: sizes, costs, scores, curves.

    A run is read from its config.toml, metrics.jsonl and evaluation folder. Any other GPT-2 takes part by its results:
    first `evaluate FOLDER --data DATA --out RESULTS`, then name RESULTS here. Differences are to the first,
    story by story.

    Parameters
    ----------
    folders: str
        Runs, folders of results, or names of shipped weights.
    out: Path
        Draw the curves of the dev split into this file, PNG or SVG.
    all: bool
        Show every other measure too: endings, repetition, diversity, relevance and more.
    json: bool
        Print one JSON object.
    """
    if not folders:
        example = command("compare", "runs/one", "runs/other")
        raise UsageError(f"there is nothing to compare; name some runs: {example}")
    kind = out and out.suffix.lower().removeprefix(".")
    if out and (kind not in ("png", "svg") or out.is_dir()):
        raise UsageError(f"--out is {str(out)!r}; expected a file that ends in .png or .svg")
    need(["matplotlib"] * bool(out), "report")
    found = [find_folder(name) for name in folders]

    from tinytale.addons.report.compare_tables import compare_tables
    from tinytale.addons.report.comparison import comparison
    from tinytale.addons.report.contender import distinct_names, read_contender

    names = distinct_names(found)
    compared = comparison([read_contender(name, folder) for name, folder in zip(names, found, strict=True)])
    if json:
        print_json(compared)
    else:
        for part in compare_tables(compared, console.width, all):
            console.print(part, "", sep="\n")
        _say_what_lacks(compared["missing"])
    if out:
        from tinytale.addons.report.compare_figure import compare_figure

        picture = compare_figure(compared, "svg" if kind == "svg" else "png")
        if picture is None:
            raise TaleError("there is no curve to draw: none of the folders has a metrics.jsonl with dev scores")
        write_bytes(out, picture)
        console.print(f"Drawn in {out}")


def _say_what_lacks(missing: list[dict[str, str]]) -> None:
    """Lines that a person can copy, each with what it is good for."""
    if missing:
        console.print("To fill the gaps:")
    for one in missing:
        console.print(f"  # {one['name']} has no {one['lacks']}", style="dim")
        console.print(f"  {one['command']}", soft_wrap=True)
