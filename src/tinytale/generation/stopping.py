"""The text of a story while it is being told: whole characters only, and nothing from a stop string on."""

from collections.abc import Sequence

from tinytale.data.tokenizer import StreamDecoder, Tokenizer
from tinytale.errors import UsageError


class StoryText:
    """Turns tokens into text that may be shown: what it has given is never taken back.

    A character whose bytes are not all there is held back, and so is text that may become a stop string. The first stop
    string that is complete ends the text; what stands before it has been given, itself and what follows is not. Of two
    that are complete with the same character, the longer counts. It may begin and end inside a token.

    Raises:
        UsageError: a stop string is empty.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()):
        if "" in stop:
            raise UsageError("a stop string is empty; expected at least one character")
        self.stop = stop
        self.stopped = False
        self._decoder = StreamDecoder(tokenizer)
        self._held = ""

    def feed(self, *tokens: int) -> str:
        """The text that is certain now."""
        return self._take(self._decoder.feed(*tokens))

    def finish(self) -> str:
        """What is still held back, when no more tokens come."""
        return self._take(self._decoder.finish()) + self._held

    def _take(self, new: str) -> str:
        if self.stopped:
            return ""
        if not self.stop:
            return new
        text, self._held = self._held + new, ""
        found = [(start + len(stop), start) for stop in self.stop if (start := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)[1]]
        held = max((_overlap(text, stop) for stop in self.stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` begin `stop`."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-n:])), 0)
