"""`tinytale chat`: tell a story together, turn by turn, in the terminal."""

import contextlib
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tinytale.commands.options import Device
from tinytale.config import TEMPERATURE, DecoderKind
from tinytale.console import console, write_out
from tinytale.errors import TaleError, UsageError
from tinytale.files import write_text
from tinytale.runs import find_folder

if TYPE_CHECKING:
    from tinytale.generation.decoder import Decoder
    from tinytale.storyteller import Storyteller

HELP = """Type how the story goes on, and the model continues; an empty line lets it go on by itself.
  /seed N           other words from the same beginning
  /temperature T    below 1 plays safe, above 1 dares more
  /undo             take the last turn back
  /again            tell the last turn anew, with the next seed
  /save FILE        keep the story as text
  /new              begin another story
  /quit             leave (so does Ctrl-D)"""


def chat(
    folder: str = "small",
    *,
    temperature: float = TEMPERATURE,
    max_new_tokens: int = 60,
    seed: int = 0,
    device: Device = "auto",
    decoder: DecoderKind = "auto",
) -> None:
    """Tell a story together with a model, turn by turn.

    A line is yours, the next ones are its own, and so on.

    Parameters
    ----------
    folder
        A run, a GPT-2 folder in Hugging Face's layout, or the name of shipped weights.
    temperature
        Below 1 plays safe, above 1 dares more.
    max_new_tokens
        The longest turn of the model, in tokens.
    seed
        The same seed and the same lines tell the same story.
    device
        Where to compute.
    decoder
        auto takes the native decoder where it runs and agrees with the model; torch is the reference, and slower.
    """
    if max_new_tokens < 1:
        raise UsageError(f"max-new-tokens is {max_new_tokens}; expected at least 1")
    find_folder(folder)
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (lines can be edited, and come back with the arrow keys)

    import tinytale

    console.print(HELP, style="dim")
    teller = tinytale.load(folder, device, decoder=decoder)
    talk = Talk(teller, temperature, max_new_tokens, seed, teller.decoder(1))
    while True:
        try:
            line = input("\n> " if sys.stdin.isatty() else "")
        except EOFError:
            return
        if line == "/quit":
            return
        try:
            talk.take(line)
        except TaleError as error:
            console.print(str(error), style="yellow")
        except KeyboardInterrupt:
            console.print("\nStopped; /undo takes the turn back.", style="dim")


@dataclass
class Talk:
    """The story so far, and how it goes on."""

    teller: "Storyteller"
    temperature: float
    max_new_tokens: int
    seed: int
    decoder: "Decoder"
    """One for all turns: to make one copies the weights."""
    turns: list[str] = field(default_factory=list)
    """What each turn has added: a line of the person's with what the model made of it."""
    lines: list[str] = field(default_factory=list)
    """What the person typed in each turn."""

    def take(self, line: str) -> None:
        """A line of the story, or a command. What fails changes nothing.

        Raises:
            TaleError: a command is unknown or cannot be followed, or the model's numbers are not finite.
        """
        before = self.turns.copy(), self.lines.copy(), self.seed
        try:
            self._take(line)
        except TaleError:
            self.turns, self.lines, self.seed = before
            raise

    def _take(self, line: str) -> None:
        if line.strip() == "help":
            raise UsageError(HELP)
        if not line.startswith("/"):
            self.tell(line)
            return
        name, _, value = line[1:].partition(" ")
        if name in ("undo", "again") and not self.turns:
            raise UsageError("there is no turn to take back yet")
        match name:
            case "seed":
                self.seed = int(_number(value, int, 0.0))
            case "temperature":
                self.temperature = _number(value, float, 0.01)
            case "undo":
                self.turns.pop()
                self.lines.pop()
                console.print("".join(self.turns) or "The page is empty again.", style="dim")
            case "again":
                self.turns.pop()
                self.seed += 1
                self.tell(self.lines.pop())
            case "save" if value:
                write_text(Path(value), "".join(self.turns) + "\n")
                console.print(f"Written to {value}", style="dim")
            case "new":
                self.turns.clear()
                self.lines.clear()
            case _:
                raise UsageError(HELP)

    def tell(self, line: str) -> None:
        """Let the model go on after a line; what it adds appears as it is made, and stays if Ctrl-C cuts it short."""
        so_far = "".join(self.turns)
        said = f" {line}" if so_far and line and not so_far[-1].isspace() else line
        self.turns.append(said)
        self.lines.append(line)
        settings = {"temperature": self.temperature, "max_new_tokens": self.max_new_tokens, "decoder": self.decoder}
        for piece in self.teller.stream(so_far + said, seed=self.seed + len(self.turns), **settings):
            self.turns[-1] += piece
            write_out(piece)
        write_out("\n")


def _number(text: str, kind: type, least: float) -> int | float:
    try:
        value = kind(text)
    except ValueError as error:
        raise UsageError(f"{text[:40]!r} is not a number") from error
    if not least <= value < 2**63:
        raise UsageError(f"{text[:40]} is out of range; expected at least {least:g}")
    return value
