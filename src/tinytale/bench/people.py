"""People who ask a server for stories over HTTP and read them as they come: each in a thread, all at once."""

import http.client
import json
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tinytale.errors import TaleError

BEGINNINGS = (
    "Once upon a time, there was a little",
    "One day, Tom and his dog went to",
    "Lily had a big red ball that she",
    "The sun was up and the birds were",
    "There was a cat who liked to sleep",
    "Ben wanted to help his mom make a",
    "In the forest lived a small bear who",
    "Anna and Max found a box in the",
    "A kind old man had a garden with",
    "It was raining, so Sue and her dad",
)
"""How stories begin; more than these people begin again with the first."""


@dataclass(frozen=True)
class Heard:
    """One story, as a client got it."""

    text: str
    tokens: int
    first_seconds: float
    """From before the connection to the first piece."""


@dataclass(frozen=True)
class Server:
    """Where stories are asked for."""

    host: str
    port: int
    model: str

    def tokens_told(self) -> int:
        """Tokens of all its stories since it began, as it counts them itself.

        Raises:
            TaleError: it does not say.
        """
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self.port}/metrics", timeout=60) as answer:
                counts = answer.read().decode()
        except OSError as error:
            raise TaleError(f"the server does not say how much it has told: {error}") from error
        told = re.findall(r"^tinytale_tokens_total\{.*\} (\d+)$", counts, re.MULTILINE)
        if not told:
            raise TaleError("the server's metrics do not say how many tokens it has told")
        return sum(map(int, told))

    def tell(self, prompt: str, settings: dict[str, Any], at_first: Callable[[], object] = lambda: None) -> Heard:
        """Ask for one story, streamed, in a connection of its own.

        Raises:
            TaleError: the server refuses, or breaks off.
        """
        asked = {"model": self.model, "prompt": prompt, **settings}
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
        begun, first, pieces, usage = time.perf_counter(), None, [], None
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request("POST", "/v1/completions", json.dumps(asked), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != 200:
                raise TaleError(f"the server answers {answer.status}: {answer.read(200).decode('utf-8', 'replace')}")
            for line in answer:
                if not line.startswith(b"data: {"):
                    continue
                if first is None:
                    first = time.perf_counter() - begun
                    at_first()
                piece = json.loads(line[6:])
                usage = piece.get("usage", usage)
                pieces += [choice["text"] for choice in piece.get("choices", ())]
        except (OSError, http.client.HTTPException) as error:
            raise TaleError(f"the server breaks off: {str(error) or type(error).__name__}") from error
        finally:
            connection.close()
        if first is None or usage is None:
            raise TaleError("the server's stream has ended before its story")
        return Heard("".join(pieces), usage["completion_tokens"], first)


def tell_all(server: Server, people: Sequence[Sequence[tuple[str, dict[str, Any]]]]) -> list[list[Heard]]:
    """Each of these people asks for some stories (prompt and settings), one after another; all at the same time."""
    with ThreadPoolExecutor(len(people)) as threads:
        return list(threads.map(lambda stories: [server.tell(*story) for story in stories], people))


def seconds_a_token(server: Server, people: Sequence[Sequence[tuple[str, dict[str, Any]]]]) -> float:
    """While all of these people have a story that is being told: until the first of them has heard all of his.

    Later there are fewer than were meant to load the server, and how much fewer depends on the stories.
    """
    before, began, end = server.tokens_told(), time.perf_counter(), []

    def person(stories: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for story in stories:
            server.tell(*story)
        with mine:
            if not end:
                end.extend((server.tokens_told(), time.perf_counter()))

    mine = threading.Lock()
    with ThreadPoolExecutor(len(people)) as threads:
        list(threads.map(person, people))
    told, ended = end
    return (ended - began) / (told - before)


def newcomers(
    server: Server, people: Sequence[Sequence[tuple[str, dict[str, Any]]]], newcomer: tuple[str, dict[str, Any]]
) -> list[float]:
    """Seconds to the first piece for one more person, who comes while all of these are told, again and again."""
    began = threading.Barrier(len(people) + 1)
    waits = []

    def person(stories: Sequence[tuple[str, dict[str, Any]]]) -> None:
        (prompt, settings), *others = stories
        server.tell(prompt, settings, began.wait)
        for story in others:
            server.tell(*story)

    with ThreadPoolExecutor(len(people)) as threads:
        told = [threads.submit(person, stories) for stories in people]
        began.wait(60)
        while True:
            waits.append(server.tell(*newcomer).first_seconds)
            if any(story.done() for story in told):
                break
            time.sleep(0.05)
        for story in told:
            story.result()
    return waits
