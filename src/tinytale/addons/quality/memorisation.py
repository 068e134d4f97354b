"""How much of what a model tells it has from its training stories, word for word; beside it, the same of real stories
that it never saw: children's stories share phrases anyhow.

Shapes: N words of a story, S stories.
"""

from typing import Any

import numpy as np
from jaxtyping import Int64
from rich.table import Table

from tinytale.addons.quality.samples import Samples
from tinytale.addons.quality.word_runs import WordRuns
from tinytale.addons.survey.near_duplicates import NearDuplicates, shingles
from tinytale.addons.survey.sequences import Unit, WordNumbers, words_of
from tinytale.console import figures_table, progress_bar
from tinytale.data.stored import StoredStories
from tinytale.evaluation.intervals import ends_text, interval, ratio_and_error, share

LENGTHS = (8, 13)
"""Words of the sequences that are looked for; 13 as in GPT-3's overlap analysis (Brown et al., 2020, appendix C)."""


def memorisation(train: StoredStories, unit: Unit, samples: Samples, control: list[str]) -> dict[str, Any]:
    """Compare the samples, and real stories that are not in train, with every story of train; progress on the console.

    `prepare` sees to it that no story of dev or test is in train. In text without blanks between words, characters are
    counted instead of words.
    """
    texts = [words_of(story, unit) for story in samples.stories + control]
    runs, near = _compare(texts, train, unit)
    told = len(samples.stories)
    return {
        "unit": unit,
        "settings": samples.to_json()["settings"],
        "samples": {**share_in_train(runs[:told]), "near_duplicates": share(near[:told])},
        "control": {**share_in_train(runs[told:]), "near_duplicates": share(near[told:])},
    }


def _compare(
    texts: list[list[str]], train: StoredStories, unit: Unit
) -> tuple[list[Int64[np.ndarray, " _"]], list[bool]]:
    """For each word of each text, the length of the longest run that ends there and is in train; and of each text,
    whether train has a story that is at least 80% similar.
    """
    runs, near, numbers = WordRuns(texts), NearDuplicates(), WordNumbers()
    for place, words in enumerate(texts):
        near.add_probe(place + 1, shingles(numbers.of(words)))
    with progress_bar("story") as bar:
        for story in bar.track(train, description="comparing with train"):
            words = words_of(story, unit)
            runs.read(words)
            near.compare(0, shingles(numbers.of(words)))  # no probe is 0: copies count as well
    return runs.matches(), [place in near.found for place in range(len(texts))]


def share_in_train(runs_S: list[Int64[np.ndarray, " _"]]) -> dict[str, Any]:
    """Of S stories: the share of their sequences that train has, with a 95% interval over stories, and longest runs.

    `runs_S` holds, for each word of each story, the length of the longest run in train that ends with it.
    """
    longest_S = np.array([runs_N.max(initial=0) for runs_N in runs_S])
    mean, error = ratio_and_error(longest_S, np.ones(len(runs_S)))
    return {
        "stories": len(runs_S),
        "in_train": {str(length): _sequences_in_train(runs_S, length) for length in LENGTHS},
        "longest_run": {
            "mean": mean,
            "interval_95": interval(mean, error, 0.0),
            "median": float(np.median(longest_S)),
            "longest": int(longest_S.max()),
        },
        "whole_stories": sum(bool(len(runs_N)) and len(runs_N) == int(runs_N.max()) for runs_N in runs_S),
    }


def _sequences_in_train(runs_S: list[Int64[np.ndarray, " _"]], length: int) -> dict[str, Any]:
    """The share of the sequences of some length; none if no story is that long."""
    sequences_S = np.array([max(0, len(runs_N) - length + 1) for runs_N in runs_S])
    found_S = np.array([np.count_nonzero(runs_N >= length) for runs_N in runs_S])
    if not sequences_S.any():
        return {"sequences": 0, "found": 0, "share": None, "interval_95": None}
    of_all = share(found_S.tolist(), sequences_S.tolist()) or {}
    return {
        "sequences": int(sequences_S.sum()),
        "found": int(found_S.sum()),
        "share": of_all["value"],
        "interval_95": of_all["interval_95"],
    }


def memorisation_rows(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """A heading, then a row for each figure: what it is, of the samples, of the control."""
    both, unit = (result["samples"], result["control"]), result["unit"]

    def row(name: str, cell: Any) -> tuple[str, str, str]:
        return (name, cell(both[0]), cell(both[1]))

    def sequences(figures: dict[str, Any], length: int) -> str:
        found = figures["in_train"][str(length)]
        return _with_interval(found, "share", ".2%") if found["sequences"] else "none so long"

    return [
        ("found in train", "samples", "real stories"),
        row("stories", lambda figures: f"{figures['stories']:,}"),
        *(
            row(f"sequences of {length} {unit}s", lambda figures, length=length: sequences(figures, length))
            for length in LENGTHS
        ),
        row(f"longest run of {unit}s: mean", lambda figures: _with_interval(figures["longest_run"], "mean", ".1f")),
        row(f"longest run of {unit}s: median", lambda figures: f"{figures['longest_run']['median']:g}"),
        row(f"longest run of {unit}s: longest", lambda figures: f"{figures['longest_run']['longest']:,}"),
        row("whole stories", lambda figures: f"{figures['whole_stories']:,}"),
        *(
            [row("with a near duplicate (80% similar)", lambda f: _with_interval(f["near_duplicates"], "value", ".2%"))]
            if all("near_duplicates" in figures for figures in both)
            else []
        ),
    ]


def memorisation_table(result: dict[str, Any]) -> Table:
    """The rows for a terminal."""
    heading, *rows = memorisation_rows(result)
    table = figures_table(
        f"memorisation: samples at temperature {result['settings']['temperature']:g}, and real stories",
        "with 95% intervals over stories; the real ones are not in train",
        heading,
    )
    for row in rows:
        table.add_row(*row)
    return table


def _with_interval(figures: dict[str, Any], key: str, form: str) -> str:
    return f"{figures[key]:{form}} ({ends_text(figures['interval_95'], form)})"
