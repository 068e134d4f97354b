"""What the server says on its console when it has failed: who asked gets one line, who runs it the whole traceback."""

import contextlib

from rich.traceback import Traceback

from tinytale.console import console


def tell_of_failure(error: Exception) -> None:
    """Show an error that no request is to blame for, with where it came from."""
    with contextlib.suppress(OSError, SystemExit):  # a console that is gone must not take the server with it
        console.print(Traceback.from_exception(type(error), error, error.__traceback__, width=console.width))
