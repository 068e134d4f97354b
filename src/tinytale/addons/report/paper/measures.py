"""The measures of the full suite as the report names them, and what their intervals allow to be said."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from tinytale.addons.report.paper.material import RunMaterial, Score
from tinytale.addons.report.paper.text import Text, say
from tinytale.evaluation.intervals import overlap

Side = Literal["told", "real"]


@dataclass(frozen=True)
class Measure:
    """A figure of told stories that has a counterpart among real ones."""

    name: str
    """As a row of the table is called."""
    noun: str
    """As it is called in a sentence."""
    meaning: str
    group: str
    told: tuple[str, ...]
    """Where it stands in a result."""
    real: tuple[str, ...]
    form: str
    better: Literal["high", "low"]

    def key(self, side: Side) -> tuple[str, ...]:
        """Of the told stories or of the real ones."""
        return self.told if side == "told" else self.real


def _of_stories(
    family: str, key: str, name: str, noun: str, meaning: str, form: str, better: Literal["high", "low"]
) -> Measure:
    told, real = (("quality", "stories", family, side, key) for side in ("samples", "real"))
    return Measure(name, noun, meaning, family, told, real, form, better)


def _of_openings(key: str, name: str, noun: str, meaning: str) -> Measure:
    told, real = (("quality", "openings", side, key, "own") for side in ("samples", "real"))
    return Measure(name, noun, meaning, "relevance", told, real, ".1%", "high")


def _of_memory(path: tuple[str, ...], name: str, noun: str, meaning: str, form: str) -> Measure:
    told, real = (("memorisation", side, *path) for side in ("samples", "control"))
    return Measure(name, noun, meaning, "memorisation", told, real, form, "low")


MEASURES = (
    _of_stories("endings", "ended", "ends", "ending by itself", "comes to its end by itself", ".1%", "high"),
    _of_stories(
        "endings", "closed", "closed", "closing punctuation", "of those, with closing punctuation", ".1%", "high"
    ),
    _of_stories(
        "repetition",
        "rep_4",
        "rep-4",
        "repetition within a story",
        "four {unit}s in a row said before [welleck2020]",
        ".1%",
        "low",
    ),
    _of_stories("repetition", "loops", "loops", "loops", "stories that run in a circle", ".1%", "low"),
    _of_stories(
        "diversity",
        "distinct_2",
        "distinct-2",
        "distinct word pairs",
        "different {unit} pairs in the set [li2016]",
        ".1%",
        "high",
    ),
    _of_stories("diversity", "compression", "compression", "compressibility", "of the set, by gzip", ".2f", "low"),
    _of_stories(
        "diversity",
        "self_bleu",
        "self-BLEU",
        "likeness of the stories to one another",
        "likeness to the other stories [zhu2018]",
        ".1f",
        "low",
    ),
    _of_stories(
        "spelling",
        "unknown",
        "unknown words",
        "words that train does not have",
        "that train does not have",
        ".2%",
        "low",
    ),
    _of_openings("names_kept", "names kept", "keeping the names of an opening", "of an opening, that come again"),
    _of_openings(
        "objects_kept", "things kept", "keeping the things of an opening", "rarer words of an opening, that come again"
    ),
    _of_openings("english_pronouns_kept", "pronouns kept", "keeping the hero's pronoun", "he or she as in the opening"),
    _of_memory(
        ("in_train", "8"),
        "runs of eight",
        "runs of eight found in train",
        "sequences of eight {unit}s that train has",
        ".1%",
    ),
    _of_memory(
        ("in_train", "13"),
        "runs of thirteen",
        "runs of thirteen found in train",
        "sequences of thirteen {unit}s that train has [brown2020]",
        ".1%",
    ),
    _of_memory(("longest_run",), "longest run", "the longest run", "of {unit}s that train has, mean", ".1f"),
    _of_memory(("near_duplicates",), "near copies", "near copies of train stories", "of a train story", ".1%"),
)
VALUES = ("value", "share", "mean")
"""What a result calls the figure that an interval is of."""


@dataclass(frozen=True)
class Measured:
    """A measure in a result that has it."""

    measure: Measure
    score: Score

    def _name(self, side: Side) -> str:
        figure = self.score.get(*self.measure.key(side)) or {}
        return next((name for name in VALUES if name in figure), "")

    @property
    def known(self) -> bool:
        """Whether both sides have a figure with an interval."""
        return all(
            self._name(side) and self.score.has(*self.measure.key(side), "interval_95") for side in ("told", "real")
        )

    def value(self, side: Side) -> Text:
        """The figure."""
        key = self.measure.key(side)
        return say("{n}", n=self.score.fact(*key, self._name(side), form=self.measure.form))

    def cell(self, side: Side) -> Text:
        """The figure with its interval."""
        key = (*self.measure.key(side), "interval_95")
        form = self.measure.form
        low, high = (self.score.source.fact(self.score.split, *key, end, form=form) for end in (0, 1))
        return self.value(side) + say(" ({low}–{high})", low=low, high=high)

    @property
    def verdict(self) -> Literal["better", "worse", "alike"]:
        """Of the told stories; alike as long as the two intervals overlap."""
        told, real = self._ends("told"), self._ends("real")
        if overlap(told, real):
            return "alike"
        return "better" if (told[0] > real[1]) == (self.measure.better == "high") else "worse"

    def _ends(self, side: Side) -> tuple[float, ...]:
        key = (*self.measure.key(side), "interval_95")
        return tuple(self.score.fact(*key, end).value for end in (0, 1))


def measured(run: RunMaterial) -> Iterator[Measured]:
    """Every measure that the run's results have of both sides."""
    for measure in MEASURES:
        score = run.score_with(measure.told[0])
        if score and (one := Measured(measure, score)).known:
            yield one
