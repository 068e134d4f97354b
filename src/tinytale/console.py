"""One console for everything a person reads; standard output stays free for results."""

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False, markup=False, emoji=False)
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
