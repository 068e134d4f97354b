"""`tinytale report`: a report of a run that writes itself, as PDF or as one page."""

from pathlib import Path
from typing import Literal

from tinytale.advice import command
from tinytale.commands.options import need
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.files import write_bytes
from tinytale.runs import find_folder, is_shipped


def report(
    *runs: str,
    out: Path | None = None,
    format: Literal["pdf", "html"] | None = None,
    results: Path | None = None,
    author: str = "",
) -> None:
    """Write the report of a run, as PDF or as one page.

    It says what the model is, with its mathematics, what it was trained on, and how well it does. It is made from files
    alone: the run's config.toml, metrics.jsonl, evaluation, samples.json and model. What was not measured is left out;
    `evaluate RUN --suite full` measures most. The PDF has at most five pages, references apart, and lists
    every number with the file that it stands in; the same files give the same bytes.

    Parameters
    ----------
    runs: str
        The run that the report is about, or the name of shipped weights; after it, runs to lay beside it.
    out: Path
        The file, .pdf or .html. Default: report.pdf in the folder of the first run.
    format: str
        pdf, or html for one page that needs nothing else. Default: what --out ends in, or pdf.
    results: Path
        A folder of further results, as docs/results of the project: data/, race/, bench/, study/, each if it is there.
    author: str
        Who stands below the title.
    """
    if not runs:
        raise UsageError(f"there is nothing to report on; name a run: {command('report', 'runs/NAME')}")
    folders = [find_folder(name) for name in runs]
    if results and not results.is_dir():
        raise UsageError(f"--results is {str(results)!r}, which is not a folder")
    kind = format or ("html" if out and out.suffix.lower() == ".html" else "pdf")
    if out is None:
        if is_shipped(folders[0]):
            raise UsageError(
                f"{runs[0]} is shipped with tinytale, and nothing is written into it; say where: --out FILE"
            )
        out = folders[0] / f"report.{kind}"
    if out.suffix.lower() != f".{kind}" or out.is_dir():
        raise UsageError(f"--out is {str(out)!r}; expected a file that ends in .{kind}")
    need(("typst", "matplotlib"), "report")

    from tinytale.addons.report.paper.build import build, gather

    document, content = build(gather(folders, results), kind, author)
    write_bytes(out, content)
    console.print(f"Written to {out}: {sum(1 for _ in document.facts()):,} numbers, each with the file that it is from")
