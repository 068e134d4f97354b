"""The figures of the full suite for a terminal: rows of a result, as results hold it."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from tinytale.console import figures_table
from tinytale.evaluation.intervals import ends_text

ENDINGS = (
    ("ended", "stories that end by themselves", ".1%"),
    ("closed", "  of those, with closing punctuation", ".1%"),
)
REPETITION = (
    *((f"rep_{n}", f"rep-{n}: {{unit}} sequences said before in the story", ".1%") for n in (1, 2, 3, 4)),
    ("loops", "stories with a loop", ".1%"),
)
DIVERSITY = (
    *((f"distinct_{n}", f"distinct-{n}: different {{unit}} sequences in the set", ".1%") for n in (1, 2, 3, 4)),
    ("compression", "compression ratio of the set", ".2f"),
    ("self_bleu", "self-BLEU", ".1f"),
)
SPELLING = (("unknown", "words that train does not have", ".2%"),)
RELEVANCE = (
    ("names_kept", "names of the prompt that come again"),
    ("names_of_the_prompt", "names told that the prompt has"),
    ("objects_kept", "rarer words of the prompt that come again"),
    ("english_pronouns_kept", "he or she as in the prompt (English)"),
)


def quality_table(result: dict[str, Any]) -> Table:
    """Samples beside real stories."""
    heading, *rows = quality_rows(result["quality"])
    table = figures_table(
        f"stories told at temperature {result['quality']['settings']['temperature']:g}, and real stories of"
        f" {result['split']}",
        "with 95% intervals over stories; where a prompt is named, both go on with the same openings of real stories",
        heading,
    )
    for row in rows:
        table.add_row(*row)
    return table


def quality_rows(quality: dict[str, Any]) -> list[Sequence[str]]:
    """A heading, then a row for each measure: what it is, of the samples, of the real stories."""
    stories, openings = quality["stories"], quality["openings"]
    rows: list[Sequence[str]] = [("measure", "samples", "real stories")]
    for family, measures in (
        ("endings", ENDINGS),
        ("repetition", REPETITION),
        ("diversity", DIVERSITY),
        ("spelling", SPELLING),
    ):
        rows += _rows(measures, quality["unit"], [stories[family]["samples"], stories[family]["real"]])
    return rows + _relevance_rows([openings["samples"], openings["real"]])


def prompts_table(result: dict[str, Any]) -> Table:
    """The ways of decoding side by side, on the project's own prompts."""
    prompts, unit = result["quality"]["prompts"], result["quality"]["unit"]
    ways, settings = prompts["ways"], prompts["settings"]
    names = {
        "greedy": "greedy",
        "beam": f"beam {settings['beams']}",
        "sampled": f"sampled at {settings['temperature']:g}",
    }
    table = figures_table(
        f"completions of the project's own prompts, version {prompts['version']}",
        "with 95% intervals over prompts",
        ("measure", *(names[way] for way in ways)),
    )
    for family, rows in (("endings", ENDINGS), ("repetition", REPETITION)):
        for row in _rows(rows, unit, [figures[family] for figures in ways.values()]):
            table.add_row(*row)
    for row in _relevance_rows([figures["relevance"] for figures in ways.values()]):
        table.add_row(*row)
    return table


def sense_table(result: dict[str, Any]) -> Table:
    """Rare names and right words, on the project's own openings and sentences."""
    heading, *rows = sense_rows(result["quality"])
    table = figures_table(
        "names said again and right words, in English",
        "with 95% intervals: of names over names, of words over sentences",
        heading,
    )
    for row in rows:
        table.add_row(*row)
    return table


def sense_rows(quality: dict[str, Any]) -> list[Sequence[str]]:
    """A heading, then a row for each measure; nothing where train is not English, or the result is an older one."""
    names, words = quality.get("names"), quality.get("right_words")
    if not (names and words):
        return []
    return [
        ("measure", "value"),
        ("openings whose hero's rare name is said again", _cell(names["rare"]["said_again"], ".1%")),
        ("  with a common name in its place", _cell(names["common"]["said_again"], ".1%")),
        ("probability of the one right word, mean", _cell(words["probability"], ".3f")),
        *((f"  {kind}", _cell(figure, ".3f")) for kind, figure in words["by_kind"].items()),
        ("sentences whose right word begins with the likeliest token", _cell(words["likeliest"], ".1%")),
    ]


def profile_table(result: dict[str, Any]) -> Table:
    """Where the loss lies: by position in the story, and by its length."""
    profile = result["profile"]
    table = figures_table(
        "each story from its start: where the loss lies",
        "in nats a token, with 95% intervals over stories; a length counts the closing end of text",
        ("tokens of the stories", "stories", "tokens", "loss"),
    )
    rows = [(f"position {name}", part) for name, part in profile["by_position"].items()]
    rows.append(("closing end of text", profile["closing_end_of_text"]))
    rows += [(f"stories of {name} tokens", part) for name, part in profile["by_length"].items()]
    for name, part in rows:
        table.add_row(name, f"{part['stories']:,}", f"{part['tokens']:,}", _cell(part["loss"], ".3f"))
    return table


def _rows(
    measures: Sequence[tuple[str, str, str]], unit: str, columns: Sequence[dict[str, Any]]
) -> list[Sequence[str]]:
    return [[name.format(unit=unit), *(_cell(column[key], form) for column in columns)] for key, name, form in measures]


def _relevance_rows(columns: Sequence[dict[str, Any]]) -> list[Sequence[str]]:
    """Each share, and beneath it the same with the prompts of others."""
    rows: list[Sequence[str]] = []
    for key, name in RELEVANCE:
        rows.append([name, *(_cell(column[key]["own"], ".1%") for column in columns)])
        rows.append(["  with prompts shuffled", *(_cell(column[key]["shuffled"], ".1%") for column in columns)])
    return rows


def _cell(figure: dict[str, Any] | None, form: str) -> str:
    if figure is None:
        return "none"
    return f"{figure['value']:{form}} ({ends_text(figure['interval_95'], form)})"
