"""The stories of a model card: a run's first samples, each with the failures that a reader marked in it.

The marks are a TOML file: the kinds of failure, and for each story, in the order of the samples, those that it has.

    [kinds]
    thread = { short = "lose their thread", meaning = "what was begun is dropped" }

    [told]
    weights = "SHA-256 of the weights, as samples.json has it"
    stories = ["thread", "", "thread"]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinytale.addons.report.markdown import quoted
from tinytale.advice import command
from tinytale.config import read_toml
from tinytale.errors import TaleError, UsageError
from tinytale.files import read_json
from tinytale.runs import RunFolder

DOZEN = 12
"""Stories that a card shows."""


@dataclass(frozen=True)
class Marks:
    """What a reader marked in the first of a run's samples."""

    path: Path
    weights: str
    """SHA-256 of the weights that told them."""
    failures: tuple[tuple[str, ...], ...]
    """Of each story that was read, what its failures mean."""

    @classmethod
    def read(cls, path: Path) -> "Marks":
        """Read the file.

        Raises:
            UsageError: it is missing or no TOML, lacks a part, or marks a kind that it does not explain.
        """
        content = read_toml(path)
        try:
            kinds, told = content["kinds"], content["told"]
            failures = tuple(tuple(kinds[kind]["meaning"] for kind in story.split()) for story in told["stories"])
            return cls(path, told["weights"], failures)
        except (AttributeError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is no reading of stories ({error!r}); expected [kinds] with a meaning each, and [told] with"
                " weights and stories"
            ) from error


def card_stories(run: RunFolder, marks: Marks | None) -> str:
    """The first stories of the run's samples in Markdown; empty if there are none.

    Raises:
        UsageError: the marks are of other weights, or of fewer stories.
        TaleError: the samples are damaged.
    """
    samples: dict[str, Any] = read_json(run.samples) if run.samples.is_file() else {"stories": []}
    try:
        told, settings = samples["stories"][:DOZEN], samples.get("settings", {})
        count, weights = len(samples["stories"]), samples.get("weights")
        begun = f"temperature {settings['temperature']:g}, seed {settings['seed']:d}" if told else ""
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TaleError(f"{run.samples} is damaged ({error!r}); delete it, and evaluate again") from error
    if marks and (not told or marks.weights != weights or len(marks.failures) < len(told)):
        raise UsageError(
            f"{marks.path} is not of the stories that the run's samples.json holds; tell them with"
            f" {command('evaluate', 'RUN', '--suite', 'full')}, and read at least {DOZEN}"
        )
    if not told:
        return ""
    said = f"The first {len(told)} of {count} stories, told without a prompt ({begun}), none left out."
    if marks:
        flawless = sum(not failures for failures in marks.failures)
        said += f" A reader marked their failures: of the first {len(marks.failures)}, {flawless} had none."
    parts = ["## Samples", said]
    for place, story in enumerate(told):
        parts += [f"**{place + 1}.**", quoted(story)]
        if marks:
            parts.append(f"Failures: {'; '.join(marks.failures[place]) or 'none that the reader saw'}.")
    return "\n\n".join(parts)
