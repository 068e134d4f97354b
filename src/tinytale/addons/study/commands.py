"""`tinytale study`: train the variations of a recipe, score them alike, draw what came of it."""

import subprocess
import sys
from pathlib import Path

from tinytale.commands.options import need, print_json
from tinytale.console import console
from tinytale.errors import UsageError
from tinytale.files import read_json, write_bytes, write_json


def study(*files: Path, runs: Path = Path("runs/study"), out: Path, draw: bool = False, json: bool = False) -> int:
    """Answer questions about training by trying.

    One change is made at a time, and all are scored on the same stories. Each file is a question in TOML: what the
    variations of a recipe are, and on which datasets. Runs that are done are not done again, and one that was stopped
    goes on. Every study leaves its results (JSON) and a picture in --out.

    Parameters
    ----------
    files
        Studies, as in docs/studies.
    runs
        Folder for the run folders, one level a study.
    out
        Folder for the results and the pictures.
    draw
        Train nothing: draw the pictures from the results that lie in --out.
    json
        Print all results as one JSON object, by study.
    """
    if not files:
        raise UsageError("name at least one study, such as docs/studies/vocabulary.toml")
    need(["matplotlib"], "report")
    from tinytale.addons.study.figure import study_figure
    from tinytale.addons.study.results import collect, study_table
    from tinytale.addons.study.study import read_study, runs_of

    studies, results = [read_study(path) for path in files], {}
    for one in studies:
        kept = out / f"{one.name}.json"
        if not draw:
            for run in runs_of(one, runs):
                if run.score() is None:
                    console.print(f"{one.name}: {run.variation.name}, seed {run.seed}", style="bold")
                    for arguments in run.commands():
                        if code := _tinytale(arguments):
                            return code
            write_json(kept, collect(one, runs))
        result = results[one.name] = read_json(kept)
        write_bytes(kept.with_suffix(".png"), study_figure(result))
        console.print(study_table(result), f"Written to {kept}, drawn in {kept.with_suffix('.png')}", sep="\n")
    if json:
        print_json(results)
    return 0


def _tinytale(arguments: list[str]) -> int:
    """Run a verb in a process of its own, on this console; Ctrl-C reaches it too, and it saves itself."""
    process = subprocess.Popen([sys.executable, "-m", "tinytale", *arguments])
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue
