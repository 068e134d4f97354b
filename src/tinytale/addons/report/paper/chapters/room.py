"""How much of what could be said is said, so that a report fits its pages."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Room:
    """What gets room; what gets none is left out with all that points to it."""

    stories: int = 3
    story_words: int = 400
    completions: int = 5
    completion_words: int = 60
    attention: bool = True
    diagram: bool = True


_LESS = Room(diagram=False)
ROOMS = (
    Room(),
    Room(stories=2),
    replace(_LESS, stories=2),
    replace(_LESS, stories=2, completion_words=40),
    replace(_LESS, stories=2, completions=4, completion_words=35),
    replace(_LESS, stories=2, completions=3, completion_words=30),
    replace(_LESS, stories=1, completions=3, completion_words=30),
    replace(_LESS, stories=1, story_words=150, completions=2, completion_words=30),
    replace(_LESS, stories=1, story_words=100, completions=1, completion_words=30),
    replace(_LESS, stories=1, story_words=100, completions=0, attention=False),
)
"""From the most room to the least."""
