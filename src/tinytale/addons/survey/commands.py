"""`tinytale data`: what is in a prepared dataset."""

from pathlib import Path

from tinytale.commands.options import check_file, need, print_json
from tinytale.console import console, progress_bar
from tinytale.errors import UsageError


def data(dataset: Path, *, png: Path | None = None, stories: int = 3, seed: int = 0, json: bool = False) -> None:
    """Show what is in a prepared dataset.

    These are sizes, lengths, duplicates, damage, openings, and how far test overlaps with train.

    Every file is verified first. Near duplicates share 80% of their 5-word sequences; in a large dataset a sample of
    stories, chosen by hash, is compared with all of train. In text without blanks between words, characters are counted
    instead of words.

    Parameters
    ----------
    dataset
        A dataset folder.
    png
        Draw the figures into this file.
    stories
        How many random stories of train to print.
    seed
        Which random stories.
    json
        Print one JSON object of figures on standard output, and no stories.
    """
    if stories < 0:
        raise UsageError(f"the number of stories must be at least 0, not {stories}")
    check_file(png, "picture")
    need(["datasketch", *["matplotlib"] * bool(png)], "report")
    from tinytale.addons.survey.survey import random_stories, survey

    with progress_bar("B") as bar:
        task = bar.add_task("verifying", total=None)
        figures = survey(
            dataset,
            progress=lambda doing, done, total: bar.update(task, description=doing, completed=done, total=total),
        )
    if png:
        from tinytale.addons.survey.figure import survey_figure
        from tinytale.files import write_bytes

        write_bytes(png, survey_figure(figures, dataset.resolve().name))
        console.print(f"Written to {png}")
    if json:
        print_json(figures)
    else:
        _show(figures, random_stories(dataset, stories, seed))


def _show(figures: dict, chosen: list[str]) -> None:
    from tinytale.addons.survey.tables import histogram, openings_table, printable, survey_table

    for part in (survey_table(figures), openings_table(figures), histogram(figures)):
        console.print(part, "", sep="\n")
    for number, story in enumerate(chosen, 1):
        console.rule(f"random story {number} of {len(chosen)}", align="left")
        console.print(printable(story))
