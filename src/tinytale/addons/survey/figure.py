"""One picture of a survey: how long the stories are, and what repeats or is damaged."""

from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tinytale.addons.figures.style import COLOURS, INK, STYLE, png_of
from tinytale.addons.survey.tables import sampled

NAME_CHARACTERS = 24
"""A longer name of a dataset is cut."""

SHARES = {
    "longer_than": "longer than {} tokens",
    "exact_duplicates": "exact copy of an earlier story",
    "near_duplicates_in_train": "near duplicate in train",
    "sequences_in_train": "{}-{} sequences also in train\n(of all such sequences)",
    "mojibake": "mojibake",
    "open_ends": "no closing punctuation",
    "stories_beyond_ascii": "characters beyond ASCII",
}
"""What the right half shows, from the top."""


def survey_figure(survey: dict[str, Any], name: str) -> bytes:
    """A PNG of 2000 x 800 pixels: the lengths of the stories of each split, and shares of them.

    `name` is what a person calls the dataset. The same survey gives the same picture.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.5, 5), dpi=160, layout="constrained")
        lengths, shares = figure.subplots(1, 2, width_ratios=(3, 2))
        draw_lengths(lengths, survey)
        draw_shares(shares, survey)
        title = name if len(name) <= NAME_CHARACTERS else name[: NAME_CHARACTERS - 1] + "…"
        figure.suptitle(title, fontsize=14, fontweight="bold", x=0.008, ha="left", parse_math=False)
        figure.legend(*lengths.get_legend_handles_labels(), loc="outside upper right", ncols=3, frameon=False)
        return png_of(figure)


def draw_lengths(axes: Axes, survey: dict[str, Any]) -> None:
    """Train as a filled shape, the other splits as lines over it."""
    for split, figures in survey["splits"].items():
        width, bars = figures["histogram"]["width"], figures["histogram"]["stories"]
        edges = [width * place for place in range(len(bars) + 1)]
        shares = [count / figures["stories"] for count in bars]
        label = f"{split}: {figures['stories']:,} stories, median {figures['story_tokens']['median']:,} tokens"
        look: dict[str, Any] = {"fill": True, "alpha": 0.35} if split == "train" else {"linewidth": 1.6}
        axes.stairs(shares, edges, color=COLOURS[split], label=label, **look)
    width = survey["splits"]["train"]["histogram"]["width"]
    end = width * max(len(figures["histogram"]["stories"]) for figures in survey["splits"].values())
    for context in filter(lambda context: int(context) < end, survey["splits"]["train"]["longer_than"]):
        axes.axvline(int(context), color=INK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(f" {context}", (int(context), 0.97), xycoords=("data", "axes fraction"), va="top", fontsize=9)
    rest = end > width * survey["histogram_bars"]
    axes.set_xlim(0, end)
    axes.set_ylim(0)
    axes.set_title("Length of the stories")
    axes.set_xlabel(
        f"tokens a story (vocabulary of {survey['vocab_size']:,})" + "; the last bar takes all longer ones" * rest
    )
    axes.set_ylabel(f"share of the split's stories, bars of {width:,} tokens")
    axes.yaxis.set_major_formatter(PercentFormatter(1))


def draw_shares(axes: Axes, survey: dict[str, Any]) -> None:
    """One group of bars for each share, one bar for each split, its value beside it."""
    groups = _shares(survey)
    thick = 0.8 / len(survey["splits"])
    largest = max(value for _, values in groups for value in values.values())
    for place, (_, values) in enumerate(groups):
        for number, split in enumerate(survey["splits"]):
            if split in values:
                height = place + (number - (len(survey["splits"]) - 1) / 2) * thick
                axes.barh(height, values[split], thick * 0.9, color=COLOURS[split], alpha=0.8)
                axes.annotate(
                    f"{values[split]:.2%}",
                    (values[split], height),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=7.5,
                )
    axes.set_yticks(range(len(groups)), [label for label, _ in groups])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0, max(1.25 * largest, 0.001))
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Share of the split's stories")


def _shares(survey: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Each share's name and its value in the splits that have one."""
    splits = survey["splits"]
    rows = []
    for key, label in SHARES.items():
        if key == "longer_than":
            for context in splits["train"][key]:
                values = {split: figures[key][context]["share"] for split, figures in splits.items()}
                rows.append((label.format(context), values))
        else:
            values = {split: figures[key]["share"] for split, figures in splits.items() if key in figures}
            remark = "\n(estimated from a sample)" * (
                key == "near_duplicates_in_train" and any(map(sampled, splits.values()))
            )
            rows.append((label.format(survey["overlap_words"], survey["unit"]) + remark, values))
    return rows
