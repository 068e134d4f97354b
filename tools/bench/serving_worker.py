"""The processes of `bench serve`: a decoder by itself; and the clients of a server, which runs in a child of theirs.

Letters of shapes: B slots, V vocabulary.
"""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from bench.people import BEGINNINGS, Server, newcomers, seconds_a_token, tell_all
from bench.pipe import Turn, serve
from bench.turns import Request
from tinytale.advice import command
from tinytale.errors import TaleError
from tinytale.generation.choosing import choice_for
from tinytale.generation.decoder import Decoder
from tinytale.generation.decoding import Decoding, random_numbers
from tinytale.generation.many import generate_many
from tinytale.generation.stories import opened
from tinytale.storyteller import load_storyteller

DECODER, SERVER = "decoder", "server"
TEMPERATURES = {"greedy": 0.0, "drawn": 0.8}
SPARE_SLOTS = 6
"""Of the server, beyond those that the people take."""
LEASHED = (
    "import os, sys, threading\n"
    "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n"
    "from tinytale.cli import main\n"
    "main()\n"
)
"""`tinytale`, which ends when the process that began it has."""


@dataclass(frozen=True, kw_only=True)
class ServingRequest(Request):
    """A decoder by itself, or a server and its clients: the contender is `DECODER` or `SERVER`."""

    worker: ClassVar[str] = "bench.serving_worker"
    folder: str
    people: int
    stories: int
    """Of each person, one after another."""
    new_tokens: int
    """Of each story, unless it ends before."""


def contest(line: str) -> tuple[dict[str, Any], Turn]:
    """What `pipe.serve` asks for. A step of a turn gives the seconds a token, greedy and then drawn, as long
    as there is a story for everyone.

    The server's goes on with the seconds that newcomers waited for their first token, while all others were being told.

    Raises:
        TaleError: there is no decoder or no server to be had.
    """
    request = ServingRequest.from_json(line)
    return by_decoder(request) if request.contender == DECODER else by_server(request)


class Counting:
    """A decoder that counts the rows of logits that it gives, each of which is followed by a token."""

    def __init__(self, counted: Decoder):
        self.counted, self.rows = counted, 0
        self.context_length, self.slots, self.copy = counted.context_length, counted.slots, counted.copy

    def prefill(self, slot: int, tokens: Sequence[int]) -> Float[Tensor, " V"]:
        """As it is."""
        self.rows += 1
        return self.counted.prefill(slot, tokens)

    def step(self, slots: Sequence[int], tokens: Sequence[int]) -> Float[Tensor, "B V"]:
        """As it is."""
        self.rows += len(slots)
        return self.counted.step(slots, tokens)


def by_decoder(request: ServingRequest) -> tuple[dict[str, Any], Turn]:
    """All stories by the decoder that a server would take, in one batch of as many slots as there are people."""
    teller = load_storyteller(request.folder, "cpu")
    decoder, end = Counting(teller.decoder(request.people)), teller.tokenizer.end_of_text
    numbers = range(request.people * request.stories)
    prompts = [opened(teller.tokenizer, BEGINNINGS[number % len(BEGINNINGS)]) for number in numbers]

    def tell(temperature: float, advance: Callable[[int], None] = lambda _: None) -> list[list[int]]:
        choice = choice_for(Decoding(greedy=temperature == 0, temperature=temperature or 1.0))
        randoms = [random_numbers(number, 0) for number in numbers]
        return generate_many(decoder, prompts, choice, randoms, request.new_tokens, end, advance)

    def timed(temperature: float) -> float:
        """Seconds a token, until a slot has no story any more."""
        ended, seconds, before = 0, 0.0, decoder.rows
        began = time.perf_counter()

        def count_ended(stories: int) -> None:
            nonlocal ended, seconds
            ended += stories
            if ended == len(numbers) - request.people + 1:
                seconds = (time.perf_counter() - began) / (decoder.rows - before)

        tell(temperature, count_ended)
        return seconds

    told = {name: tell(temperature) for name, temperature in TEMPERATURES.items()}
    facts = {
        "texts": {name: [teller.tokenizer.decode(story) for story in stories] for name, stories in told.items()},
        "decoder": f"{type(decoder.counted).__name__}, {getattr(decoder.counted, 'precision', 'float32')}",
    }

    def turn(steps: int) -> list[float]:
        return [timed(temperature) for _ in range(steps) for temperature in TEMPERATURES.values()]

    return facts, turn


def by_server(request: ServingRequest) -> tuple[dict[str, Any], Turn]:
    """All stories by `tinytale serve`, each person asking as soon as the last story has ended."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        server = Server("127.0.0.1", probe.getsockname()[1], request.folder)
    slots = str(request.people + SPARE_SLOTS)
    command = ["serve", request.folder, "--port", str(server.port), "--slots", slots, "--device", "cpu"]
    process = subprocess.Popen([sys.executable, "-c", LEASHED, *command], stdin=subprocess.PIPE, stdout=sys.stderr)
    _wait_for(server, process)

    def asked(temperature: float) -> list[list[tuple[str, dict[str, Any]]]]:
        settings = {"max_tokens": request.new_tokens, "temperature": temperature}
        return [
            [
                (BEGINNINGS[number % len(BEGINNINGS)], {**settings, "seed": number})
                for number in range(person, request.people * request.stories, request.people)
            ]
            for person in range(request.people)
        ]

    def tell(temperature: float) -> list[str]:
        heard = tell_all(server, asked(temperature))
        return [heard[number % request.people][number // request.people].text for number in range(count)]

    def turn(steps: int) -> list[float]:
        times = []
        for _ in range(steps):
            times += [seconds_a_token(server, asked(temperature)) for temperature in TEMPERATURES.values()]
            times += newcomers(server, asked(TEMPERATURES["drawn"]), (BEGINNINGS[0], {"max_tokens": 4}))
        return times

    count = request.people * request.stories
    return {"texts": {name: tell(temperature) for name, temperature in TEMPERATURES.items()}}, turn


def _wait_for(server: Server, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://{server.host}:{server.port}/health", timeout=5):
                return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                process.communicate()  # which lets go of its leash
                raise TaleError(f"the server does not come up; this says why: {command('serve')}") from error
            time.sleep(0.1)


if __name__ == "__main__":
    serve(contest)
