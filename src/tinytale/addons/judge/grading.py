"""A judge's grades of what a model tells, and of real stories that are mixed in blind: what the grades are worth.

The judge gets one text at a time, in an order of chance, each in the same words; nothing says which kind it is.
Shapes: S texts.
"""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tinytale.addons.judge.gradebook import GradeBook
from tinytale.addons.judge.judge import JudgeSettings, ask_all
from tinytale.addons.judge.rubric import CRITERIA, HIGHEST, RUBRIC_VERSION, Grades
from tinytale.addons.quality.samples import SampleSettings
from tinytale.console import console, figures_table, progress_bar
from tinytale.data.tokenizer import Tokenizer
from tinytale.evaluation.intervals import ends_text, interval, ratio_and_error
from tinytale.evaluation.perplexity import story_bounds
from tinytale.evaluation.stream import Stream


def real_stories(stream: Stream, tokenizer: Tokenizer, settings: SampleSettings) -> list[str]:
    """As many stories of the stream as there are samples, drawn with their seed, cut where a sample has to end."""
    bounds = story_bounds(stream.tokens_N, tokenizer.end_of_text)
    stories = len(bounds) - 1
    chosen = random.Random(settings.seed).sample(range(stories), min(settings.stories, stories))
    return [
        tokenizer.decode(stream.tokens_N[bounds[index] + 1 : bounds[index + 1]][: settings.max_new_tokens].tolist())
        for index in chosen
    ]


def graded(
    judge: JudgeSettings,
    model: str,
    told: tuple[SampleSettings, list[str]],
    control: list[str],
    path: Path,
) -> dict[str, Any]:
    """The grades of what was told and of real stories, with progress on the console.

    Args:
        judge: whom to ask.
        model: the judge's name there.
        told: the samples, and how they were told; their seed shuffles the texts.
        control: the real stories.
        path: a file that keeps the grades, so that none is asked for twice.

    Raises:
        TaleError: the judge refuses to be asked, gives no grades for many texts in a row, or the disk refuses.
    """
    settings, samples = told
    kinds = {"samples": [story.strip() for story in samples], "control": [story.strip() for story in control]}
    book = GradeBook(path, judge.url, model)
    texts = list(dict.fromkeys(kinds["samples"] + kinds["control"]))
    random.Random(settings.seed).shuffle(texts)
    left = [text for text in texts if book[text] is None]
    reasons: dict[str, str] = {}
    with progress_bar("text") as bar:
        task = bar.add_task("asking the judge", total=len(texts), completed=len(texts) - len(left))

        def heard(text: str, answer: Grades | str, options: Sequence[str]) -> None:
            if isinstance(answer, str):
                reasons[text] = answer
            else:
                book.write(text, answer, options)
            bar.advance(task)

        try:
            ask_all(judge, model, left, heard)
        except KeyboardInterrupt:
            console.print(f"The grades so far are in {path}; the same command goes on from there.")
            raise
    marks = {kind: [grades for text in stories if (grades := book[text])] for kind, stories in kinds.items()}
    return {
        "model": model,
        "rubric": RUBRIC_VERSION,
        "asked_with": book.asked_with(texts),
        "settings": asdict(settings),
        **{kind: _summary(marks[kind], Counter(map(reasons.get, stories))) for kind, stories in kinds.items()},
        "difference": {
            criterion: _difference(*(_column(marks[kind], criterion) for kind in kinds)) for criterion in CRITERIA
        },
        "undiscerning": _undiscerning(marks["samples"] + marks["control"]),
    }


def _undiscerning(marks: list[Grades]) -> list[str]:
    """The criteria by which every text, told or real, has the same grade: there the judge has said nothing."""
    return [criterion for criterion in CRITERIA if len(marks) > 1 and len(set(_column(marks, criterion))) == 1]


def _column(marks_S: list[Grades], criterion: str) -> np.ndarray:
    return np.array([grades[criterion] for grades in marks_S])


def _summary(marks_S: list[Grades], reasons: Counter) -> dict[str, Any]:
    """Mean grades of some texts; and how many have none, by the reason."""
    del reasons[None]
    grades = {}
    for criterion in CRITERIA:
        mean, error = _mean_and_error(_column(marks_S, criterion))
        ends = None if mean is None else interval(mean, error, 0.0, float(HIGHEST))
        grades[criterion] = {"mean": mean, "interval_95": ends}
    return {"graded": len(marks_S), "ungraded": dict(sorted(reasons.items())), "grades": grades}


def _difference(samples_S: np.ndarray, control_S: np.ndarray) -> dict[str, Any]:
    """How much higher the samples are graded."""
    (ours, our_error), (theirs, their_error) = _mean_and_error(samples_S), _mean_and_error(control_S)
    if ours is None or theirs is None:
        return {"mean": None, "interval_95": None}
    error = math.hypot(our_error, their_error)
    return {"mean": ours - theirs, "interval_95": interval(ours - theirs, error, -float(HIGHEST), float(HIGHEST))}


def _mean_and_error(grades_S: np.ndarray) -> tuple[float | None, float]:
    """No mean of nothing."""
    return ratio_and_error(grades_S, np.ones(len(grades_S))) if len(grades_S) else (None, math.nan)


def judge_table(result: dict[str, Any]) -> Table:
    """The grades for a terminal."""
    kinds = [result["samples"], result["control"]]
    table = figures_table(
        f"grades by {result['model']}: samples at temperature {result['settings']['temperature']:g},"
        " real stories mixed in",
        f"means, 0 to 10, with 95% intervals over stories; rubric {result['rubric']}" + _warning(result),
        ("", "samples", "real stories", "difference"),
    )
    for criterion in CRITERIA:
        means = [_cell(kind["grades"][criterion], ".2f") for kind in kinds]
        table.add_row(criterion, *means, _cell(result["difference"][criterion], "+.2f"))
    table.add_row("graded", *(f"{kind['graded']:,}" for kind in kinds))
    for reason in sorted({reason for kind in kinds for reason in kind["ungraded"]}):
        table.add_row(f"ungraded: {reason}", *(f"{kind['ungraded'].get(reason, 0):,}" for kind in kinds))
    return table


def _warning(result: dict[str, Any]) -> str:
    said, same = "", ", ".join(result["undiscerning"])
    if result["asked_with"] is not None and "temperature" not in result["asked_with"]:
        said += "\nThis judge took no temperature of 0, so asked again it may say something else."
    if same:
        said += f"\nThis judge tells nothing about {same}: every text has the same grade."
    return said


def _cell(figures: dict[str, Any], form: str) -> str:
    if figures["mean"] is None:
        return "no grades"
    mean = f"{figures['mean']:{form}}"
    if figures["interval_95"] is None:
        return mean
    return f"{mean} ({ends_text(figures['interval_95'], form, ' to ')})"
