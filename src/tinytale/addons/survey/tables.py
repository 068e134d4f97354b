"""The figures of a survey as text: rows for any table, and bars in the terminal."""

from typing import Any

from rich.table import Table

from tinytale.console import cleaned

BAR_WIDTH = 40
EIGHTHS = " ▏▎▍▌▋▊▉"
"""Left parts of a block, by eighths."""

SHOWN_CHARACTERS = 2000
"""A story is shown no further than this."""


def survey_rows(survey: dict[str, Any]) -> list[list[str]]:
    """A heading, then a row for each figure: what it is, and one cell for each split."""
    splits: dict[str, dict[str, Any]] = survey["splits"]
    unit, overlap, near = survey["unit"], survey["overlap_words"], survey["near_duplicates"]

    def row(name: str, cell: Any) -> list[str]:
        return [name, *(cell(figures) for figures in splits.values())]

    def shares(name: str, key: str) -> list[str]:
        return row(name, lambda figures: _share(figures[key]) if key in figures else "")

    rows = [
        ["", *splits],
        row("stories", lambda figures: f"{figures['stories']:,}"),
        row("bytes", lambda figures: f"{figures['bytes']:,}"),
        row("tokens, with ends of text", lambda figures: f"{figures['tokens']:,}"),
        row("bytes per token", lambda figures: f"{figures['bytes_per_token']:.2f}"),
    ]
    for name, key in (("tokens", "story_tokens"), (f"{unit}s", "words")):
        rows += [
            row(f"{name} a story: mean", lambda figures, key=key: f"{figures[key]['mean']:.1f}"),
            row(f"{name} a story: 5%, median, 95%", lambda figures, key=key: _quantiles(figures[key])),
            row(f"{name} a story: longest", lambda figures, key=key: f"{figures[key]['longest']:,}"),
        ]
    contexts = next(iter(splits.values()))["longer_than"]
    return [
        *rows,
        *(row(f"longer than {n} tokens", lambda figures, n=n: _share(figures["longer_than"][n])) for n in contexts),
        shares("exact copies of an earlier story of the split", "exact_duplicates"),
        shares("exact copies of a train story", "copies_in_train"),
        row(
            f"with a near duplicate in train ({near['words']} {unit}s, {near['jaccard']})",
            lambda figures: _share(figures["near_duplicates_in_train"]) + _of_sample(figures),
        ),
        row(
            f"sequences of {overlap} {unit}s that train has too",
            lambda figures: (
                _share(figures["sequences_in_train"]) + _of_sample(figures) if "sequences_in_train" in figures else ""
            ),
        ),
        shares("stories with mojibake (â€™ for ’)", "mojibake"),
        shares("stories with replaced characters (U+FFFD)", "replaced"),
        shares("stories without closing punctuation", "open_ends"),
        shares("stories with characters beyond ASCII", "stories_beyond_ascii"),
        shares("characters beyond ASCII", "characters_beyond_ascii"),
    ]


def survey_table(survey: dict[str, Any]) -> Table:
    """The rows for a terminal."""
    heading, *rows = survey_rows(survey)
    table = Table(box=None, header_style="bold")
    for place, name in enumerate(heading):
        table.add_column(name, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def openings_table(survey: dict[str, Any]) -> Table:
    """The most frequent openings of train."""
    table = Table(box=None, header_style="bold")
    table.add_column("most frequent openings of train")
    table.add_column("stories", justify="right")
    for opening in survey["splits"]["train"]["openings"]:
        table.add_row(printable(opening["opening"]), _share(opening))
    return table


def histogram(survey: dict[str, Any]) -> str:
    """How long the stories of train are: one line for each bar; lines without a story at the end are left out."""
    bars, width = survey["splits"]["train"]["histogram"]["stories"], survey["splits"]["train"]["histogram"]["width"]
    ranges = bar_ranges(survey)[: len(bars)]
    pad, total = max(map(len, ranges)), sum(bars)
    lines = [f"train stories by length, bars of {width:,} tokens"]
    for name, count in zip(ranges, bars, strict=True):
        whole, part = divmod(round(8 * BAR_WIDTH * count / max(bars)), 8)
        bar = "█" * whole + EIGHTHS[part].strip()
        lines.append(f"{name:>{pad}} {bar or '▏' * bool(count):<{BAR_WIDTH}} {count / total:7.2%}".rstrip())
    return "\n".join(lines)


def bar_ranges(survey: dict[str, Any]) -> list[str]:
    """Which lengths each bar of the histogram stands for; the last has no end."""
    width, bars = survey["splits"]["train"]["histogram"]["width"], survey["histogram_bars"]
    closed = [f"{start}-{start + width - 1}" if width > 1 else str(start) for start in range(0, width * bars, width)]
    return [*closed, f"{width * bars} or more"]


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey, and not beyond its first characters."""
    return cleaned(text[:SHOWN_CHARACTERS]) + (
        f" [... {len(text) - SHOWN_CHARACTERS:,} more characters]" if len(text) > SHOWN_CHARACTERS else ""
    )


def sampled(figures: dict[str, Any]) -> bool:
    """Whether only some of a split's distinct stories were compared with train."""
    return figures["sampled"] < figures["stories"] - figures["exact_duplicates"]["count"]


def _share(part: dict[str, Any]) -> str:
    return f"{part['count']:,} ({part['share']:.2%})"


def _quantiles(spread: dict[str, Any]) -> str:
    return f"{spread['p5']:,}, {spread['median']:,}, {spread['p95']:,}"


def _of_sample(figures: dict[str, Any]) -> str:
    return f" of {figures['sampled']:,} sampled" if sampled(figures) else ""
