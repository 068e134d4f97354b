"""A comparison as tables for a terminal: what the models are, their scores on the same stories, every other measure."""

import math
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tinytale.evaluation.intervals import ends_text
from tinytale.training.display import clock

NOTHING = "–"
GAP = 2
"""Blanks between columns."""
LONGEST_LABEL = 44
"""Characters of a measure's name on a line."""


def compare_tables(compared: dict[str, Any], width: int, whole: bool = True) -> list[Group]:
    """Every table with its title, in an order to read them, for a terminal of `width` characters.

    Unless `whole`, only how many other measures there are is said in place of their tables.
    """
    names = [one["name"] for one in compared["contenders"]]
    parts = [Group(_bold("size and cost"), contenders_table(compared))]
    for scored in compared["scored"]:
        heading = f"{_heading(scored)}: {scored['stories']:,} stories, {scored['bytes']:,} bytes"
        caption = "Each story from its start, with 95% intervals over stories"
        caption += "; the difference is taken story by story." if any(scored["difference"].values()) else "."
        parts.append(Group(_bold(heading), scores_table(scored, names), Text(caption, style="dim")))
        if scored["measures"] and not whole:
            parts.append(Group(Text(f"{len(scored['measures'])} other measures: --all shows them.", style="dim")))
            continue
        for number, table in enumerate(measures_tables(scored, names, width)):
            title = f"{_heading(scored)}: other measures{', continued' * bool(number)}"
            parts.append(Group(_bold(title), table))
        if note := _unequal(scored):
            parts.append(Group(Text(note, style="dim")))
    if len(names) > 1 and not any(len(scored["bits_per_byte"]) > 1 for scored in compared["scored"]):
        parts.append(Group(Text("No two have scores on the same stories, so that nothing compares yet.", "yellow")))
    return parts


def contenders_table(compared: dict[str, Any]) -> Table:
    """What each is and what its training took."""
    table = _table(["", "parameters", "tokens seen", "training time", "trained on"])
    for one in compared["contenders"]:
        dataset = one["trained_on"]
        table.add_row(
            one["name"],
            _count(one["parameters"]),
            _count(one["tokens"]),
            NOTHING if one["seconds"] is None else clock(one["seconds"]),
            f"{Path(dataset['data']).name} ({dataset['digest'][:8]})" if dataset else NOTHING,
        )
    return table


def scores_table(scored: dict[str, Any], names: list[str]) -> Table:
    """Bits per byte on the same stories, and the paired difference to the first."""
    first = names[0]
    paired = any(scored["difference"].values())
    table = _table(["", "bits per byte", *([f"minus {first}"] if paired else [])])
    for name in names:
        cells = [_bits(scored["bits_per_byte"].get(name), ".4f")]
        if paired:
            cells.append("" if name == first else _bits(scored["difference"][name], "+.4f"))
        table.add_row(name, *cells)
    return table


def measures_tables(scored: dict[str, Any], names: list[str], width: int) -> list[Table]:
    """Every other measure, with as many of those that have some in a table as the terminal has room for."""
    measures = scored["measures"]
    having = [name for name in names if any(name in figures for figures in measures.values())]
    columns = {name: [name, *(_measured(figures.get(name)) for figures in measures.values())] for name in having}
    labels = [part for measure in measures for part in _label(measure)]
    room = width - min(LONGEST_LABEL, max(map(len, labels), default=0)) - GAP
    tables, left = [], having
    while left:
        taken = [left[0]]
        for name in left[1:]:
            if sum(max(map(len, columns[one])) + GAP for one in [*taken, name]) > room:
                break
            taken.append(name)
        tables.append(_measures_table(list(measures), [columns[name] for name in taken]))
        left = left[len(taken) :]
    return tables


def _measures_table(measures: list[str], columns: list[list[str]]) -> Table:
    table = _table(["", *(name for name, *_ in columns)])
    table.columns[0].max_width = LONGEST_LABEL
    above = ""
    for measure, *cells in zip(measures, *(cells for _, *cells in columns), strict=True):
        title, name = _label(measure)
        if name and title != above:
            table.add_row(title)
        above = title
        table.add_row(name or title, *cells)
    return table


def _label(measure: str) -> tuple[str, str]:
    """What a figure belongs to, and its own name, set in a little; a measure that is one figure has no other name."""
    title, _, name = measure.partition(": ")
    return title, name and f"  {name}"


def _measured(figure: dict[str, Any] | None) -> str:
    """A figure to the second digit of its uncertainty, a share in per cent."""
    if figure is None:
        return NOTHING
    scale, sign = (100, "%") if figure["share"] else (1, "")
    low, high = (scale * end for end in figure["interval_95"])
    places = 1 - math.floor(math.log10((high - low) / 2)) if high > low else 2
    form = f".{min(6, max(0, places))}f"
    return f"{scale * figure['value']:{form}}{sign} ({low:{form}} to {high:{form}})"


def _unequal(scored: dict[str, Any]) -> str:
    """A warning, if figures that depend on how much text there is are of different amounts."""
    sizes = scored["equal_size"]
    if len({tuple(size.values()) for size in sizes.values()}) < 2:
        return ""
    each = "; ".join(f"{name}: {size['stories']:,} stories, {size['words']:,} words" for name, size in sizes.items())
    return (
        "rep-n, distinct-n, compression and self-BLEU depend on how much text they are of, which differs here"
        f" ({each}): hold each beside the real stories of its own column, not beside another model's."
    )


def _heading(scored: dict[str, Any]) -> str:
    split = "" if scored["split"] == "all" else f", {scored['split']}"
    return f"{Path(scored['data']).name}{split} ({scored['digest'][:8]})"


def _bits(figures: dict[str, Any] | None, form: str) -> str:
    if figures is None:
        return NOTHING
    return f"{figures['bits_per_byte']:{form}} ({ends_text(figures['interval_95'], form, ' to ')})"


def _count(number: int | None) -> str:
    return NOTHING if number is None else f"{number:,}"


def _bold(title: str) -> Text:
    return Text(title, style="bold")


def _table(headings: list[str]) -> Table:
    table = Table(box=None, padding=(0, GAP, 0, 0), header_style="italic")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left", overflow="fold")
    return table
