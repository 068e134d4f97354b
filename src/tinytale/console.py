"""One console for everything a person reads; standard output stays free for results."""

import os
import re
import sys
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a terminal would obey (Unicode's category Cc), but for tabs and the ends of lines."""


def cleaned(text: str) -> str:
    """Text for a terminal: stories, names of files and messages may hold characters that it would obey."""
    return CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def write_out(text: str) -> None:
    """Write a piece of a story to standard output at once: cleaned where that is a terminal, else as it is."""
    sys.stdout.write(cleaned(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


class SafeConsole(Console):
    """A console that sends no control characters to a terminal but its own, and whose reader may go away.

    A terminal is closed, or `2>&1 | head -1` has seen enough: work of hours goes on without it.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """All that is printed comes through here."""
        for segment in super().render(renderable, options):
            unsafe = self.is_terminal and not segment.control and CONTROL.search(segment.text)
            yield Segment(cleaned(segment.text), segment.style) if unsafe else segment

    def _check_buffer(self) -> None:
        try:
            super()._check_buffer()
        except OSError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Say nothing from now on; what others still write to standard error goes nowhere."""
        self.quiet = True
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stderr.fileno())
        os.close(nowhere)


console = SafeConsole(stderr=True, highlight=False, markup=False, emoji=False)
"""Messages, progress and tables go to standard error, so that standard output can be piped. Text is shown as it is:
what a person typed (a folder named `[x]`) is never taken for markup."""


class SpeedColumn(ProgressColumn):
    """Units completed a second."""

    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """The measured speed, or nothing until there is one."""
        return Text(f"{task.speed:,.0f} {self.unit}/s" if task.speed else "", style="dim")


def progress_bar(unit: str) -> Progress:
    """A progress display: what is done, a bar, per cent, `unit`s a second and the time left; gone when done.

    Use it as a context manager; `add_task(description, total=...)`, then `advance` or `update(task, completed=...)`.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        SpeedColumn(unit),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


def figures_table(
    title: str, caption: str, headings: Sequence[str], left: Collection[int] = (0,), dense: bool = False
) -> Table:
    """A table of figures, to be filled: columns numbered in `left` to the left, all others to the right.

    `dense`: narrow gaps, and no cell is broken over lines.
    """
    table = Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=None,
        padding=(0, 1, 0, 0) if dense else (0, 1),
    )
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="left" if place in left else "right", no_wrap=dense)
    return table
