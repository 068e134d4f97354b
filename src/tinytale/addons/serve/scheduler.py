"""Many stories at once, from one decoder: whoever comes joins the batch at the next token, and leaves it when done.

Letters of shapes: B texts, V vocabulary.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tinytale.addons.serve.failure import tell_of_failure
from tinytale.errors import TaleError, UsageError
from tinytale.generation.choosing import are_native, choose_together
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Choice, Text, next_logits
from tinytale.generation.sampling import Randoms
from tinytale.generation.stories import Writer

PIECE_SECONDS = 0.02
"""For each story that is being told: after so long clients are woken for what has come, so that many of them take no
more off the decoder than a few."""
LEAST_PIECE_SECONDS, MOST_PIECE_SECONDS = 0.05, 0.25
"""Nobody reads faster, and nobody should see the text come in jerks."""
PROMPT_TOKENS = 64
"""Prompts of so many tokens together are read before a step, or one that is longer."""


class QueueFullError(TaleError):
    """More stories are waiting than the server will hold."""


class ClosingError(TaleError):
    """The server takes no new stories any more."""


@dataclass(eq=False)
class Job:
    """One story to be told."""

    prompt: list[int]
    """Its tokens, the opening end of text among them."""
    choose: Choice
    randoms: Randoms
    writer: Writer
    """Keeps what was told."""
    max_new_tokens: int
    on_change: Callable[[], None] = lambda: None
    """Called by the decoding thread: after the first token, from time to time (`PIECE_SECONDS`), and at the end."""
    cancelled: bool = False
    """Set it, and the story is dropped before its next token."""
    done: bool = False
    error: str = ""
    """Why it ended, if it failed."""

    def end(self, error: str = "") -> None:
        """Say that nothing more will come."""
        self.error, self.done = error, True
        self.on_change()


@dataclass
class Counters:
    """What the scheduler has done since it began."""

    stories: int = 0
    tokens: int = 0
    cancelled: int = 0
    failed: int = 0


@dataclass
class Scheduler:
    """Tells stories in a thread of its own, as many at once as the decoder has slots, the others in order of arrival.

    Few stories are taken in before each step, so that a crowd of newcomers does not hold up those that are being told.
    The text of a story depends on its own prompt, settings and seed alone (with torch's decoder, up to rounding).
    """

    decoder: Decoder
    end_of_text: int
    waiting_room: int
    """Stories that may wait; more are refused."""
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        self._waiting: deque[Job] = deque()
        self._telling: dict[int, Job] = {}
        self._closing = False
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
        self._thread.start()

    @property
    def closing(self) -> bool:
        """Whether the server is going down."""
        return self._closing

    @property
    def waiting(self) -> int:
        """Stories that have not begun."""
        return len(self._waiting)

    @property
    def telling(self) -> int:
        """Stories that are being told."""
        return len(self._telling)

    def submit(self, jobs: list[Job]) -> None:
        """Take all of these stories, or none.

        Raises:
            UsageError: there are more of them than will ever find room.
            QueueFullError: so many cannot wait now.
            ClosingError: the server is going down.
        """
        if len(jobs) > self.decoder.slots + self.waiting_room:
            room = self.decoder.slots + self.waiting_room
            raise UsageError(f"n is {len(jobs)}, and this server has room for {room} stories in all")
        with self._change:
            if self._closing:
                raise ClosingError("the server is shutting down; ask again later")
            free = self.decoder.slots - len(self._telling)
            if len(self._waiting) + len(jobs) > self.waiting_room + free:
                raise QueueFullError(f"{len(self._waiting)} stories are waiting already; ask again in a moment")
            self._waiting += jobs
            self._change.notify()

    def close(self, seconds: float) -> None:
        """Take no new stories; those at hand may end within so many seconds, then they are ended with an error."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(seconds)
        if self._thread.is_alive():
            with self._change:
                for job in [*self._telling.values(), *self._waiting]:
                    job.cancelled = True
            self._thread.join()

    def _run(self) -> None:
        texts: dict[int, Text] = {}
        free = list(reversed(range(self.decoder.slots)))
        next_piece = 0.0
        while self._take_in(texts, free):
            try:
                slots, logits_BV = next_logits(self.decoder, texts)
                jobs, tokens = [self._telling[slot] for slot in slots], None
                if are_native(choices := [job.choose for job in jobs]):
                    tokens = choose_together(logits_BV, choices, [job.randoms for job in jobs])
            except Exception as error:  # whatever it is, the stories end with it and the next ones are served
                tell_of_failure(error)
                self.counters.failed += len(texts)
                for slot in list(texts):
                    self._let_go(slot, texts, free, str(error) or type(error).__name__)
                continue
            if piece := time.monotonic() >= next_piece:
                next_piece = time.monotonic() + min(
                    MOST_PIECE_SECONDS, max(LEAST_PIECE_SECONDS, PIECE_SECONDS * len(texts))
                )
            news: list[Job] = []
            for row, (slot, job) in enumerate(zip(slots, jobs, strict=True)):
                text, writer = texts[slot], job.writer
                try:
                    token = tokens[row] if tokens else job.choose(logits_BV[row], text.seen, job.randoms)
                    token = writer.add(token) if writer.alternatives is None else writer.keep(logits_BV[row], token)
                except Exception as error:
                    tell_of_failure(error)
                    self.counters.failed += 1
                    self._let_go(slot, texts, free, str(error) or type(error).__name__)
                    continue
                text.append(token)
                self.counters.tokens += 1
                if token == self.end_of_text or len(writer.tokens) == job.max_new_tokens:
                    self.counters.stories += 1
                    self._let_go(slot, texts, free)
                elif piece or len(writer.tokens) == 1:
                    news.append(job)
            for job in news:  # together, right before the decoder lets go of the interpreter
                job.on_change()

    def _take_in(self, texts: dict[int, Text], free: list[int]) -> bool:
        """Drop what was cancelled, take in some stories, wait if there is none; false when all is done and closed."""
        with self._change:
            reason = "the server is shutting down" if self._closing else "cancelled"
            for slot in [slot for slot, job in self._telling.items() if job.cancelled]:
                self._let_go(slot, texts, free, reason)
            for job in [job for job in self._waiting if job.cancelled]:
                self._waiting.remove(job)
                self.counters.cancelled += 1
                job.end(reason)
            while not (self._waiting or texts or self._closing):
                self._change.wait()
            room = PROMPT_TOKENS
            while self._waiting and free and (room == PROMPT_TOKENS or len(self._waiting[0].prompt) <= room):
                job, slot = self._waiting.popleft(), free.pop()
                self._telling[slot], texts[slot] = job, Text(job.prompt, self.decoder.context_length)
                room -= len(job.prompt)
            return bool(texts) or not self._closing

    def _let_go(self, slot: int, texts: dict[int, Text], free: list[int], error: str = "") -> None:
        job = self._telling.pop(slot)
        del texts[slot]
        free.append(slot)
        self.counters.cancelled += job.cancelled
        job.end(error)
