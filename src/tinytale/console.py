"""One console for everything a person reads; standard output stays free for results."""

import os
import sys
from collections.abc import Collection, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text


class LastingConsole(Console):
    """A console whose reader may go away (a closed terminal, `2>&1 | head -1`): work of hours goes on without it."""

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


console = LastingConsole(stderr=True, highlight=False, markup=False, emoji=False)
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
