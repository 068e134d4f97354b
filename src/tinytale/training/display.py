"""What a person sees while a model trains: a live panel on a terminal, a line now and then elsewhere."""

import time
from collections import deque
from itertools import pairwise
from typing import Protocol, runtime_checkable

from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tinytale.console import console

BARS = "▁▂▃▄▅▆▇█"
LINE_SECONDS = 10.0
CURVE_POINTS = 2048
"""At most so many are kept of the losses; a terminal shows fewer still."""


def sparkline(values: list[float], width: int) -> str:
    """A curve of at most `width` characters, each the mean of an equal share of `values`, from lowest to highest."""
    if not values:
        return ""
    width = min(width, len(values))
    edges = [i * len(values) // width for i in range(width + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(BARS[min(int((mean - low) / span * len(BARS)), len(BARS) - 1)] for mean in means)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@runtime_checkable
class Display(Protocol):
    """Whoever shows a training run."""

    def step(self, step: int, loss: float) -> None:
        """A step is done; its loss in nats a token."""
        ...

    def evaluated(self, step: int, loss: float, bits_per_byte: float, best_step: int) -> None:
        """The dev split has been scored."""
        ...

    def note(self, text: str) -> None:
        """Something that the person should know, now."""
        ...


class NoDisplay:
    """For the ranks that leave the screen to the main one."""

    def __enter__(self) -> "NoDisplay":
        """Show nothing."""
        return self

    def __exit__(self, *_: object) -> None:
        """Show nothing."""

    def step(self, step: int, loss: float) -> None:
        """Say nothing."""

    def evaluated(self, step: int, loss: float, bits_per_byte: float, best_step: int) -> None:
        """Say nothing."""

    def note(self, text: str) -> None:
        """Say nothing."""


class ConsoleDisplay:
    """Loss, dev loss, speed, time left and the curve so far."""

    def __init__(self, title: str, first_step: int, max_steps: int, tokens_per_step: int):
        self.title, self.max_steps, self.tokens_per_step = title, max_steps, tokens_per_step
        self.now = first_step
        self.losses: deque[float] = deque(maxlen=20)
        self.curve: list[float] = []
        self.gathered: list[float] = []
        self.steps_a_point = 1
        self.dev = ""
        self.recent = deque([(time.monotonic(), first_step)], maxlen=50)
        self.last_line = time.monotonic()
        self.live = None
        if console.is_terminal:
            self.live = Live(get_renderable=self._panel, console=console, refresh_per_second=4)

    def __enter__(self) -> "ConsoleDisplay":
        """Show the panel, or a first line."""
        if self.live:
            self.live.start()
        else:
            console.print(self.title)
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen."""
        if self.live:
            self.live.stop()

    def step(self, step: int, loss: float) -> None:
        """A step is done; its loss in nats a token."""
        self.now = step
        self.losses.append(loss)
        self._draw_on(loss)
        self.recent.append((time.monotonic(), step))
        if not self.live and (time.monotonic() - self.last_line >= LINE_SECONDS or step == self.max_steps):
            self.last_line = time.monotonic()
            console.print(f"step {step}/{self.max_steps}  loss {loss:.3f}  {self._speed()}")

    def evaluated(self, step: int, loss: float, bits_per_byte: float, best_step: int) -> None:
        """The dev split has been scored."""
        best = "best so far" if best_step == step else f"best was step {best_step}"
        self.dev = f"{loss:.3f}  ({bits_per_byte:.3f} bits per byte) at step {step}, {best}"
        if not self.live:
            console.print(f"step {step}/{self.max_steps}  dev loss {self.dev}")

    def note(self, text: str) -> None:
        """Something that the person should know, now."""
        console.print(text)

    def _draw_on(self, loss: float) -> None:
        """The curve grows by a point; when there are too many, each is the mean of two from then on."""
        self.gathered.append(loss)
        if len(self.gathered) == self.steps_a_point:
            self.curve.append(sum(self.gathered) / len(self.gathered))
            self.gathered.clear()
        if len(self.curve) == CURVE_POINTS:
            self.curve = [(one + other) / 2 for one, other in zip(self.curve[::2], self.curve[1::2], strict=True)]
            self.steps_a_point *= 2

    def _speed(self) -> str:
        (start, first), (end, last) = self.recent[0], self.recent[-1]
        if last == first:
            return ""
        seconds = (end - start) / (last - first)
        return f"{self.tokens_per_step / seconds:,.0f} tokens/s  {clock(seconds * (self.max_steps - self.now))} left"

    def _panel(self) -> Panel:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(style="dim", justify="right")
        rows.add_column()
        width = max(20, min(60, console.width - 20))
        rows.add_row("step", f"{self.now:,} of {self.max_steps:,}  {self._speed()}")
        rows.add_row("", ProgressBar(total=self.max_steps, completed=self.now, width=width))
        if self.losses:
            recent = list(self.losses)
            rows.add_row("loss", Text(f"{sum(recent) / len(recent):.3f}", style="bold"))
            rows.add_row("", Text(sparkline(self.curve, width), style="cyan"))
        rows.add_row("dev loss", self.dev or Text("not evaluated yet", style="dim"))
        return Panel(Group(rows), title=Text(self.title), title_align="left", expand=False, padding=(0, 1))
