"""Several models side by side: what each is and cost, and how well each does on the same stories."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tinytale.addons.report.contender import Contender, Stories
from tinytale.advice import command
from tinytale.evaluation.story_scores import paired_difference
from tinytale.runs import is_shipped

VALUES = ("value", "mean", "share")
"""What a measure calls its figure, beside the `interval_95` of it."""


def comparison(contenders: list[Contender]) -> dict[str, Any]:
    """Everything that tables and figure show, as JSON holds it. Differences are to the first of the contenders."""
    shared = list(dict.fromkeys(stories for one in contenders for stories in one.results))
    return {
        "contenders": [_summary(one) for one in contenders],
        "scored": [_scored(stories, contenders) for stories in sorted(shared)],
        "missing": [*_missing(shared, contenders)],
    }


def _summary(one: Contender) -> dict[str, Any]:
    return {
        "name": one.name,
        "folder": str(one.folder),
        "parameters": one.parameters,
        "tokens": one.tokens,
        "seconds": one.seconds,
        "trained_on": {"data": one.config.data.folder, "digest": one.config.data.digest} if one.config else None,
        "curve_of": _looked_at(one),
        "curve": [point._asdict() for point in one.curve],
    }


def _looked_at(one: Contender) -> str:
    """What the curve is of; only equal ones share a panel."""
    if not (one.config and one.curve):
        return ""
    tokens, data = one.config.run.evaluate_tokens, one.config.data
    part = f"first {tokens:,} tokens of dev" if tokens else "all of dev"
    return f"{Path(data.folder).name} ({data.digest[:8]}), {part}"


def _scored(stories: Stories, contenders: list[Contender]) -> dict[str, Any]:
    """The results on the same stories, by contender; and every measure that some of them have."""
    having = {one.name: one for one in contenders if stories in one.results}
    first = next(iter(having.values())).results[stories]
    measured = {name: dict(measures(one.results[stories])) for name, one in having.items()}
    names = dict.fromkeys(measure for figures in measured.values() for measure in figures)
    return {
        **stories._asdict(),
        "data": first["data"],
        "stories": first["stories"],
        "bytes": first["bytes"],
        "bits_per_byte": {
            name: {key: one.results[stories]["views"]["stories"][key] for key in ("bits_per_byte", "interval_95")}
            for name, one in having.items()
        },
        "difference": {one.name: _difference(stories, contenders[0], one) for one in contenders[1:]},
        "equal_size": {name: size for name, one in having.items() if (size := _equal_size(one.results[stories]))},
        "measures": {
            measure: {name: figures[measure] for name, figures in measured.items() if measure in figures}
            for measure in names
        },
    }


def _difference(stories: Stories, first: Contender, other: Contender) -> dict[str, Any] | None:
    """The other's bits per byte minus the first's, story by story; None if not both keep what each story cost."""
    if not (stories in first.scores and stories in other.scores):
        return None
    found = paired_difference(other.scores[stories], first.scores[stories])
    return found and found._asdict()


def _equal_size(result: dict[str, Any]) -> dict[str, int] | None:
    """How much text rep-n, distinct-n, compression and self-BLEU were measured on: they depend on it."""
    match result.get("quality"):
        case {"stories": {"equal_size": {"stories": int() as stories, "words": int() as words}}}:
            return {"stories": stories, "words": words}
    return None


def measures(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every figure with an interval in a result, but for the views: its name, as a path through the result, and what
    it is.

    Grades of different judges have different names, since they do not compare.
    """
    for title, measure in result.items():
        if title == "views" or not isinstance(measure, dict):
            continue
        if "model" in measure:
            title = f"{title} {measure['model']} (rubric {measure.get('rubric')})"
        for path, figure in _figures(measure):
            yield ": ".join([title, ", ".join(path)]) if path else title, figure


def _figures(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    if not isinstance(value, dict):
        return
    if (figure := _figure(value)) is not None:
        yield path, figure
    for key, part in value.items():
        yield from _figures(part, (*path, key.replace("_", " ")))


def _figure(value: dict[str, Any]) -> dict[str, Any] | None:
    """The number that an interval is of: the one that is called so, or else the first within it."""
    match value.get("interval_95"):
        case [int() | float() as low, int() | float() as high]:
            numbers = {key: part for key, part in value.items() if type(part) in (int, float)}
            named = [key for key in VALUES if key in numbers]
            within = [key for key, number in numbers.items() if low <= number <= high]
            for key in (named + within)[:1]:
                return {"value": numbers[key], "interval_95": [low, high], "share": key == "share"}
    return None


def _missing(shared: list[Stories], contenders: list[Contender]) -> Iterator[dict[str, Any]]:
    """What keeps a contender out of a table, and the command that makes it."""
    for one in contenders:
        if one.config and not one.results:
            yield {"name": one.name, "lacks": "score yet", "command": _command(one, None, None)}
            continue
        for stories in shared:
            having = [other.results[stories] for other in contenders if stories in other.results]
            data = next((result["data"] for result in having if Path(result["data"]).exists()), having[0]["data"])
            lacks, more = _lack(one, stories, having)
            if lacks:
                lacks = f"{lacks} on {Path(data).name}" + (f", {stories.split}" if stories.split != "all" else "")
                yield {"name": one.name, "lacks": lacks, "command": _command(one, stories, data) + more}


def _lack(one: Contender, stories: Stories, having: list[dict[str, Any]]) -> tuple[str, str]:
    """What a contender lacks that others have of these stories, and the option that it takes; nothing, often."""
    if stories not in one.results:
        return "score", ""
    own = one.config is None or one.config.data.digest == stories.digest
    measured = any(any(measures(result)) for result in having)
    if own and measured and not any(measures(one.results[stories])):
        return "other measures", " --suite full"
    if stories not in one.scores and len(having) > 1:
        return "scores story by story", ""
    return "", ""


def _command(one: Contender, stories: Stories | None, data: str | None) -> str:
    parts = ["--data", data] if data and not _is_own(one, stories) else []
    parts += ["--split", stories.split] if stories and stories.split == "dev" else []
    if not one.config:
        parts += ["--out", str(one.folder)]
    elif is_shipped(one.folder):
        parts += ["--out", f"results/{one.folder.name}"]
    return command("evaluate", one.folder if one.config else "MODEL", *parts)


def _is_own(one: Contender, stories: Stories | None) -> bool:
    """Whether the stories are of the dataset that the run was trained on, and it is where the run says."""
    data = one.config.data if one.config else None
    return data is not None and (stories is None or stories.digest == data.digest) and Path(data.folder).is_dir()
