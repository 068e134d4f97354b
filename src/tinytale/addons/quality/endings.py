"""Whether stories come to an end: by themselves before the limit, and with the punctuation that closes a text."""

from collections.abc import Sequence
from typing import Any

from tinytale.addons.survey.blemishes import ends_open
from tinytale.evaluation.intervals import share


def endings(stories: Sequence[str], ended: Sequence[bool], prompts: Sequence[str] | None = None) -> dict[str, Any]:
    """Shares of stories; `ended` says of each whether it ended by itself, `prompts` what it goes on with, if anything.

    `closed` is a share of those that did: how many of them end in closing punctuation or a closing quote.
    """
    closed = [stopped and not ends_open(story) for story, stopped in zip(stories, ended, strict=True)]
    return {"ended": share(ended, None, prompts), "closed": share(closed, ended, prompts)}
