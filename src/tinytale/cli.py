"""The command line: puts the verbs together. Each verb's module is imported only when it is called."""

import io
import os
import re
import sys
from pathlib import Path

from cyclopts import App

from tinytale import __version__
from tinytale.advice import program
from tinytale.console import console
from tinytale.errors import TaleError
from tinytale.files import at_home

app = App(
    name=program(),
    help="From raw stories to a GPT-2 of your own.",
    version=__version__,
    result_action="return_value",
    error_console=console,
)
VERBS = {
    "prepare": "commands.prepare:prepare",
    "data": "addons.survey.commands:data",
    "train": "commands.train:train",
    "evaluate": "commands.evaluate:evaluate",
    "compare": "addons.report.compare:compare",
    "generate": "commands.generate:generate",
    "chat": "addons.chat.commands:chat",
    "inspect": "addons.serve.inspect:inspect",
    "serve": "addons.serve.commands:serve",
    "export": "addons.interop.export:export",
    "import": "addons.interop.import_model:import_model",
    "push": "addons.interop.push:push",
    "study": "addons.study.commands:study",
    "report": "addons.report.report:report",
    "doctor": "addons.doctor.commands:doctor",
}
"""Each verb, and the function that is it."""
for verb, function in VERBS.items():
    app.command(f"tinytale.{function}", name=verb)

HELP = ([], ["--help"], ["-h"])
"""What shows the list of all verbs; only then every verb is imported, for the first line of its docstring."""

OUT_OF_MEMORY = ("out of memory", "can't allocate memory")
"""As torch says it, of a GPU and of the computer itself."""


def main() -> None:
    """Run one command; end with 0, with 2 when it was asked wrongly, with 1 when it failed, or as the command says."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed, as by 2>&-: the next file to be opened would be taken for it
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a Windows code page cannot hold every story, and lines may be broken
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        if sys.argv[1:] in HELP:
            app.resolved_commands()
        code = app([expanded(word) for word in sys.argv[1:]])
    except TaleError as error:
        console.print("Error:", style="bold red", end=" ")
        console.print(str(error), soft_wrap=True)
        code = error.exit_code
    except (MemoryError, RuntimeError) as error:
        if not (isinstance(error, MemoryError) or any(sign in str(error) for sign in OUT_OF_MEMORY)):
            raise
        console.print("Error:", style="bold red", end=" ")
        console.print(
            "there is not enough memory for that; a smaller model, batch or --data.micro-batch-size needs less"
        )
        code = 1
    except KeyboardInterrupt:
        console.print("Stopped.")
        code = 130
    except BrokenPipeError:
        code = 0
    leave(code if isinstance(code, int) else 0)


def expanded(word: str) -> str:
    """A word of the command line whose path begins with `~`, with the home folder in its place.

    Shells leave it in `--out=~/x` and in quotes.
    """
    found = re.fullmatch(r"(--[\w.-]+=)?(~(?:[/\\].*)?)", word, re.DOTALL)
    return (found[1] or "") + at_home(found[2]) if found and (found[1] or len(word) > 1) else word


def leave(code: int) -> None:
    """End with this exit code; of several processes that have joined for training, at once.

    Their communication threads may want Python while it is being taken down, and then the process would abort with all
    its work done.
    """
    distributed = sys.modules.get("torch.distributed")
    if distributed and distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
