"""Words that no training story has: misspelt, made up, or merely rare. Real stories, too, have some of the last."""

from collections.abc import Sequence
from typing import Any

from tinytale.addons.quality.lexicon import Lexicon
from tinytale.evaluation.intervals import share


def spelling(stories: Sequence[str], lexicon: Lexicon) -> dict[str, Any]:
    """The share of the words of the stories that are unknown to the training stories."""
    words = [lexicon.words(story) for story in stories]
    unknown = [sum(not lexicon.knows(word) for word in story) for story in words]
    return {"unknown": share(unknown, [len(story) for story in words])}
