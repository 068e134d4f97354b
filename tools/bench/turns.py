"""Contenders take turns: each in a process of its own, all under the same conditions, one at a time."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from tinytale.errors import TaleError, UsageError

TOOLS = str(Path(__file__).parents[1])
"""Where a process finds this package."""

AnyRequest = TypeVar("AnyRequest", bound="Request")


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a process is to become. Each kind of contest has its own, with more in it."""

    worker: ClassVar[str]
    """The module that the process runs."""
    contender: str
    """Its name."""

    def to_json(self) -> str:
        """In one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls: type[AnyRequest], line: str) -> AnyRequest:
        """What `to_json` wrote; a request that holds dataclasses makes them anew."""
        return cls(**json.loads(line))


@dataclass
class Measured:
    """What is known of a contender."""

    set_up_seconds: float
    """From nothing to warm, compilation included."""
    facts: dict[str, Any]
    """What the process says of itself; of one that trains, also its `loss` before the last step of the warm-up."""
    rounds: list[list[float]] = field(default_factory=list)
    """Seconds of each step, round by round."""
    peak_memory: int = 0
    """Bytes."""


class Contestant:
    """A contender's process; waits, blocked, for its turns. As a context manager it is gone at the end.

    Raises:
        TaleError: on each call, if the process refuses or ends before it has answered; says which one, and why.
    """

    def __init__(self, request: Request, variables: dict[str, str]):
        self.name = request.contender
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            [sys.executable, "-m", request.worker],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=variables | {"PYTHONPATH": os.pathsep.join([TOOLS, variables.get("PYTHONPATH", "")]).strip(os.pathsep)},
            encoding="utf-8",
        )
        self._tell(request.to_json())

    def __enter__(self) -> "Contestant":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(OSError):  # what a dead process was not told any more
            if self._process.stdin:
                self._process.stdin.close()
        self._process.__exit__(None, None, None)
        self._log.close()

    def warm(self) -> Measured:
        """Wait until it is set up."""
        return Measured(**self._answer())

    def steps(self, count: int) -> list[float]:
        """Its turn: the seconds of each of some steps."""
        self._tell(json.dumps({"steps": count}))
        return self._answer()["seconds"]

    def leave(self) -> int:
        """Let it end; the most memory that it had, in bytes."""
        assert self._process.stdin
        self._process.stdin.close()
        return self._answer()["peak_memory"]

    def _tell(self, line: str) -> None:
        assert self._process.stdin
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:
            self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            last = (self._log.read().decode("utf-8", "replace").strip().splitlines() or ["it said nothing"])[-1]
            raise TaleError(f"{self.name} ended with code {self._process.wait()}: {last}")
        answer = json.loads(line)
        if "refused" in answer:
            raise TaleError(f"{self.name} cannot be measured: {answer['refused']}")
        return answer


def take_turns(
    requests: Sequence[Request], variables: dict[str, str], rounds: int, steps: int, progress: Callable[[str], None]
) -> dict[str, Measured]:
    """Set up every contender, one after another; then let each do some steps in turn, round by round.

    `progress` is told what comes next: `len(requests) * (1 + rounds)` calls.

    Raises:
        TaleError: a contender cannot be measured.
    """
    with ExitStack() as stack:
        contestants, measured = [], {}
        for request in requests:
            progress(f"setting up {request.contender}")
            contestants.append(stack.enter_context(Contestant(request, variables)))
            measured[request.contender] = contestants[-1].warm()
        for number in range(1, rounds + 1):
            for contestant in contestants:
                progress(f"round {number} of {rounds}: {contestant.name}")
                measured[contestant.name].rounds.append(contestant.steps(steps))
        for contestant in contestants:
            measured[contestant.name].peak_memory = contestant.leave()
    return measured


def chosen(listed: str | None, known: Collection[str]) -> list[str]:
    """The contenders of a list with commas; all that are known without one.

    Raises:
        UsageError: one is unknown or named twice.
    """
    names = [name.strip() for name in listed.split(",")] if listed is not None else list(known)
    for name in names:
        if name not in known or names.count(name) > 1:
            problem = "unknown" if name not in known else "named twice"
            raise UsageError(f"contender {name!r} is {problem}; known are {', '.join(known)}")
    return names
